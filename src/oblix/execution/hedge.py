"""Hedging: when the first candidate is slower than usual, the next one starts beside it, and the first token wins.

Source: "The Tail at Scale", Dean and Barroso, Communications of the ACM 56 (2013): the second request goes out at the 95th percentile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from oblix.execution.attempt import CLEAN_UP, Try
from oblix.execution.hands import Hands
from oblix.execution.loading import is_cold
from oblix.execution.route import Route
from oblix.models.base import Model
from oblix.types.chunk import Chunk, Delta, End

_AHEAD = 64  # pieces that an attempt may be ahead of its reader


class Race:
    """Two attempts, of which the second starts only if the first is late, and only if the budget for hedges has room.

    Attributes:
        model: Who answers: the first, until the second one wins.
    """

    def __init__(self, first: Try, route: Route, hands: Hands) -> None:
        self.model: Model = first.model
        self._first = first
        self.abandon = first.abandon
        self._route = route
        self._hands = hands

    async def chunks(self) -> AsyncGenerator[Chunk]:
        """The pieces of the attempt that wins; those of the other one are never seen.

        Raises:
            AttemptFailed: The only attempt failed, or both did: the failure of the last one.
        """
        usual = self._hands.health.usual_first_token(self._first.model.spec)
        if usual is None:  # nothing to compare with yet
            async with aclosing(self._first.chunks()) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        lanes = [_Lane(self._first)]
        try:
            lane = await self._winner(lanes, usual)
            self.model = lane.attempt.model
            for loser in lanes:
                if loser is not lane:
                    loser.attempt.is_beaten = True
                    await loser.stop()
            while True:
                chunk = await lane.next()
                yield chunk
                if type(chunk) is End:
                    return
        finally:
            for lane in lanes:
                await lane.stop()

    async def _winner(self, lanes: list[_Lane], usual: float) -> _Lane:
        """Who is read: the first, if it shows any sign of work in its usual time; else the first of both with a piece of text."""
        first = lanes[0]
        if await _first_of([first.heard], usual):
            return first
        if (second := self._second()) is not None:
            lanes.append(_Lane(second))
        while True:
            await _first_of([lane.ready for lane in lanes])
            for lane in lanes:
                if lane.ready.is_set() and lane.failure is None:
                    return lane
            if all(lane.failure is not None for lane in lanes):
                return lanes[-1]  # reading it raises
            lanes[:] = [lane for lane in lanes if lane.failure is None]

    def _second(self) -> Try | None:
        """The next candidate, if it is ready, well, and the budget has room."""
        health, now = self._hands.health, asyncio.get_running_loop().time()
        for model in self._route.others():
            if is_cold(model) or health.of(model.spec, now).failing or not health.admit(model.spec, now):
                continue
            if not health.may_hedge(model.spec, now):
                health.left(model.spec, now, started=now)
                return None
            self._route.take(model)
            return Try(model, self._first.journey, self._hands, self._first.said, is_hedge=True)
        return None


async def _first_of(events: Sequence[asyncio.Event], within: float | None = None) -> bool:
    """Whether one of the events came within so many seconds."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(waits, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for wait in waits:
            wait.cancel()


class _Lane:
    """An attempt that runs in a task of its own, a little ahead of its reader."""

    def __init__(self, attempt: Try) -> None:
        self.attempt = attempt
        self.heard = asyncio.Event()  # any sign of work
        self.ready = asyncio.Event()  # its first text, its end or its failure
        self.failure: Exception | None = None  # before that text
        self._pieces: asyncio.Queue[Chunk | Exception] = asyncio.Queue(_AHEAD)
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            async with aclosing(self.attempt.chunks()) as chunks:
                async for chunk in chunks:
                    self.heard.set()
                    if (type(chunk) is Delta and chunk.text) or type(chunk) is End:
                        self.ready.set()
                    await self._pieces.put(chunk)
        except Exception as error:  # noqa: BLE001  handed to whoever reads
            if not self.ready.is_set():
                self.failure = error
            self.heard.set()
            self.ready.set()
            await self._pieces.put(error)

    async def next(self) -> Chunk:
        piece = await self._pieces.get()
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def stop(self) -> None:
        """Let the model go; bounded, and harmless when it has ended."""
        self.attempt.abandon()
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=CLEAN_UP)
