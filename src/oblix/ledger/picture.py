"""What the books say at this moment, kept in memory until somebody adds to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from oblix.ledger import balances
from oblix.ledger.balances import Account, Figures, Own
from oblix.ledger.entries import Pair, Which, last_entry
from oblix.ledger.windows import Calendar
from oblix.storage.store import Store
from oblix.types.money import Limit, Room

if TYPE_CHECKING:
    import apsw

Seen = tuple[object, int, str]  # the file, its last entry, the day: as long as they are the same, so are the figures


class Picture:
    """The budgets, with their figures. A look takes 5 µs while nothing was added, else 20: no figure changes without an entry.

    Args:
        wall: Seconds since the epoch.
    """

    def __init__(self, store: Store, calendar: Calendar, wall: Callable[[], float]) -> None:
        self._store = store
        self._calendar = calendar
        self._wall = wall
        self._own: dict[Which, Limit] = {}
        self._seen: Seen | None = None
        self._polled: int | None = None
        self._day = ""
        self._accounts: list[Account] = []
        self._limits: list[Figures] = []  # the tightest first
        self._rooms: list[tuple[Pair, Room]] = []

    def watch(self, limits: Iterable[Limit]) -> Own:
        """These are the client's own limits from now on; of those for the same the tightest holds."""
        own: dict[Which, Limit] = {}
        for each in limits:
            which = (each.scope, each.subject, each.period)
            own[which] = min(own.get(which, each), each, key=lambda limit: limit.micro_usd)
        self._own = own
        self.forget()
        return self._own_amounts()

    def forget(self) -> None:
        """Look anew the next time."""
        self._seen = None

    def has_changed(self) -> bool:
        """Whether anything was added since this was asked last, by whomever."""
        before, self._polled = self._polled, self._store.read(last_entry)
        return self._polled != before

    def look(self) -> tuple[str, list[Account]]:
        """The day that counts, and every budget in that day's windows.

        Raises:
            apsw.Error: The file cannot be read.
            ConfigurationError: It cannot be opened.
        """
        self._store.read(self._refresh)
        return self._day, self._accounts

    def limits(self) -> list[Figures]:
        """Every limit, as the last look saw it."""
        return self._limits

    def rooms(self, models: Mapping[str, tuple[Pair, ...]]) -> dict[str, Room | None]:
        """Model → what the tightest of the budgets that it counts to leaves for it."""
        if not (self._own or self._limits or self._store.read(balances.has_limit)):
            return dict.fromkeys(
                models
            )  # nobody set a limit, so no figure matters: most of a look is saved at each call
        self._store.read(self._refresh)
        rooms = self._rooms
        return {model: next((room for pair, room in rooms if pair in pairs), None) for model, pairs in models.items()}

    def room(self, figures: Figures, day: str) -> Room:
        """What a limit leaves."""
        account = figures.account
        own = self._own.get((account.scope, account.subject, account.period))
        return Room(
            name_of(account),
            figures.limit / 1e6,
            max(0, figures.left) / 1e6,
            held_usd=account.reserved / 1e6,
            spent_usd=account.settled / 1e6,
            resets_at=self._calendar.resets_at(account.period, day),
            scope=account.scope,
            subject=account.subject,
            period=account.period,
            origin=account.origin if own is None or figures.limit == account.limit else own.origin,
        )

    def _refresh(self, db: apsw.Connection) -> None:
        today = self._calendar.day(self._wall())
        seen = (self._store.file, last_entry(db), today)
        if seen == self._seen:
            return
        self._day = balances.day_of(db, today)
        self._accounts = balances.all_of(db, self._day, self._own)
        # The tightest leaves least once everybody gave back all that they hold: whoever needs more than that is refused for good.
        self._limits = balances.limits(self._accounts, self._own_amounts())
        self._limits.sort(key=lambda each: (each.left + each.account.reserved, each.left))
        self._rooms = [(each.pair, self.room(each, self._day)) for each in self._limits]
        self._seen = seen

    def _own_amounts(self) -> Own:
        return {which: limit.micro_usd for which, limit in self._own.items()}


def name_of(account: Account) -> str:
    """What messages call a budget."""
    return Limit(account.scope, account.period, 0, subject=account.subject).name
