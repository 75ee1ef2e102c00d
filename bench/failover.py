"""What it costs when the first target fails at once: `execute` over two plain calls to the same two targets, taking turns.

`python -m bench.failover CASE ADDRESS` measures one case in a process of its own and prints a JSON object.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from statistics import median
from typing import Any

from bench.contenders import PROMPT
from bench.upstream import TEXTS

CASES = ("error", "refused")  # the first target answers 500, or refuses the connection
SECONDS = 1.0
WARM = 50  # rounds


async def _measure(case: str, address: str) -> dict[str, float]:
    import aiohttp

    from oblix import OblixClient
    from oblix.agents import ConnectivityAgent, ResourceMonitor

    failing = f"{address}/error/v1" if case == "error" else f"http://127.0.0.1:{_closed_port()}/v1"
    client = OblixClient()
    await client.hook_model("vllm", "first", endpoint=failing, api_key="bench-key")
    await client.hook_model("vllm", "second", endpoint=f"{address}/tiny/v1", api_key="bench-key")
    client.hook_agent(ResourceMonitor())
    client.hook_agent(ConnectivityAgent())
    first = client._hall.models["vllm:first"]
    healthy: list[float] = []
    failed_over: list[float] = []
    plain: list[float] = []
    clock = time.perf_counter
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        for number in range(10**6):
            if number == WARM:
                end = clock() + SECONDS
            elif number > WARM and clock() > end:
                break
            client.hook(first)  # forget that it failed, or it would be asked last from the third round on
            start = clock()
            reply = await client.execute(PROMPT, model_id="vllm:first", fallback=True)
            between = clock()
            assert (reply.response, len(reply.attempts)) == (TEXTS["tiny"], 2)
            began = clock()
            await _plain(session, f"{failing}/chat/completions")
            await _plain(session, f"{address}/tiny/v1/chat/completions")
            done = clock()
            await client.execute(PROMPT, model_id="vllm:second")
            alone = clock()
            if number >= WARM:
                failed_over.append(between - start)
                plain.append(done - began)
                healthy.append(alone - done)
    await client.shutdown()
    return {"execute": median(failed_over), "plain": median(plain), "healthy": median(healthy), "calls": len(plain)}


async def _plain(session: Any, url: str) -> None:
    import aiohttp

    body = {"model": "bench", "messages": [{"role": "user", "content": PROMPT}], "stream": True}
    try:
        async with session.post(url, json=body, headers={"Authorization": "Bearer bench"}) as response:
            async for _ in response.content:
                pass
    except aiohttp.ClientConnectorError:
        pass


def _closed_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(_measure(*sys.argv[1:]))) + "\n")
