"""What the world outside has: two cloud providers, a name server, and, on a bad day, a portal in their place.

`python -m tests.badlink.away JSON` prints `ready`, takes orders from its standard input, one JSON object a line, answers each with the
time at which it was carried out, and ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web
from aiohttp.typedefs import Handler

ZONE = "cloud.test"
PROVIDERS = {"api": 2, "other": 3}  # the last number of their addresses
PORT = 8080
WORDS = "all work and no play makes a dull day " * 26 + "\n"  # 1 kB
PIECE = 8  # kB of one event of a long answer
DRIP = 0.25  # seconds between the tokens of a slow answer
Stance = Literal["open", "closed", "portal"]


@dataclass(frozen=True, slots=True)
class Papers:
    """A certificate and its key, as files."""

    certificate: str
    key: str


class Provider:
    """One address, at which the provider answers, or a portal does in its place, or nobody."""

    def __init__(self, host: str, papers: dict[str, Papers]) -> None:
        self._host, self._papers = host, papers
        self._runner: web.AppRunner | None = None

    async def become(self, stance: Stance) -> None:
        """Hang up on everybody, and answer otherwise from now on."""
        if self._runner is not None:
            for connection in self._connections():
                connection.abort()
            await self._runner.cleanup()
            self._runner = None
        if stance != "closed":
            await self._open("portal" if stance == "portal" else "api", _portal if stance == "portal" else _api)

    async def _open(self, name: str, make: Any) -> None:
        self._runner = web.AppRunner(make(), shutdown_timeout=0.0, keepalive_timeout=75.0)
        await self._runner.setup()
        context = None
        if name in self._papers:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self._papers[name].certificate, self._papers[name].key)
        await web.TCPSite(self._runner, self._host, PORT, ssl_context=context, reuse_address=True).start()

    def hang_up(self) -> None:
        """Close every connection in order, as servers do with those that were idle for long."""
        for connection in self._connections():
            connection.close()

    def _connections(self) -> list[asyncio.Transport]:
        server = self._runner.server if self._runner is not None else None
        return [handler.transport for handler in server.connections if handler.transport] if server is not None else []


def _api() -> web.Application:
    app = web.Application(client_max_size=64 << 20)
    app.router.add_post("/v1/chat/completions", _complete)
    return app


def _portal() -> web.Application:
    @web.middleware
    async def log_in_first(request: web.Request, handler: Handler) -> web.StreamResponse:
        raise web.HTTPFound("http://portal.test/login", text="<html><body>Welcome to our hotel. Log in.</body></html>")

    return web.Application(middlewares=[log_in_first])


async def _complete(request: web.Request) -> web.StreamResponse:
    """Answer as the first word of the prompt says: `down N` with N kB at once, `drip N` for N seconds, else with a word."""
    asked: dict[str, Any] = await request.json()
    order, _, rest = str(asked["messages"][-1]["content"]).partition(" ")
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    with suppress(ConnectionError):  # the client left, or this provider hung up on it
        await response.prepare(request)
        async for text in _texts(order, rest):
            await response.write(_event({"delta": {"content": text}}))
        await response.write(_event({"delta": {}, "finish_reason": "stop"}) + b"data: [DONE]\n\n")
    return response


async def _texts(order: str, rest: str) -> AsyncIterator[str]:
    if order == "down":
        for _ in range(0, int(rest), PIECE):
            yield WORDS * PIECE
    elif order == "drip":
        for _ in range(int(float(rest) / DRIP)):
            yield "tick "
            await asyncio.sleep(DRIP)
    else:
        yield "Yes."


def _event(choice: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, **choice}]}).encode() + b"\n\n"


class Names(asyncio.DatagramProtocol):
    """A name server that knows the providers, and remembers who else was asked for."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self.is_silent = False
        self.strangers: set[str] = set()
        self._addresses = {f"{name}.{ZONE}": bytes(map(int, address.split("."))) for name, address in addresses.items()}

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]  # as asyncio documents it
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        name = asked_for(data)
        if name not in self._addresses:
            self.strangers.add(name)
        if not self.is_silent:
            self._transport.sendto(answer(data, self._addresses.get(name)), addr)


def asked_for(query: bytes) -> str:
    """The name that a query is about (RFC 1035, 4.1.2)."""
    parts, at = [], 12
    while size := query[at]:
        parts.append(query[at + 1 : at + 1 + size].decode("ascii", "replace").lower())
        at += 1 + size
    return ".".join(parts)


def answer(query: bytes, address: bytes | None) -> bytes:
    """The answer to a question of one name: its IPv4 address, nothing for other types; "no such name" where there is no address."""
    end = query.index(b"\0", 12) + 5
    question, kind = query[12:end], query[end - 4 : end - 2]
    found = address is not None and kind == b"\0\1"
    flags = b"\x85\x80" if address is not None else b"\x85\x83"
    head = query[:2] + flags + b"\0\1" + (b"\0\1" if found else b"\0\0") + b"\0\0\0\0"
    # A pointer to the name, type A, class IN, one minute, four bytes.
    return head + question + (b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + (address or b"") if found else b"")


async def main(addresses: dict[str, str], papers: dict[str, Papers]) -> None:
    providers = {name: Provider(address, papers) for name, address in addresses.items()}
    for provider in providers.values():
        await provider.become("open")
    loop = asyncio.get_running_loop()
    _, names = await loop.create_datagram_endpoint(lambda: Names(addresses), (addresses["api"], 53))
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        if "names" in order:
            names.is_silent = order["names"] == "silent"
        for name, stance in order.get("become", {}).items():
            await providers[name].become(stance)
        if order.get("hang_up"):
            for provider in providers.values():
                provider.hang_up()
        print(json.dumps({"at": time.monotonic(), "strangers": sorted(names.strangers)}), flush=True)


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    asyncio.run(main(settings["addresses"], {name: Papers(**paths) for name, paths in settings["papers"].items()}))
