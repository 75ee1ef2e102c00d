"""One request and its answer on a connection: what a kind of fault can do with them."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Literal, Protocol
from zlib import crc32

from oblix.testing.faults.books import BillRow, Received
from oblix.testing.faults.manner import Manner
from oblix.testing.faults.questions import Question, read_question
from oblix.testing.faults.sayings import TOKENS
from oblix.testing.faults.texts import pieces_of, without_start
from oblix.testing.faults.wire_http import LAST_CHUNK, chunk, head, odd_pieces
from oblix.testing.faults.wires import Counts, ErrorWords, WireFormat

Moment = Literal["before_headers", "before_first_token", "mid_stream", "at_end"]
FLOOD_BLOCK = 64 << 10  # bytes; one write of a flood
Framing = Literal["chunked", "length", "close"]  # how the end of the body is told


@dataclass(frozen=True, slots=True)
class Tempo:
    """Times and sizes of a server's faults.

    Attributes:
        pause: Seconds of one slow but healthy pause.
        settle: Seconds between the last good byte and the fault, so that the peer has read what came before.
        drip: Seconds between the bytes of a trickle and between the comments of a drip.
        bomb: Bytes of a bomb.
        cap: Seconds after which any fault ends.
    """

    pause: float = 0.05
    settle: float = 0.01
    drip: float = 0.1
    bomb: int = 64 << 20
    cap: float = 30.0


class Line(Protocol):
    """The connection, as an exchange uses it."""

    transport: asyncio.Transport
    left: asyncio.Event

    async def drain(self) -> None:
        """Wait until the peer takes more bytes."""


class Exchange:
    """The answer to one request, which a kind of fault prepares, interrupts and ends.

    Methods that only write are plain; those that wait are coroutines. Whatever is written counts in `said`, and its tokens on the bill.

    Attributes:
        request: What was asked.
        wire: The protocol's bytes.
        rows: Headers of the answer.
        version: Of HTTP, in the status line.
        framing: How the end of the body is told; with `length`, `length` is what the headers promise (bytes).
        shape: Changes each run of whole events on its way out.
        opening: What comes before the first piece.
        tempo: Times and sizes.
        trap: Gives the address to which redirects lead, without a path.
        begun: Whether the headers have left.
        said: Pieces of text that have left.
    """

    def __init__(
        self,
        line: Line,
        request: Received,
        *,
        upstream: str,
        wire: WireFormat,
        tempo: Tempo,
        manner: Manner,
        trap: Callable[[], str],
    ) -> None:
        self.request, self.wire, self.tempo, self.manner = request, wire, tempo, manner
        self.question = read_question(request.body)
        self.rows = {"content-type": wire.content_type}
        self.version = "1.1"
        self.framing: Framing = "chunked"
        self.length = 0
        self.shape: Callable[[bytes], bytes] = lambda data: data
        self.said = request.pieces
        self.bill: BillRow | None = None
        self.trap = trap
        self.thoughts, self.pieces, self.is_cut = written(self.question, upstream, request.marker, manner)
        self.opening = wire.opening(self._counts(1))
        self._line = line
        self._seed = crc32(request.marker.encode())
        self._left: Iterator[str] = iter(self.pieces)
        self.begun = False
        self._lost_end = 0
        self._generated = 0  # tokens of text, delivered or not

    # What leaves

    def send(self, raw: bytes) -> None:
        """Bytes as they are, in one write."""
        self._line.transport.write(raw)

    def body(self, data: bytes) -> None:
        """Bytes of the body, framed as the headers say."""
        if framed := self._framed(data):
            self.send(framed)

    def _framed(self, data: bytes) -> bytes:
        data = self.shape(data)
        return chunk(data) if data and self.framing == "chunked" else data  # an empty chunk would be the end

    def head(self, status: int = 200) -> bytes:
        """Status line and headers of this answer."""
        rows = dict(self.rows)
        if self.framing == "chunked":
            rows["transfer-encoding"] = "chunked"
        elif self.framing == "length":
            rows["content-length"] = str(self.length)
        return head(status, rows, self.version)

    def start(self, status: int = 200) -> bytes:
        """Headers, and what comes before the first piece, as they would leave."""
        self.begun = True
        return self.head(status) + self._framed(self.opening)

    def begin(self, status: int = 200) -> None:
        """Send them."""
        self.send(self.start(status))

    async def reach(self, moment: Moment) -> None:
        """Answer well, up to the moment at which a fault begins."""
        if moment != "before_headers":
            self.begin()
        if moment not in ("mid_stream", "at_end"):
            return
        count = self.half if moment == "mid_stream" else len(self.pieces)
        if self.manner.pause is None:
            self.say(count)
            return
        for _ in range(count):
            await asyncio.sleep(self.manner.pause)
            self.say(1)

    @property
    def half(self) -> int:
        """Pieces before the middle of the answer."""
        return len(self.pieces) // 2

    def size_at(self, pieces: int, *, closed: bool = False) -> int:
        """Bytes of the body up to so many pieces, or to its very end."""
        data = self.opening + b"".join(map(self.wire.piece, self.pieces[:pieces]))
        return len(data + b"".join(self._closing(len(self.pieces)) if closed else ()))

    def say(self, count: int) -> None:
        """The next pieces of text."""
        said = self._take(count)
        self.body(b"".join(map(self.wire.piece, said)))

    def lose(self) -> None:
        """Leave out what would come next: a piece, or at the end the first part of the closing."""
        lost = self._take(1)
        if lost:
            self.said.pop()
        else:
            self._lost_end += 1

    def _take(self, count: int) -> list[str]:
        taken = list(islice(self._left, count))
        self.said += taken
        self._generated += len(taken)
        if self.bill is not None:
            self.bill.output_tokens = self.thoughts + self._generated
        return taken

    def closing(self) -> list[bytes]:
        """The parts that prove completion: reason, counts, end mark, as far as the protocol has them apart."""
        return self._closing(self._generated)[self._lost_end :]

    def _closing(self, pieces: int) -> list[bytes]:
        counts, cut = self._counts(self.thoughts + pieces), self.is_cut
        parts = (self.wire.finish(counts, cut=cut), self.wire.usage(counts), self.wire.done(counts, cut=cut))
        return [part for part in parts if part]

    def _counts(self, output: int) -> Counts | None:
        if not self.manner.tells_usage:
            return None
        prompt = self.question.input_tokens
        return Counts(prompt, output, cached_of(prompt, self.manner), min(self.thoughts, output))

    def prove(self) -> None:
        """The closing, and the end of the body."""
        self.body(b"".join(self.closing()))
        self.end()

    def end(self) -> None:
        """A clean end of the body, whatever was said."""
        if self.framing == "chunked":
            self.send(LAST_CHUNK)
        elif self.framing == "close":
            self.close()

    def go_on(self) -> None:
        """The rest of a healthy answer."""
        self.say(len(self.pieces))
        self.prove()

    def answer(self) -> None:
        """The whole of a healthy answer, cut at odd places: inside of events, characters and chunk sizes."""
        if not self.question.stream:
            self.answer_buffered()
            return
        said = self._take(len(self.pieces))
        data = b"".join([self.opening, *map(self.wire.piece, said), *self.closing()])
        framed = b"".join(map(chunk, odd_pieces(data, self._seed, 4)))
        for part in odd_pieces(self.head() + framed + LAST_CHUNK, self._seed >> 3, 2):
            self.send(part)

    def answer_with(self, data: bytes) -> None:
        """Another stream than that of its own words; what it counts is on the bill."""
        self.send(self.head() + chunk(data) + LAST_CHUNK)
        if self.bill is not None:
            self.bill.output_tokens = TOKENS

    def answer_buffered(self) -> None:
        """The whole of a healthy answer in one JSON object."""
        text = "".join(self._take(len(self.pieces)))
        body = self.wire.whole(text, self._counts(self.thoughts + len(self.said)), cut=self.is_cut)
        self.send(head(200, {"content-type": "application/json", "content-length": str(len(body))}) + body)

    async def answer_slowly(self, pause: float) -> None:
        """The whole of a healthy answer, token by token; a peer that leaves ends it."""
        if self.question.stream:
            self.begin()
        if self.bill is not None:
            self.bill.output_tokens = self.thoughts
        for number in range(len(self.pieces)):
            await asyncio.sleep(pause)
            if self.question.stream:
                self.say(1)
            elif self.bill is not None:
                self.bill.output_tokens = self.thoughts + number + 1
        if self.question.stream:
            self.prove()
        else:
            self.answer_buffered()

    def rest(self) -> Iterator[bytes]:
        """The rest of a healthy answer as it would leave, for a kind that writes it in its own way; each piece counts when it is taken."""
        if not self.begun:
            yield self.start()
        while taken := self._take(1):
            yield self._framed(self.wire.piece(taken[0]))
        yield self._framed(b"".join(self.closing()))
        if self.framing == "chunked":
            yield LAST_CHUNK

    def answer_zipped(self) -> None:
        """The whole of a healthy answer, compressed; nothing of it counts as said, because no client of ours asked for that."""
        said = self._take(len(self.pieces))
        data = gzip.compress(b"".join([self.opening, *map(self.wire.piece, said), *self.closing()]))
        self.said.clear()
        rows = {**self.rows, "content-encoding": "gzip", "content-length": str(len(data))}
        self.send(head(200, rows) + data)

    def stray(self, text: str) -> bytes:
        """A whole answer with another text, which is none to this request; it is on no bill."""
        data = self.opening + self.wire.piece(text) + b"".join(self._closing(1))
        return self.head() + chunk(data) + LAST_CHUNK

    def error(self, words: ErrorWords) -> None:
        """An error event inside of the answer, and a clean end."""
        self.body(self.wire.event(self.wire.error(words), "error"))
        self.end()

    # How a connection ends

    def close(self) -> None:
        """An orderly end (FIN)."""
        self._line.transport.close()

    def half_close(self) -> None:
        """No more bytes from here (FIN), while the connection still takes the peer's."""
        with suppress(OSError):  # the peer may have left
            self._line.transport.write_eof()

    def reset(self) -> None:
        """A hard end (RST), as after a crash or by a firewall."""
        reset(self._line.transport)

    # What takes time

    async def hold(self) -> None:
        """Say nothing until the peer leaves."""
        await self._line.left.wait()

    async def pause(self) -> None:
        """A slow but healthy pause."""
        await asyncio.sleep(self.tempo.pause)

    async def flood(self, block: bytes, *, framed: bool = True) -> None:
        """`block` again and again, up to the size of a bomb, as fast as the peer takes it."""
        many = block * (FLOOD_BLOCK // len(block) + 1)
        for _ in range(self.tempo.bomb // len(many) + 1):
            (self.body if framed else self.send)(many)
            await self._line.drain()

    async def trickle(self, data: bytes) -> None:
        """One byte at a time, very slowly."""
        for byte in data:
            self.send(bytes((byte,)))
            await asyncio.sleep(self.tempo.drip)


def written(question: Question, upstream: str, marker: str, manner: Manner) -> tuple[int, tuple[str, ...], bool]:
    """What a healthy upstream writes: tokens of thoughts, pieces of text, and whether the caller's limit cut it."""
    pieces = without_start(pieces_of(upstream, marker, manner.lengths), question.prefix)
    most = question.most_tokens
    if most is None or manner.thoughts + len(pieces) <= most:
        return manner.thoughts, pieces, False
    thoughts = min(manner.thoughts, most)
    return thoughts, pieces[: most - thoughts], True


def cached_of(input_tokens: int, manner: Manner) -> int:
    """Tokens of a prompt that come from the cache."""
    return int(input_tokens * manner.cached)


def reset(transport: asyncio.Transport) -> None:
    """Close with a reset (RST) instead of an orderly end."""
    raw: socket.socket = transport.get_extra_info("socket")
    if raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
