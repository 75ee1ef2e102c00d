"""The line of calls that wait for others to give back what they hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from oblix.ledger.books import Refused
from oblix.ledger.entries import Pair

POLL = 0.02  # seconds between two looks at what other processes gave back: one pragma (2 µs) each
EVERY = 50  # looks after which all try in any case: a new window may have begun
MOST_PASSED = 16  # small ones that may pass a large one that does not fit; then what it waits for is kept for it


class Line:
    """First come, first served, in this process; between processes it is a matter of luck.

    A small call may pass a large one that does not fit, but each large one is passed 16 times at most: from then on nobody behind it gets
    anything out of the budget that it waits for, so that what is given back adds up. One tries at a time.

    Args:
        has_changed: Whether anything was written since this was asked last, by whomever.
        refresh: Look at the figures before the next ones are asked whether they may try.
    """

    def __init__(self, has_changed: Callable[[], bool], refresh: Callable[[], object]) -> None:
        self._has_changed = has_changed
        self._refresh = refresh
        self._places: list[Place] = []
        self._trying: Place | None = None
        self._again = False
        self._timer: asyncio.TimerHandle | None = None
        self._waking: asyncio.Handle | None = None
        self._looks = 0

    def __len__(self) -> int:
        return len(self._places)

    def place(self, pairs: tuple[Pair, ...], may_try: Callable[[], bool] = lambda: True) -> Place:
        """A place, which is in the line once it waits.

        Args:
            may_try: Whether it is worth a try, by the figures that were refreshed last: with hundreds in line a write of 20 µs is long.
        """
        return Place(self, pairs, may_try)

    def wake(self) -> None:
        """Something was given back: it is offered in the loop's next turn, with all that came back by then.

        With 1,000 in line one round takes 10 ms, which not every answer that ends may cost.
        """
        if self._places and self._waking is None:
            self._waking = self._places[0].loop.call_soon(self._woken)

    def close(self) -> None:
        """Look no more."""
        for each in (self._timer, self._waking):
            if each is not None:
                each.cancel()
        self._timer = self._waking = None

    # --- for places ---

    def join(self, place: Place, *, first: bool) -> None:
        """To the end of the line; who holds something already goes to its front, because others may wait for that."""
        self._places.insert(0 if first else len(self._places), place)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(POLL, self._look)

    def tried(self, place: Place) -> None:
        """It got nothing, and waits again: the next one's turn."""
        self._trying = None
        self._offer(self._places.index(place) + 1)

    def leave(self, place: Place, *, is_served: bool) -> None:
        """It waits no more, or did not have to."""
        is_waiting = place in self._places
        position = self._places.index(place) if is_waiting else len(self._places)
        if is_served:
            for before in self._places[:position]:
                before.passed += before.is_passed_by(place.pairs)
        if not is_waiting:
            return
        del self._places[position]
        if self._trying is place:
            self._trying = None
            self._offer(position)
        if not self._places:
            self.close()

    def barring(self, pairs: tuple[Pair, ...]) -> Refused | None:
        """What was refused to somebody who was passed too often, and waits for one of these budgets: it is kept for that one."""
        kept = (each for each in self._places if each.passed >= MOST_PASSED and each.is_passed_by(pairs))
        return next((each.refused for each in kept), None)

    def _woken(self) -> None:
        self._waking = None
        if self._trying is not None:
            self._again = True
        else:
            self._offer(0)

    def _offer(self, position: int) -> None:
        """It is the turn of the first one from here on that may get something, or is to be told that it will not."""
        if not self._places:
            return
        kept = [each for each in self._places[:position] if each.passed >= MOST_PASSED]
        self._refresh()
        for place in self._places[position:]:
            if place.may_try() and not any(each.is_passed_by(place.pairs) for each in kept):
                self._trying = place
                place.begin()
                return
            if place.passed >= MOST_PASSED:
                kept.append(place)
        if self._again:
            self._again = False
            self._offer(0)

    def _look(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(POLL, self._look)
        self._looks += 1
        if self._has_changed() or self._looks % EVERY == 0:
            self.wake()


class Place:
    """A call's place in the line.

    Attributes:
        loop: In which it waits.
        passed: How often somebody behind it got something.
        refused: By which budget.
    """

    def __init__(self, line: Line, pairs: tuple[Pair, ...], may_try: Callable[[], bool]) -> None:
        self.pairs = pairs
        self.may_try = may_try
        self.passed = 0
        self.refused: Refused | None = None
        self.loop = asyncio.get_running_loop()
        self._line = line
        self._is_in_line = False
        self._turn: asyncio.Future[bool] | None = None

    async def wait_turn(self, until: float, *, first: bool = False) -> bool:
        """Wait until it may try again; `False` when it is too late (loop time)."""
        self._turn = self.loop.create_future()
        if self._is_in_line:
            self._line.tried(self)
        else:
            self._is_in_line = True
            self._line.join(self, first=first)
        timer = self.loop.call_at(until, self._wake, False)
        try:
            return await self._turn
        finally:
            timer.cancel()

    def is_passed_by(self, pairs: tuple[Pair, ...]) -> bool:
        """Whether such a call takes from the budget that it waits for."""
        return self.refused is not None and self.refused.short.by.pair in pairs

    def begin(self) -> None:
        """Its turn: it may try."""
        self._wake(True)

    def leave(self, *, is_served: bool = False) -> None:
        """It waits no more."""
        self._line.leave(self, is_served=is_served)

    def _wake(self, is_turn: bool) -> None:
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(is_turn)
