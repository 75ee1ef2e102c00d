"""One connection of an upstream: takes requests in turn, plays what the upstream decides, notices when the peer leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from oblix.testing.faults.exchange import Exchange, Moment, reset
from oblix.testing.faults.kind import Kind
from oblix.testing.faults.wire_http import BadRequestError, take_request, whole

if TYPE_CHECKING:
    from oblix.testing.faults.upstream import Upstream


class Connection(asyncio.Protocol):
    """A protocol instead of streams: a healthy answer needs no task, so that thousands a second cost little."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._buffer = bytearray()
        self._playing: asyncio.Task[object] | None = None
        self._flows = asyncio.Event()
        self._flows.set()
        self._is_last = False  # the peer wants the connection closed after this answer
        self.left = asyncio.Event()
        self.number = 0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the upstream."""
        self.transport = cast("asyncio.Transport", transport)
        self.number = self._upstream.joined(self)
        self._upstream.greet(self)

    def data_received(self, data: bytes) -> None:
        """Note every byte, and serve what is whole."""
        self._upstream.note(data)
        self._buffer += data
        self._serve()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop what is played: nobody listens any more."""
        self.left.set()
        self._flows.set()
        self._upstream.parted(self)
        if self._playing is not None:
            self._playing.cancel()

    def pause_writing(self) -> None:
        """The peer reads too slowly."""
        self._flows.clear()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self._flows.set()

    async def drain(self) -> None:
        """Wait until the peer takes more bytes; always lets others run."""
        await asyncio.sleep(0)
        await self._flows.wait()

    def abort(self) -> None:
        """Reset it."""
        reset(self.transport)

    def _serve(self) -> None:
        """Requests one after the other; what comes while a fault is played waits in the buffer."""
        while self._playing is None and not self.transport.is_closing():
            try:
                asked = take_request(self._buffer)
            except BadRequestError as error:
                self.transport.write(whole(400, str(error).encode(), "text/plain", connection="close"))
                self.transport.close()
                return
            if asked is None:
                return
            self._is_last = asked.is_last
            self._upstream.asked(self, asked)
            if self._playing is None and self._is_last:
                self.transport.close()

    def play(self, exchange: Exchange, kind: Kind, moment: Moment) -> None:
        """Answer well up to the moment, then let the kind act; in a task of its own, because that may take time."""
        self._playing = self._upstream.server.start(self._play(exchange, _act(exchange, kind, moment)))

    def answer_slowly(self, exchange: Exchange, pause: float) -> None:
        """Answer well, token by token."""
        self._playing = self._upstream.server.start(self._play(exchange, exchange.answer_slowly(pause)))

    async def _play(self, exchange: Exchange, work: Coroutine[Any, Any, None]) -> None:
        is_over = False
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(exchange.tempo.cap):
                    await work
                    is_over = True
        finally:
            self._playing = None
            if (
                not is_over
            ):  # cut by the cap, by the server's end or by an error of the kind: nobody shall wait for the rest
                self.abort()
        if self._is_last:
            self.transport.close()
        self._serve()


async def _act(exchange: Exchange, kind: Kind, moment: Moment) -> None:
    if kind.prepare is not None:
        kind.prepare(exchange, moment)
    await exchange.reach(moment)
    if moment != "before_headers":
        await asyncio.sleep(exchange.tempo.settle)
    acted = kind.act(exchange)
    if acted is not None:
        await acted
