"""What an idle client takes in the background: the CPU time of a process that only sleeps, with all agents at work and without any.

`python -m bench.idle with|without ADDRESS` measures in a process of its own and prints the share of a core.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time

from oblix import OblixClient
from oblix.agents import ConnectivityAgent, PowerAgent, ResourceMonitor

SECONDS = 32.0  # one look at an idle network falls into it
SETTLE = 3.0  # seconds before it begins: the first readings, and what is imported for them


async def _measure(address: str, *, has_agents: bool) -> float:
    """CPU seconds of this process and of the programs that it starts, for each second of being idle."""
    client = OblixClient(store=":memory:")
    await client.hook_model("vllm", "bench", endpoint=f"{address}/tiny/v1")
    await client.hook_model("openai", "bench", endpoint=f"{address}/tiny/v1", api_key="bench-key")
    if has_agents:
        for agent in (ResourceMonitor(), ConnectivityAgent(), PowerAgent()):
            client.hook_agent(agent)
    await client.execute("Say hello in two words.", model_id="openai:bench")
    await asyncio.sleep(SETTLE)
    start, spent = time.monotonic(), _spent()
    await asyncio.sleep(SECONDS)
    share = (_spent() - spent) / (time.monotonic() - start)
    await client.shutdown()
    return share


def _spent() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    _, which, address = sys.argv
    sys.stdout.write(json.dumps(asyncio.run(_measure(address, has_agents=which == "with"))) + "\n")
