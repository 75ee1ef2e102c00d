"""When the books cannot be written: what that looks like, whether calls go on, and what is owed to the books meanwhile."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Literal

from oblix.errors import ConfigurationError
from oblix.ledger import books
from oblix.ledger.entries import Call, fetch
from oblix.ledger.windows import Calendar
from oblix.storage.store import Store, StoreBusy
from oblix.types.money import Spent

if TYPE_CHECKING:
    import apsw

OnFailure = Literal["refuse", "go-on"]
Settled = tuple[Call, Spent, float]  # what a call came to, and when
Dated = tuple[Call, Spent, float, str]  # and on which day
REPAID = 512  # that are written down at once when it works again: 10 ms
MOST_OWED = 4096  # that are kept in memory while the disk fails: some 4 MB
MOST_CHARGED = 10**15  # micro-USD for one call, a billion USD: who charges more is mistaken
_log = logging.getLogger("oblix.ledger")


def failures() -> tuple[type[Exception], ...]:
    """What a store raises when the file cannot be written or read."""
    import apsw  # takes 10 ms to import

    return (apsw.Error, StoreBusy, ConfigurationError, OSError)


def refusals() -> tuple[type[Exception], ...]:
    """What the books say to a charge that they can never hold, however well the disk works."""
    import apsw

    return (apsw.ConstraintError, OverflowError)


def passing(store: Store) -> ConfigurationError | None:
    """Why books end with this program although nobody asked for it; what is written there holds no other program to a limit."""
    if not store.is_in_memory or store.trouble is None:
        return None
    return ConfigurationError(store.trouble, hint="Set OBLIX_HOME to a folder that can be written to.")


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
        self._write(_settle, calls)

    def repay(self) -> None:
        """Try again to write down what could not be, the oldest first."""
        if self._kept:
            self._write(_settle_each, tuple(self._kept.popleft() for _ in range(min(REPAID, len(self._kept)))))

    def repay_all(self) -> None:
        """The same with everything, now; where it does not work, the rest stays."""
        for _ in range(MOST_OWED // REPAID):
            self._store.flush()
            self.repay()
        self._store.flush()

    def _write(self, work: Callable[..., None], calls: tuple[Settled, ...]) -> None:
        dated = [(*each, self._calendar.day(each[2])) for each in calls]
        self._store.soon(partial(work, calls=dated), partial(self._keep, calls))

    def _keep(self, calls: tuple[Settled, ...], error: BaseException) -> None:
        """From any thread."""
        if len(self._kept) + len(calls) > MOST_OWED:
            _log.error("the books could not be written for so long that charges are forgotten, the oldest first")
        self._kept.extend(calls)
        if not isinstance(error, refusals()):
            self._trouble.is_here(error)


def _settle(db: apsw.Connection, calls: Iterable[Dated]) -> None:
    for call, spent, at, today in calls:
        if not _is_charge(spent.micro_usd):
            raise OverflowError(f"{spent.micro_usd} micro-USD are no charge")
        books.settle(db, call, spent, at=at, today=today)


def _settle_each(db: apsw.Connection, calls: Iterable[Dated]) -> None:
    """Each by itself: one that the books refuse must not keep the others out for ever, nor what it holds reserved."""
    for each in calls:
        try:
            with db:  # a savepoint
                _settle(db, [each])
        except refusals() as error:
            _log.error("what %s cost cannot be written down, and is charged as it was reserved: %s", each[0].id, error)
            with suppress(*refusals()), db:  # where even that is refused, somebody else changed the balances
                _settle_as_held(db, *each)


def _settle_as_held(db: apsw.Connection, call: Call, spent: Spent, at: float, today: str) -> None:
    found = fetch(db, "SELECT micro FROM reservation WHERE id = ?", (call.id,))
    told = spent.micro_usd if _is_charge(spent.micro_usd) else 0
    held = found[0][0] if found else told  # it could not even be reserved
    books.settle(db, call, Spent(held, False, spent.outcome), at=at, today=today)


def _is_charge(micro_usd: int) -> bool:
    return 0 <= micro_usd <= MOST_CHARGED


class Wish:
    """A reservation on its way to the writer, which nobody may want any more when it gets there."""

    def __init__(self, work: Callable[[apsw.Connection], books.Taken | books.Refused]) -> None:
        self._work = work
        self.is_void = False

    def __call__(self, db: apsw.Connection) -> books.Taken | books.Refused | None:
        """Reserve, or do nothing."""
        return None if self.is_void else self._work(db)
