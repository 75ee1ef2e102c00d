"""A TCP proxy that plays a bad network between two real sockets: slow, lossy, cut, reset, silent, or not there at all.

Delay, jitter, bandwidth and corruption need no privileges and no kernel module here (netem is missing from many kernels).
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

PIECE = 16 << 10  # bytes read at once
QUEUED = 16  # pieces of a direction that may wait for their delay; then the sender is held up, as by a full router
TICK = 0.01  # seconds of its rate that are written at once: finer than an idle timer, coarser than the loop's own grain


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What one direction does to the bytes that pass. Offsets and counts begin at 0 with each connection.

    Attributes:
        delay: Seconds that every piece is late; pieces overlap, so that the throughput stays.
        jitter: Up to so many seconds more, drawn from the proxy's seed. The order of bytes is kept, as TCP keeps it.
        rate: Bytes per second, `None` for no limit.
        corrupt_at: The byte at this offset arrives with all its bits turned over.
        cut_after: After so many bytes both sides are closed in order (FIN), and what was on its way is lost.
        reset_after: After so many bytes both sides are reset (RST).
        half_close_after: After so many bytes the receiver reads the end of this direction; the other direction goes on.
        swallows: Bytes are taken, and arrive nowhere.
    """

    delay: float = 0.0
    jitter: float = 0.0
    rate: float | None = None
    corrupt_at: int | None = None
    cut_after: int | None = None
    reset_after: int | None = None
    half_close_after: int | None = None
    swallows: bool = False

    @property
    def limit(self) -> int | None:
        """Bytes that pass before this direction ends, however it ends."""
        ends = (self.cut_after, self.reset_after, self.half_close_after)
        return min((count for count in ends if count is not None), default=None)


@dataclass(slots=True)
class Passage:
    """One connection: what was delivered in each direction (the first `keep` bytes of it), how much in all, and how much was swallowed."""

    up: bytearray = field(default_factory=bytearray)
    down: bytearray = field(default_factory=bytearray)
    passed_up: int = 0
    passed_down: int = 0
    swallowed: int = 0


class TcpProxy:
    """`async with TcpProxy("127.0.0.1", port) as proxy:`, then connect to `proxy.port`.

    `proxy.up` (towards the target) and `proxy.down` (back) are `Line` values that may be replaced at any time: the next piece
    obeys, also on connections that are open.

    Attributes:
        up: What happens to bytes on their way to the target.
        down: What happens to bytes on their way back.
        is_black_hole: Connections are accepted, and nothing else happens: no target is asked, nothing passes. One that was
            accepted in this state stays silent until somebody closes it.
        passages: Every accepted connection, in order.
    """

    def __init__(self, host: str, port: int, *, seed: int = 0, keep: int = 1 << 20) -> None:
        """`seed` decides the jitter; `keep` is how many bytes of each direction of each connection are recorded."""
        self.up = Line()
        self.down = Line()
        self.is_black_hole = False
        self.passages: list[Passage] = []
        self._target = (host, port)
        self._keep = keep
        self._chance = {way: random.Random(f"{seed} {way}") for way in ("up", "down")}  # noqa: S311  jitter, no secret
        self._held: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], set[asyncio.StreamWriter]] = {}

    @property
    def port(self) -> int:
        """Where to connect; it stays the same while connections are refused."""
        assert self._held is not None
        return int(self._held.getsockname()[1])

    async def __aenter__(self) -> Self:
        # Bound and never listening: it keeps the number while the listening socket beside it comes and goes.
        self._held = _bound(0)
        await self.accept()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.refuse()
        self.drop()
        if self._open:
            await asyncio.wait(self._open)
        assert self._held is not None
        self._held.close()

    async def refuse(self) -> None:
        """New connections are refused (RST to the SYN, as by a closed port); those that are open go on."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    async def accept(self) -> None:
        """Listen again."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, sock=_bound(self.port), limit=PIECE)

    def drop(self) -> None:
        """Reset every connection that is open."""
        for task, writers in self._open.items():
            for writer in writers:
                _reset(writer)
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        writers = self._open[task] = {writer}
        self.passages.append(passage := Passage())
        try:
            if self.is_black_hole:
                await _swallow(reader)
                return
            far_reader, far_writer = await asyncio.open_connection(*self._target, limit=PIECE)
            writers.add(far_writer)
            for each in writers:
                # `drain` then waits until the kernel has all: a reset would throw away what we hold, and our counts would lie.
                each.transport.set_write_buffer_limits(0)
            up = _Way("up", lambda: self.up, passage, self._chance["up"], self._keep)
            down = _Way("down", lambda: self.down, passage, self._chance["down"], self._keep)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(up, reader, far_writer))
                group.create_task(self._pump(down, far_reader, writer))
        except* _Cut:
            pass
        except* (_Reset, OSError):  # one side was reset, or the target refuses: the other side learns it the same way
            for each in writers:
                _reset(each)
        except* asyncio.CancelledError:
            pass  # only `drop` cancels; it has reset both sides
        finally:
            for each in writers:
                each.close()
            del self._open[task]

    async def _pump(self, way: _Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one direction until it ends: one task reads and dates, this one waits and writes."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUED)
        async with asyncio.TaskGroup() as group:
            group.create_task(way.read(reader, queue))
            while True:
                due, data = await queue.get()
                await _until(due)
                if not data:
                    break
                if not self.is_black_hole and not await way.write(data, writer):
                    await _swallow_queue(queue)
                    return
        if not self.is_black_hole:
            with suppress(OSError):
                writer.write_eof()


class _Cut(Exception):
    """Both sides are to be closed in order."""


class _Reset(Exception):
    """Both sides are to be reset."""


class _Way:
    """One direction of one connection."""

    def __init__(self, name: str, line: Callable[[], Line], passage: Passage, chance: random.Random, keep: int) -> None:
        self._name, self._line, self._passage, self._chance, self._keep = name, line, passage, chance, keep
        self._kept: bytearray = getattr(passage, name)
        self._passed = 0
        self._due = 0.0

    async def read(self, reader: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
        """Date each piece with the time it is due at the other end; an empty one is the end."""
        loop = asyncio.get_running_loop()
        while True:
            data = await reader.read(PIECE)
            line = self._line()
            late = line.delay + line.jitter * self._chance.random() if line.delay or line.jitter else 0.0
            self._due = max(self._due, loop.time() + late)
            await queue.put((self._due, data))
            if not data:
                return

    async def write(self, data: bytes, writer: asyncio.StreamWriter) -> bool:
        """Deliver a piece as the line has it; whether the direction goes on afterwards."""
        line = self._line()
        if line.swallows:
            self._passage.swallowed += len(data)
            return True
        limit = line.limit
        room = len(data) if limit is None else max(0, limit - self._passed)
        data = self._corrupted(data[:room], line.corrupt_at)
        for piece in _paced(data, line.rate):
            writer.write(piece)
            await writer.drain()
            self._count(piece)
            if line.rate:
                await asyncio.sleep(len(piece) / line.rate)
        if limit is None or self._passed < limit:
            return True
        _end(line, limit, writer)
        return False

    def _corrupted(self, data: bytes, offset: int | None) -> bytes:
        if offset is None or not self._passed <= offset < self._passed + len(data):
            return data
        changed = bytearray(data)
        changed[offset - self._passed] ^= 0xFF
        return bytes(changed)

    def _count(self, piece: bytes) -> None:
        self._passed += len(piece)
        self._kept += piece[: max(0, self._keep - len(self._kept))]
        if self._name == "up":
            self._passage.passed_up = self._passed
        else:
            self._passage.passed_down = self._passed


def _end(line: Line, limit: int, writer: asyncio.StreamWriter) -> None:
    """End a direction at its limit, in the way that the line says."""
    if limit == line.reset_after:
        raise _Reset
    if limit == line.cut_after:
        raise _Cut
    with suppress(OSError):
        writer.write_eof()


def _paced(data: bytes, rate: float | None) -> list[bytes]:
    step = len(data) if rate is None else max(1, int(rate * TICK))
    return [data[start : start + step] for start in range(0, len(data), step or 1)]


async def _until(due: float) -> None:
    left = due - asyncio.get_running_loop().time()
    if left > 0:
        await asyncio.sleep(left)


async def _swallow(reader: asyncio.StreamReader) -> None:
    while await reader.read(PIECE):
        pass


async def _swallow_queue(queue: asyncio.Queue[tuple[float, bytes]]) -> None:
    while (await queue.get())[1]:
        pass


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST: a linger time of 0 tells the kernel to throw the connection away."""
    raw: socket.socket | None = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() != -1:
        with suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _bound(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    return made
