"""One of the processes that spend from the same budget: a plan comes on standard input as JSON, outcomes leave on standard output."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from typing import Any

from oblix import OblixClient, OblixError

PATIENCE = 60.0  # seconds for a call, and how long it may wait for others to give money back (30 at most)


async def main(plan: dict[str, Any]) -> None:
    async with OblixClient(store=plan["store"]) as client:
        for name, wire, url in plan["upstreams"]:
            await client.hook_model(wire, name, endpoint=url, api_key="raced-" + "key", price=tuple(plan["price"]))
        await client.route("ready?")
        for marker in plan["warm"]:
            asked = (
                client.execute(f"{marker} Tell.", model_id=model_id, max_tokens=plan["most"])
                for model_id in client.models
            )
            await asyncio.gather(*asked)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        told = await asyncio.gather(*(_call(client, marker, plan) for marker in plan["markers"]))
    print(json.dumps(told), flush=True)


async def _call(client: OblixClient, marker: str, plan: dict[str, Any]) -> dict[str, Any]:
    """One call, and what became of it."""
    told: dict[str, Any] = {"marker": marker, "outcome": "ok", "finish": None}
    drawn = random.Random(marker)
    if plan["rough"]:  # all are under way together, but of requests that come in one moment only one is hedged
        await asyncio.sleep(drawn.uniform(0.0, 2.0))
    told["came"] = time.monotonic()  # one clock for all processes of a machine
    call = asyncio.ensure_future(
        client.execute(
            f"{marker} Tell of the sea.",
            request_id=marker,
            hedge=plan["rough"] and drawn.random() < 0.5,
            deadline=PATIENCE,
            max_tokens=plan["most"],
        )
    )
    if plan["rough"] and drawn.random() < 0.1:
        asyncio.get_running_loop().call_later(drawn.uniform(0.0, 0.5), call.cancel)
    try:
        reply = await call
        told["finish"] = reply.finish_reason
    except asyncio.CancelledError:
        told["outcome"] = "cancelled"
    except OblixError as error:
        told["outcome"], told["error"] = error.code, str(error)[:300]
    return told


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.stdin.readline())))
