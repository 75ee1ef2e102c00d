"""The demo's wire to its "cloud": a relay on loopback that counts what passes, and can be cut, at once or in mid-answer."""

from __future__ import annotations

import asyncio
import socket
import struct
from types import TracebackType
from typing import Self

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: closing sends RST, as a broken link or a crashed server does


class Wire:
    """Relays TCP to a port on this machine.

    Attributes:
        sent: Bytes that went towards the cloud.
        cut_after: Cut every connection after so many bytes from the cloud; `None` to relay all.
    """

    def __init__(self, target_port: int) -> None:
        self.sent = 0
        self.cut_after: int | None = None
        self._target = target_port
        self._server: asyncio.Server | None = None
        self._port = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._relays: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where the relay listens."""
        return f"http://127.0.0.1:{self._port}"

    async def plug(self) -> None:
        """Listen; at the same port as before."""
        if self._server is None:
            self._server = await asyncio.start_server(self._relay, "127.0.0.1", self._port)
            self._port = self._server.sockets[0].getsockname()[1]

    async def pull(self) -> None:
        """Refuse connections from now on, and cut those that are open."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in list(self._open):
            _cut(writer)
        if self._relays:
            await asyncio.wait(self._relays)

    async def __aenter__(self) -> Self:
        await self.plug()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.pull()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._pass_on(reader, writer))
        self._relays.add(task)
        task.add_done_callback(self._relays.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        forth: asyncio.StreamWriter | None = None
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self._target)
            self._open.add(forth)
            if self._server is None:  # pulled in the meantime
                return
            there = asyncio.create_task(self._towards_cloud(reader, forth))
            try:
                await self._from_cloud(back, writer)
            finally:
                there.cancel()
        except OSError:
            return
        finally:
            for end in filter(None, (writer, forth)):
                self._open.discard(end)
                if self._server is None:
                    _cut(end)
                else:
                    end.close()

    async def _towards_cloud(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await _read(reader):
            self.sent += len(data)
            writer.write(data)

    async def _from_cloud(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passed = 0
        while data := await _read(reader):
            passed += len(data)
            if self.cut_after is not None and passed > self.cut_after:
                _cut(writer)
                return
            writer.write(data)


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(65536)
    except ConnectionError:
        return b""


def _cut(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
