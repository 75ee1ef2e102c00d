"""How long the event loop stands still: while a sensor hangs, and at the very first prompt.

`python -m bench.stalls CASE ADDRESS` measures one case in a process of its own and prints a JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench.measure import Ticker

SECONDS = 2.0  # of executes beside a sensor that hangs: longer than every deadline of the agents
CASES = ("calm", "machine", "network", "first")
HANGING = "hangs.example"  # a name whose look-up never ends


def _hang() -> None:
    """Block the calling thread in the kernel for good, as a dead device does: nobody ever writes into this pipe."""
    pipe = Path(os.environ["OBLIX_HOME"]) / "nobody-writes"
    if not pipe.exists():
        os.mkfifo(pipe)
    pipe.read_bytes()


def _hang_look_up() -> None:
    ask = socket.getaddrinfo

    def getaddrinfo(host: Any, *given: Any, **named: Any) -> Any:
        if host == HANGING:
            _hang()
        return ask(host, *given, **named)

    socket.getaddrinfo = getaddrinfo


async def _measure(case: str, address: str) -> dict[str, float]:
    # Before the ticker starts, so that "first" is what a program that has imported us waits for.
    from oblix import OblixClient
    from oblix.agents import ConnectivityAgent, ResourceMonitor

    client = OblixClient()
    await client.hook_model("vllm", "bench", endpoint=f"{address}/tiny/v1")
    cloud = f"http://{HANGING}/v1" if case == "network" else f"{address}/tiny/v1"
    await client.hook_model("openai", "bench", endpoint=cloud, api_key="bench-key")
    if case == "machine":
        pipe = Path(os.environ["OBLIX_HOME"]) / "nobody-writes"
        os.mkfifo(pipe)
        os.environ["OBLIX_READINGS"] = str(pipe)  # where the machine's readings are to be read from
    client.hook_agent(ResourceMonitor())
    client.hook_agent(ConnectivityAgent())
    took: list[float] = []
    clock = time.perf_counter
    end = clock() + (0.0 if case == "first" else SECONDS)
    if case != "first":
        await client.execute("Say hello in two words.", model_id="vllm:bench")  # measured by "first"
    with Ticker() as ticker:
        while not took or clock() < end:
            start = clock()
            await client.execute("Say hello in two words.", model_id="vllm:bench")
            took.append(clock() - start)
    stalled = ticker.longest
    await client.shutdown()
    return {"stall": stalled, "call": median(took), "calls": len(took)}


if __name__ == "__main__":
    _, case, address = sys.argv
    if case == "network":
        _hang_look_up()
    sys.stdout.write(json.dumps(asyncio.run(_measure(case, address))) + "\n")
