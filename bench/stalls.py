"""How long the event loop stands still, and how long a prompt waits: while a sensor hangs, and at the very first prompt.

`python -m bench.stalls CASE ADDRESS` measures one case in a process of its own and prints a JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

from bench.measure import Ticker
from bench.workers import Worker

SECONDS = 2.0  # of executes beside a sensor that hangs: longer than every deadline of the agents
CASES = ("calm", "machine", "gpu", "network", "resolver", "engine", "first")
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


def _hang_driver() -> None:
    """Put a binding of NVML before the real one whose first call never returns."""
    folder = Path(os.environ["OBLIX_HOME"]) / "drivers"
    folder.mkdir()
    pipe = folder / "nobody-writes"
    os.mkfifo(pipe)
    (folder / "pynvml.py").write_text(
        f"class NVMLError(Exception):\n    value = 0\n\ndef nvmlInit():\n    open({str(pipe)!r}).read()\n"
    )
    sys.path.insert(0, str(folder))


def _hang_readings() -> None:
    pipe = Path(os.environ["OBLIX_HOME"]) / "nobody-writes"
    os.mkfifo(pipe)
    os.environ["OBLIX_READINGS"] = str(pipe)  # where the machine's readings are to be read from


@contextmanager
def _frozen_engine() -> Iterator[str]:
    """The address of a server that takes connections and says nothing: its process is stopped."""
    with Worker("bench.upstream") as server:
        address = f"http://127.0.0.1:{server.read()}"
        os.kill(server.pid, signal.SIGSTOP)
        try:
            yield address
        finally:
            os.kill(server.pid, signal.SIGCONT)


async def _warm(address: str) -> None:
    """What a first prompt imports and opens, so that the first one with sensors shows what these add."""
    from oblix import OblixClient

    async with OblixClient() as client:
        await client.hook_model("vllm", "bench", endpoint=f"{address}/tiny/v1")
        await client.hook_model("openai", "bench", endpoint=f"{address}/tiny/v1", api_key="bench-key")
        await client.execute("Say hello in two words.", model_id="openai:bench")


# What makes a sensor hang; `resolver` runs where the name server lies behind a black hole.
_HANG = {"machine": _hang_readings, "gpu": _hang_driver, "network": _hang_look_up}


async def _measure(case: str, address: str, frozen: str | None) -> dict[str, float]:
    # Before the ticker starts, so that "first" is what a program that has imported us waits for.
    from oblix import OblixClient
    from oblix.agents import ConnectivityAgent, PowerAgent, ResourceMonitor

    if case != "first":
        await _warm(address)
    client = OblixClient()
    await client.hook_model("vllm", "bench", endpoint=f"{address}/tiny/v1")
    if frozen is not None:
        await client.hook_model("llamacpp", "frozen", endpoint=f"{frozen}/v1")
    cloud = f"http://{HANGING}/v1" if case in ("network", "resolver") else f"{address}/tiny/v1"
    await client.hook_model("openai", "bench", endpoint=cloud, api_key="bench-key")
    for agent in (ResourceMonitor(), ConnectivityAgent(), PowerAgent()):
        client.hook_agent(agent)
    took: list[float] = []
    clock = time.perf_counter
    end = clock() + (0.0 if case == "first" else SECONDS)
    opening = clock()
    if case != "first":
        await client.execute("Say hello in two words.", model_id="vllm:bench")  # its stall is measured by "first"
    opening = clock() - opening
    with Ticker() as ticker:
        while not took or clock() < end:
            start = clock()
            await client.execute("Say hello in two words.", model_id="vllm:bench")
            took.append(clock() - start)
    stalled = ticker.longest
    await client.shutdown()
    return {"stall": stalled, "call": median(took), "longest": max(took), "opening": opening, "calls": len(took)}


if __name__ == "__main__":
    _, case, address = sys.argv
    _HANG.get(case, lambda: None)()
    with _frozen_engine() if case == "engine" else nullcontext() as frozen:
        found = asyncio.run(_measure(case, address, frozen))
    sys.stdout.write(json.dumps(found) + "\n")
