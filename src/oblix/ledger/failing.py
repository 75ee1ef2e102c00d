"""When the books cannot be written: what that looks like, whether calls go on, and what is owed to the books meanwhile."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Literal

from oblix.errors import ConfigurationError
from oblix.ledger import books
from oblix.ledger.entries import Call
from oblix.ledger.windows import Calendar
from oblix.storage.store import Store, StoreBusy
from oblix.types.money import Spent

if TYPE_CHECKING:
    import apsw

OnFailure = Literal["refuse", "go-on"]
Settled = tuple[Call, Spent, float]  # what a call came to, and when
REPAID = 512  # that are written down at once when it works again: 10 ms
MOST_OWED = 4096  # that are kept in memory while the disk fails: some 4 MB
_log = logging.getLogger("oblix.ledger")


def failures() -> tuple[type[Exception], ...]:
    """What a store raises when the file cannot be written or read."""
    import apsw  # takes 10 ms to import

    return (apsw.Error, StoreBusy, ConfigurationError, OSError)


class Trouble:
    """Tells once that the books cannot be written, until they can be again."""

    def __init__(self) -> None:
        self._is_told = False

    def is_here(self, error: BaseException) -> None:
        """Something went wrong."""
        if not self._is_told:
            self._is_told = True
            _log.error("the books cannot be written: %s; what calls cost is written down when that works again", error)

    def is_over(self) -> None:
        """Something was written."""
        self._is_told = False


class Owed:
    """Calls on their way into the books: settled without waiting, and kept where the disk fails, up to a bound.

    Args:
        trouble: Is told of what goes wrong.
    """

    def __init__(self, store: Store, calendar: Calendar, trouble: Trouble) -> None:
        self._store = store
        self._calendar = calendar
        self._trouble = trouble
        self._kept: deque[Settled] = deque(maxlen=MOST_OWED)

    def __len__(self) -> int:
        return len(self._kept)

    def settle(self, *calls: Settled) -> None:
        """Have them charged, beside the path: until then they hold what they reserved. Never raises."""
        dated = [(*each, self._calendar.day(each[2])) for each in calls]
        self._store.soon(partial(_settle, calls=dated), partial(self._keep, calls))

    def repay(self) -> None:
        """Try again to write down what could not be, the oldest first."""
        if self._kept:
            self.settle(*(self._kept.popleft() for _ in range(min(REPAID, len(self._kept)))))

    def _keep(self, calls: tuple[Settled, ...], error: BaseException) -> None:
        """From any thread."""
        if len(self._kept) + len(calls) > MOST_OWED:
            _log.error("the books could not be written for so long that charges are forgotten, the oldest first")
        self._kept.extend(calls)
        self._trouble.is_here(error)


def _settle(db: apsw.Connection, calls: Iterable[tuple[Call, Spent, float, str]]) -> None:
    for call, spent, at, today in calls:
        books.settle(db, call, spent, at=at, today=today)


class Wish:
    """A reservation on its way to the writer, which nobody may want any more when it gets there."""

    def __init__(self, work: Callable[[apsw.Connection], books.Taken | books.Refused]) -> None:
        self._work = work
        self.is_void = False

    def __call__(self, db: apsw.Connection) -> books.Taken | books.Refused | None:
        """Reserve, or do nothing."""
        return None if self.is_void else self._work(db)
