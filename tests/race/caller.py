"""One of the processes that spend from the same budget: a plan comes on standard input as JSON, outcomes leave on standard output."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from typing import Any

from oblix import OblixClient, OblixError
from oblix.execution import budget

PATIENCE = 60.0  # seconds for a call, and how long it may wait for others to give money back (30 at most)
HEDGED = 0.9  # share of the rough calls that may be hedged; what is late and is not, teaches that late is usual, and 5 % of that end it
CANCELLED = 0.1
AT_ONCE = 5  # answers of each model, before the race: few, so that what is learned to be usual is no crowd's


async def main(plan: dict[str, Any]) -> None:
    # Of twenty requests the product hedges one. Here each may be: the books are to see more losers than a year would bring.
    budget.HEDGE_EVERY = plan["hedge_every"]
    async with OblixClient(store=plan["store"]) as client:
        for name, wire, url in plan["upstreams"]:
            await client.hook_model(wire, name, endpoint=url, api_key="raced-" + "key", price=tuple(plan["price"]))
        await client.route("ready?")
        for first in range(0, len(plan["warm"]), AT_ONCE):
            asked = (
                client.execute(f"{marker} Tell.", model_id=model_id, request_id=marker, max_tokens=plan["most"])
                for markers in plan["warm"][first : first + AT_ONCE]
                for marker, model_id in zip(markers, client.models, strict=True)
            )
            await asyncio.gather(*asked)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        told = await asyncio.gather(*(_call(client, marker, plan) for marker in plan["markers"]))
    print(json.dumps(told), flush=True)


async def _call(client: OblixClient, marker: str, plan: dict[str, Any]) -> dict[str, Any]:
    """One call, and what became of it."""
    told: dict[str, Any] = {"marker": marker}
    drawn = random.Random(marker)
    if plan["rough"]:  # of requests that come in one moment only one is hedged
        await asyncio.sleep(drawn.uniform(0.0, 4.0))
    told["came"] = time.monotonic()  # one clock for all processes of a machine
    call = asyncio.ensure_future(
        client.execute(
            f"{marker} Tell of the sea.",
            request_id=marker,
            hedge=plan["rough"] and drawn.random() < HEDGED,
            deadline=PATIENCE,
            max_tokens=plan["most"],
        )
    )
    if plan["rough"] and drawn.random() < CANCELLED:
        asyncio.get_running_loop().call_later(drawn.uniform(0.0, 0.5), call.cancel)
    try:
        reply = await call
        told["end"] = "cut" if reply.finish_reason == "budget" else "whole"
        told["cost_usd"] = reply.metrics["cost_usd"]
    except asyncio.CancelledError:
        told["end"] = "cancelled"
    except OblixError as error:
        told["by"] = sorted({attempt.kind for attempt in error.attempts if attempt.kind})
        told["end"] = "refused" if error.code == "OBX-BUDGET" or "budget" in told["by"] else "failed"
        told["error"] = f"{error.code}: {error}"[:400]
    told["took"] = time.monotonic() - told["came"]
    return told


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.stdin.readline())))
