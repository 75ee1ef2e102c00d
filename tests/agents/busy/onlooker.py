"""A program that looks on: a ResourceMonitor of its own, which prints each of its reports as a line of JSON.

With `--infer` a real embedded model writes all the while, on all cores; with `--server` the edge servers of the machine count as ours.
"""

from __future__ import annotations

import asyncio
import json
import sys

from oblix.agents import ResourceMonitor
from oblix.agents.base import BaseAgent

POLL = 0.05  # seconds; well below the sampler's interval, so that no report is missed


class HasServer:
    """What a client with a hooked edge server tells."""

    def inference_processes(self) -> frozenset[int]:
        return frozenset()

    def has_local_server(self) -> bool:
        return True

    def cloud_endpoints(self) -> tuple[()]:
        return ()

    def runs_here(self, model_id: str) -> bool:
        return True

    def spent(self, period: str) -> None:
        return None

    def network_changed(self) -> None:
        return


def tell(monitor: ResourceMonitor, seen: object) -> object:
    """Print the report, if it is a new one, with the time of its reading in seconds."""
    latest = monitor._seat.latest
    if latest is not None and latest is not seen:
        sample, report = latest
        print(
            json.dumps({"at": sample.at, "state": report.state, "reason": report.reason} | dict(report.metrics)),
            flush=True,
        )
    return latest


async def look_on(monitor: ResourceMonitor) -> None:
    seen: object = None
    while True:
        seen = tell(monitor, seen)
        await asyncio.sleep(POLL)


async def infer(monitor: BaseAgent, cores: int) -> None:
    from oblix import OblixClient  # a second of a slow container's time, and only this option needs it

    async with OblixClient(store=":memory:") as client:
        await client.hook_model("embedded", "smollm2", threads=cores)
        client.hook_agent(monitor)
        while True:
            await client.execute("Tell me a long story about the sea.", max_tokens=400)


async def main(arguments: list[str]) -> None:
    monitor = ResourceMonitor()
    async with asyncio.TaskGroup() as group:
        if "--infer" in arguments:
            group.create_task(infer(monitor, int(arguments[-1])))
        else:
            if "--server" in arguments:
                monitor.attach(HasServer())
            await monitor.initialize()
        group.create_task(look_on(monitor))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
