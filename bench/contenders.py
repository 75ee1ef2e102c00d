"""Who is compared: each answers the same call, in a process of its own, on asyncio's own loop.

`python -m bench.contenders NAME ADDRESS` reads orders from standard input, one JSON array a line, and prints one result a line.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from bench import measure
from bench.upstream import TEXTS, TOKENS

PROMPT = "Say hello in two words."
Asks = dict[str, measure.Ask]


async def plain(address: str, stack: AsyncExitStack) -> Asks:
    """aiohttp as a program that uses it by itself is written: lines, and json of the standard library."""
    import aiohttp

    session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
    headers = {"Authorization": "Bearer bench"}

    def asking(url: str) -> measure.Ask:
        async def ask() -> str:
            text: list[str] = []
            async with session.post(url, json=_body(), headers=headers) as response:
                async for line in response.content:
                    if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                        continue
                    for choice in json.loads(line[6:])["choices"]:
                        if said := choice["delta"].get("content"):
                            text.append(said)  # noqa: PERF401  as it would be written
            return "".join(text)

        return ask

    return {what: asking(f"{address}/{what}/v1/chat/completions") for what in TEXTS}


async def tuned(address: str, stack: AsyncExitStack) -> Asks:
    """aiohttp and nothing else, written for speed: bytes in, bytes out, msgspec for JSON. The floor for a client on aiohttp."""
    import aiohttp
    import msgspec

    session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
    encode, decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode
    headers = {"Authorization": "Bearer bench", "Content-Type": "application/json"}

    def asking(url: str) -> measure.Ask:
        async def ask() -> str:
            body = encode(_body())
            text: list[str] = []
            rest = b""
            async with session.post(url, data=body, headers=headers) as response:
                while data := await response.content.readany():
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        if line.startswith(b"data: {"):
                            for choice in decode(line[6:])["choices"]:
                                if said := choice["delta"].get("content"):
                                    text.append(said)  # noqa: PERF401  as it would be written
            return "".join(text)

        return ask

    return {what: asking(f"{address}/{what}/v1/chat/completions") for what in TEXTS}


async def oblix_cloud(address: str, stack: AsyncExitStack) -> Asks:
    """`OblixClient.execute` with both agents and the decision log, two models to choose from, both on the cloud's lane."""
    return {what: await _oblix("openai", f"{address}/{what}/v1", stack) for what in TEXTS}


async def oblix_edge(address: str, stack: AsyncExitStack) -> Asks:
    """The same on the edge's lane."""
    return {what: await _oblix("vllm", f"{address}/{what}/v1", stack) for what in TEXTS}


async def _oblix(provider: str, endpoint: str, stack: AsyncExitStack) -> measure.Ask:
    from oblix import OblixClient
    from oblix.agents import ConnectivityAgent, ResourceMonitor

    client = await stack.enter_async_context(OblixClient())
    for name in ("bench", "other"):
        await client.hook_model(provider, name, endpoint=endpoint, api_key="bench-key")
    client.hook_agent(ResourceMonitor())
    client.hook_agent(ConnectivityAgent())

    async def ask() -> str:
        return (await client.execute(PROMPT)).response

    return ask


async def openai_sdk(address: str, stack: AsyncExitStack) -> Asks:
    """The openai SDK: streaming, no retries."""
    from openai import AsyncOpenAI

    def asking(base: str) -> measure.Ask:
        client = AsyncOpenAI(api_key="bench", base_url=base, max_retries=0)
        stack.push_async_callback(client.close)

        async def ask() -> str:
            text: list[str] = []
            stream = await client.chat.completions.create(**_body())
            async for chunk in stream:
                if chunk.choices and (said := chunk.choices[0].delta.content):
                    text.append(said)  # noqa: PERF401  as it would be written
            return "".join(text)

        return ask

    return {what: asking(f"{address}/{what}/v1") for what in TEXTS}


def _body() -> dict[str, Any]:
    return {
        "model": "bench",
        "messages": [{"role": "user", "content": PROMPT}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


CONTENDERS: dict[str, Callable[[str, AsyncExitStack], Awaitable[Asks]]] = {
    "plain": plain,
    "tuned": tuned,
    "oblix": oblix_cloud,
    "oblix_edge": oblix_edge,
    "openai": openai_sdk,
}


async def _obey(asks: Asks, order: str, *given: Any) -> Any:
    if order == "check":
        return {what: await ask() == TEXTS[what] for what, ask in asks.items()}
    if order == "sequential":
        return await measure.sequential(asks["tiny"], *given)
    if order == "in_flight":
        return await measure.in_flight(asks["tiny"], *given)
    if order in ("hundred", "burst"):
        seconds, width = given
        return await measure.streamed(asks[order], seconds, width, TOKENS)
    assert order == "at_once", order
    return await measure.at_once(asks["slow"], *given)


async def _serve(name: str, address: str) -> None:
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    async with AsyncExitStack() as stack:
        asks = await CONTENDERS[name](address, stack)
        while line := await orders.readline():
            sys.stdout.write(json.dumps(await _obey(asks, *json.loads(line))) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
