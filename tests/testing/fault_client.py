"""A raw client for the fault server: plain sockets, and readers of the three protocols that share no line with the product."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from oblix.testing.faults import FaultServer, Tempo, Upstream, Wire

T = TypeVar("T")
WIRES: tuple[Wire, ...] = ("openai", "claude", "ollama")
PATHS: dict[Wire, str] = {"openai": "/v1/chat/completions", "claude": "/v1/messages", "ollama": "/api/chat"}
PROOFS: dict[Wire, bytes] = {  # patterns
    "openai": rb"(?m)^data: ?\[DONE\]\r?$",
    "claude": rb'"type":"message_stop"',
    "ollama": rb'"done":true',
}
MARKER = "REQ-00001"
# No pauses worth a wait; what would never end does so soon.
QUICK = Tempo(pause=0.0, settle=0.0, drip=0.001, bomb=1 << 20, cap=0.2)


@dataclass(frozen=True, slots=True)
class Heard:
    """All bytes of one connection, and how it ended: `fin`, `reset`, or `open` when only the end of an answer was waited for."""

    raw: bytes
    ending: str

    @property
    def head(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        """Without the sizes of chunks; what is no chunk any more stays as it is."""
        rest = self.raw.partition(b"\r\n\r\n")[2]
        if b"transfer-encoding: chunked" not in self.head:
            return rest
        body = b""
        while (found := re.match(rb"([0-9a-f]+)\r\n", rest)) and (size := int(found[1], 16)):
            body += rest[found.end() : found.end() + size]
            rest = rest[found.end() + size + 2 :]
        return body

    @property
    def is_whole(self) -> bool:
        """Whether a chunked body ended as it should."""
        return self.raw.endswith(b"\r\n0\r\n\r\n")

    def text(self, wire: Wire) -> str:
        """The visible text; events that are no JSON are passed over."""
        said = []
        text = self.body.decode("utf-8-sig", "replace").replace("\r\n", "\n")
        for event in text.split("\n" if wire == "ollama" else "\n\n"):
            lines = event.split("\n")
            data = event if wire == "ollama" else "\n".join(line[5:] for line in lines if line.startswith("data:"))
            if not data:
                continue
            try:
                found = json.loads(data)
            except (ValueError, RecursionError):
                continue
            if isinstance(found, dict):
                said.append(_piece(found))
        return "".join(said)


def _piece(found: dict[str, Any]) -> str:
    for choice in found.get("choices") or ():
        return str((choice.get("delta") or {}).get("content") or "")
    delta = found.get("delta") or {}
    return (
        str(delta.get("text") or (found.get("message") or {}).get("content") or "")
        if found.get("type") != "message_start"
        else ""
    )


def question(wire: Wire, marker: str = MARKER, **more: Any) -> bytes:
    """A chat request as bytes."""
    messages = more.pop("messages", [{"role": "user", "content": f"Tell me about {marker}."}])
    body = json.dumps({"model": "played", "stream": True, "messages": messages, **more}).encode()
    return request("POST", PATHS[wire], body, authorization="Bearer sk-secret")


def request(method: str, path: str, body: bytes = b"", **rows: str) -> bytes:
    """Any request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in rows.items()), "", ""]).encode() + body


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, upstream: Upstream) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", upstream.port, limit=16 << 20))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> Heard:
        """One whole answer: chunked, or with a content length."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        if found := re.search(rb"content-length: (\d+)", head):
            return Heard(head + await self.reader.readexactly(int(found[1])), "open")
        return Heard(head + await self.reader.readuntil(b"\r\n0\r\n\r\n"), "open")

    async def to_the_end(self) -> Heard:
        """Everything until the connection ends."""
        parts: list[bytes] = []
        try:
            while part := await self.reader.read(1 << 16):
                parts.append(part)
        except ConnectionResetError:
            return Heard(b"".join(parts), "reset")
        return Heard(b"".join(parts), "fin")

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


async def ask(upstream: Upstream, marker: str = MARKER, **more: Any) -> Heard:
    """One question on a connection of its own, one whole answer."""
    client = await Client.to(upstream)
    client.send(question(upstream.wire, marker, **more))
    try:
        return await client.answer()
    finally:
        await client.close()


async def ask_to_the_end(upstream: Upstream, marker: str = MARKER) -> Heard:
    """One question, and everything until the server ends the connection, which it is asked to do when all is said."""
    client = await Client.to(upstream)
    client.send(question(upstream.wire, marker).replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
    try:
        return await client.to_the_end()
    finally:
        await client.close()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end; half a minute only guards against hanging."""
    return asyncio.run(asyncio.wait_for(main, 30))


def server() -> FaultServer:
    """One with quick faults."""
    return FaultServer(QUICK)
