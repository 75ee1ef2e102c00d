"""Hedging: when the first candidate is slower than usual, the next one starts beside it, and the first token wins.

Source: "The Tail at Scale", Dean and Barroso, Communications of the ACM 56 (2013): the second request goes out at the 95th percentile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from oblix.errors import AttemptFailed
from oblix.execution.attempt import Try
from oblix.execution.hands import Hands
from oblix.execution.loading import is_cold
from oblix.execution.route import Route
from oblix.execution.timers import CLEAN_UP
from oblix.models.base import Model
from oblix.types.chunk import Chunk, Delta, End
from oblix.types.failure import treatment

_AHEAD = 64  # pieces that an attempt may be ahead of its reader


class Race:
    """Two attempts, of which the second starts only if the first is late, and only if the budget for hedges has room.

    Attributes:
        model: Who answers: the first, until the second one wins.
        lost: Who failed while the other one went on, for the walk to judge as well.
    """

    def __init__(self, first: Try, route: Route, hands: Hands) -> None:
        self.model: Model = first.model
        self.lost: list[tuple[Model, AttemptFailed]] = []
        self.abandon = first.abandon
        self._first = first
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
            winner = await self._winner(lanes, usual)
            self.model = winner.attempt.model
            for lane in lanes:
                if lane is not winner:
                    lane.beat()
            while True:
                chunk = await winner.next()
                yield chunk
                if type(chunk) is End:
                    return
        finally:
            for lane in lanes:
                await lane.stop(self._hands)

    async def _winner(self, lanes: list[_Lane], usual: float) -> _Lane:
        """Who is read: the first, if it shows any sign of work in its usual time; else the first of both with a piece of text."""
        if await _first_of([lanes[0].heard], usual):
            return lanes[0]
        if (second := self._second()) is not None:
            lanes.append(_Lane(second))
        running = list(lanes)
        while True:
            await _first_of([lane.ready for lane in running])
            for lane in [lane for lane in running if lane.ready.is_set()]:
                if lane.failure is None or lane.is_final or len(running) == 1:
                    return lane  # reading it raises, if it failed
                running.remove(lane)
                if isinstance(lane.failure, AttemptFailed):
                    self.lost.append((lane.attempt.model, lane.failure))

    def _second(self) -> Try | None:
        """The next candidate, if it may bridge, is ready and well, and the budget has room."""
        health, journey, now = self._hands.health, self._first.journey, asyncio.get_running_loop().time()
        for model in self._route.others():
            if model.spec.place not in journey.bridges or is_cold(model) or health.of(model.spec, now).failing:
                continue
            if not health.admit(model.spec, now):
                continue
            if not health.may_hedge(model.spec, now):
                health.left(model.spec, now, started=now)
                return None
            self._route.take(model)
            return Try(model, journey, self._hands, self._first.said, is_hedge=True)
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

    @property
    def is_final(self) -> bool:
        """It failed in a way after which nobody else may be asked."""
        return isinstance(self.failure, AttemptFailed) and not treatment(self.failure.kind).moves_on

    def beat(self) -> None:
        """The other one answered first: account for it, and let its model go."""
        who = self.attempt.model.spec.id
        how = (
            "was started beside a slow one, which"
            if self.attempt.is_hedge
            else "was slower than usual, and another model"
        )
        why = f"{who} {how} answered first"
        self.attempt.write_off(asyncio.get_running_loop().time(), why)
        self._task.cancel()

    async def stop(self, hands: Hands) -> None:
        """Let the model go; bounded, and harmless when it has ended."""
        if self._task.done():
            return
        self.attempt.abandon()
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=CLEAN_UP)
        if not self._task.done():
            hands.leftovers.add(self._task)
            self._task.add_done_callback(hands.leftovers.discard)
