"""A scripted upstream: a real socket that plays exact bytes at chosen moments and keeps every byte that it got."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Hold:
    """A pause in a script, until the test calls `release(name)`."""

    name: str


class Reset:
    """The connection is reset (RST): what a crash or a firewall looks like."""


class Hangup:
    """The connection is closed in order (FIN)."""


Step = bytes | Hold | Reset | Hangup
Script = Iterable[Step]
RESET, HANGUP = Reset(), Hangup()
LAST = b"0\r\n\r\n"  # the chunk that ends a chunked body


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as it came."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.line.split(" ")[1]

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Connection:
    """One accepted connection: every byte that came, and whether the peer has left."""

    received: bytearray = field(default_factory=bytearray)
    left: asyncio.Event = field(default_factory=asyncio.Event)


class Upstream:
    """Plays one script per request, in order; the last one again and again.

    A script that ends leaves the connection open for the next request, as a keep-alive server would.
    """

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None) -> None:
        self.connections: list[Connection] = []
        self.requests: list[Asked] = []
        self._scripts = [list(script) for script in scripts] or [[HANGUP]]
        self._tls = tls
        self._gates: dict[str, asyncio.Event] = {}
        self._open: dict[asyncio.StreamWriter, asyncio.Task[Any] | None] = {}
        self._server: asyncio.Server | None = None

    @property
    def received(self) -> bytes:
        """All bytes of all connections."""
        return b"".join(bytes(connection.received) for connection in self.connections)

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    def release(self, name: str) -> None:
        """Let a script go on behind its `Hold`."""
        self._gate(name).set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls, limit=64 << 20)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for gate in self._gates.values():
            gate.set()
        serving = {task for task in self._open.values() if task}
        for writer in list(self._open):
            writer.transport.abort()
        if serving:
            await asyncio.wait(serving, timeout=5)

    def _gate(self, name: str) -> asyncio.Event:
        return self._gates.setdefault(name, asyncio.Event())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection()
        self.connections.append(connection)
        self._open[writer] = asyncio.current_task()
        try:
            while asked := await self._read(reader, connection):
                self.requests.append(asked)
                script = self._scripts[min(len(self.requests), len(self._scripts)) - 1]
                watch = asyncio.create_task(self._watch(reader, connection))
                try:
                    if not await self._play(script, writer):
                        return
                finally:
                    watch.cancel()
                    await asyncio.gather(watch, return_exceptions=True)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            connection.left.set()
            writer.close()
            del self._open[writer]

    async def _read(self, reader: asyncio.StreamReader, connection: Connection) -> Asked | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as rest:
            connection.received += rest.partial
            return None
        connection.received += head
        line, *rows = head.decode("latin-1").rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (row.partition(":") for row in rows)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        connection.received += body
        return Asked(line, headers, body)

    async def _watch(self, reader: asyncio.StreamReader, connection: Connection) -> None:
        """Notice a peer that leaves while its answer is played; clients of ours never send before an answer has ended."""
        while not reader.at_eof() and reader.exception() is None:
            await asyncio.sleep(0.005)
        connection.left.set()

    async def _play(self, script: Script, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection is still open afterwards."""
        for step in script:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            elif isinstance(step, Hold):
                await self._gate(step.name).wait()
            else:
                if isinstance(step, Reset):
                    raw: socket.socket = writer.get_extra_info("socket")
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    writer.transport.abort()
                return False
        return True


def head(content_type: str = "text/event-stream", *, status: int = 200, **headers: str) -> bytes:
    """Status line and headers of a chunked answer; `retry_after="2"` becomes `retry-after: 2`."""
    rows = {"content-type": content_type, "transfer-encoding": "chunked", **headers}
    return _head(status, rows)


def whole(
    body: bytes | dict[str, Any], content_type: str = "application/json", *, status: int = 200, **headers: str
) -> bytes:
    """A complete answer with a content length."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return _head(status, {"content-type": content_type, "content-length": str(len(raw)), **headers}) + raw


def _head(status: int, rows: dict[str, str]) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in rows.items()]
    return "\r\n".join([f"HTTP/1.1 {status} Scripted", *lines, "", ""]).encode("latin-1")


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def sse(*events: dict[str, Any] | bytes) -> list[bytes]:
    """Server-sent events, one chunk each; bytes are data as they are."""
    return [chunk(b"data: " + (e if isinstance(e, bytes) else json.dumps(e).encode()) + b"\n\n") for e in events]


def ndjson(*lines: dict[str, Any]) -> list[bytes]:
    """Lines of JSON, one chunk each."""
    return [chunk(json.dumps(line).encode() + b"\n") for line in lines]
