"""The accounts: what is settled and reserved in each budget's windows.

An account that exists counts everything that matches it (its model, tag or key, in its window), from the window's first entry on. So its
`settled` is always the sum of its entries, and its `reserved` that of the open reservations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from oblix.ledger import windows
from oblix.ledger.entries import CHARGES, INDEXED, Call, Pair, Which, fetch
from oblix.types.money import Limit, Period, Scope

if TYPE_CHECKING:
    import apsw

# Of what is held an eighth is kept free for answers that grow beyond the usual. One in ten does, and most give back as soon; but without it
# newcomers take all that comes back: in a simulation of 1,000 calls at once 27 % were cut off in mid-sentence, with it 0.1 %.
SPARED = 8
# Of what is left a call that cannot be topped up takes this part beyond what it will probably need, so that many have room side by side.
SHARED = 8
Own = Mapping[Which, int]  # a client's own limits, in micro-USD


class Account(NamedTuple):
    """A budget and its counters in one window.

    Attributes:
        id: `None` where nothing was counted yet.
        limit: In micro-USD, for every process; `None` where it is only counted.
        allowed: What the user allowed beyond the limit.
    """

    id: int | None
    scope: Scope
    subject: str
    period: Period
    limit: int | None
    origin: str
    settled: int
    reserved: int
    allowed: int


class Figures(NamedTuple):
    """A limit, stored or a client's own, and the account that it holds for."""

    limit: int
    account: Account

    @property
    def pair(self) -> Pair:
        """What it is a budget of."""
        return self.account.scope, self.account.subject

    @property
    def left(self) -> int:
        """What may still be reserved; below 0 where more was charged than was reserved."""
        account = self.account
        return self.limit + account.allowed - account.settled - account.reserved


class Short(NamedTuple):
    """A budget has no room.

    Attributes:
        by: The one with the least.
        may_change: What others hold would make room, if they gave it back.
    """

    by: Figures
    may_change: bool


def all_of(db: apsw.Connection, day: str, own: Iterable[Which] = ()) -> list[Account]:
    """Every budget, in the windows of a day; a client's own also where nobody counts them yet."""
    found = fetch(
        db,
        "SELECT a.id, b.scope, b.subject, b.period, b.micro, b.origin, a.settled, a.reserved, a.allowed"
        " FROM budget b LEFT JOIN account a ON a.scope = b.scope AND a.subject = b.subject"
        " AND a.span = CASE b.period WHEN 'day' THEN ?1 WHEN 'month' THEN substr(?1, 1, 7) ELSE '' END",
        (day,),
    )
    accounts = [Account(*row) for row in found]
    known = {(each.scope, each.subject, each.period) for each in accounts}
    accounts += [Account(None, *which, None, "", 0, 0, 0) for which in own if which not in known]
    return [_uncounted(db, each, day) for each in accounts]


def has_limit(db: apsw.Connection) -> bool:
    """Whether any limit is stored. 2 µs: budgets are few."""
    return bool(fetch(db, "SELECT 1 FROM budget WHERE micro IS NOT NULL LIMIT 1"))


def of(db: apsw.Connection, pairs: Sequence[Pair], day: str) -> list[Account]:
    """The accounts of a day's windows that something counts to, made where they are missing."""
    budgets = fetch(db, _budgets(len(pairs)), tuple(chain.from_iterable(pairs)))
    spans = {"total": "", "month": day[:7], "day": day}
    wanted = [(scope, subject, spans[period]) for scope, subject, period, _, _ in budgets]
    known = {row[:3]: row[3:] for row in fetch(db, _counters(len(wanted)), tuple(chain.from_iterable(wanted)))}
    found = []
    for budget, key in zip(budgets, wanted, strict=True):
        id_, *counters = known.get(key) or _made(db, *key, budget[2])
        found.append(Account(id_, *budget, *counters))
    return found


def limits(accounts: Iterable[Account], own: Own) -> list[Figures]:
    """Every limit on these accounts."""
    return [
        Figures(limit, each)
        for each in accounts
        for limit in (each.limit, own.get((each.scope, each.subject, each.period)))
        if limit is not None
    ]


class Amounts(NamedTuple):
    """What a call asks for, in micro-USD; see `estimate.Wanted`."""

    likely: int
    enough: int
    safe: int
    most: int
    grows: bool


def grant(limits: Sequence[Figures], wanted: Amounts) -> int | Short:
    """How much a call may have.

    Newcomers leave something free for the answers that grow. Where less is left than wanted, and nobody else holds anything that could come
    back, a call may have what is left, if that is enough.
    """
    if not limits:
        return wanted.likely
    short = [each for each in limits if each.left < wanted.safe + each.account.reserved // SPARED]
    if not short:
        return max(wanted.safe, min(wanted.most, *map(_share, limits)))
    tightest = min(short, key=lambda each: each.left)
    if tightest.left >= wanted.enough and not any(each.account.reserved for each in short):
        return tightest.left
    return Short(tightest, all(each.left + each.account.reserved >= wanted.enough for each in short))


def _share(limit: Figures) -> int:
    """What one call may take for all eventualities: a part of what is left, or all of it while nobody else is there."""
    return limit.left // SHARED if limit.account.reserved else limit.left


def hold(db: apsw.Connection, accounts: Iterable[Account], more: int) -> None:
    """Reserve so much in each account."""
    for each in accounts:
        db.execute("UPDATE account SET reserved = reserved + ? WHERE id = ?", (more, each.id))


def allow(db: apsw.Connection, short: Iterable[Figures], more: int) -> int:
    """Raise what is allowed beyond the limits, so that so much more fits; by how much at most."""
    beyond: dict[int | None, int] = {}
    for each in short:
        beyond[each.account.id] = max(beyond.get(each.account.id, 0), more - each.left)
    for account, needed in beyond.items():
        db.execute("UPDATE account SET allowed = allowed + ? WHERE id = ?", (needed, account))
    return max(beyond.values(), default=0)


def move(db: apsw.Connection, call: Call, day: str, *, held: int, charged: int, allowed: int = 0) -> None:
    """From reserved to settled, in every account that counts a call. What was allowed for it and not used is given back."""
    back = max(0, min(allowed, held - charged))
    for pair in call.pairs:
        db.execute(
            "UPDATE account SET reserved = reserved - ?1, settled = settled + ?2, allowed = max(0, allowed - ?3)"
            " WHERE scope = ?4 AND subject = ?5 AND span IN ('', ?6, ?7)",
            (held, charged, back, *pair, day[:7], day),
        )


def forget_allowed(db: apsw.Connection, pair: Pair, period: Period, day: str) -> None:
    """A limit was set anew: what was allowed beyond the former one is part of it, or gone."""
    values = (*pair, windows.span(period, day))
    db.execute("UPDATE account SET allowed = 0 WHERE scope = ? AND subject = ? AND span = ?", values)


def day_of(db: apsw.Connection, today: str) -> str:
    """The day that money spent now counts to."""
    ((latest,),) = fetch(db, "SELECT day FROM latest")
    return windows.day_that_counts(latest, today)


def begin(db: apsw.Connection, today: str) -> str:
    """The same, and it is written down that something was counted to it."""
    ((latest,),) = fetch(db, "SELECT day FROM latest")
    day = windows.day_that_counts(latest, today)
    if day != latest:
        db.execute("UPDATE latest SET day = ?", (day,))
    return day


def unbalanced(db: apsw.Connection) -> list[str]:
    """What accounts say against their entries and reservations, in sentences; empty where all agree."""
    wrong = []
    for scope, subject, period, span, *told in fetch(
        db, "SELECT scope, subject, period, span, settled, reserved FROM account ORDER BY id"
    ):
        name = Limit(scope, period, 0, subject=subject).name + (f" ({span})" if span else "")
        found = _sums(db, scope, subject, span)
        for what, stands, sums in zip(("settled", "reserved"), told, found, strict=True):
            if stands != sums:
                wrong.append(f"budget {name}: {stands:,} micro-USD are {what}, and what it counts adds up to {sums:,}")
    return wrong


def _uncounted(db: apsw.Connection, account: Account, day: str) -> Account:
    """Where a window has no account yet, what it would begin with: a clock that was wrong may have come back to a window of old."""
    if account.id is not None:
        return account
    settled, reserved = _sums(db, account.scope, account.subject, windows.span(account.period, day))
    return account._replace(settled=settled, reserved=reserved, allowed=0)


def _made(db: apsw.Connection, scope: Scope, subject: str, span: str, period: Period) -> tuple[int, int, int, int]:
    """A new window's account, with what the window has seen so far."""
    settled, reserved = _sums(db, scope, subject, span)
    ((id_,),) = fetch(
        db,
        "INSERT INTO account (scope, subject, period, span, settled, reserved) VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
        (scope, subject, period, span, settled, reserved),
    )
    return id_, settled, reserved, 0


# One statement of equal parts is done in 2.5 µs; a join, an `IN`, or one statement for each take 5 to 24.
@cache
def _budgets(count: int) -> str:
    one = "SELECT scope, subject, period, micro, origin FROM budget WHERE scope = ? AND subject = ?"
    return " UNION ALL ".join([one] * count)


@cache
def _counters(count: int) -> str:
    columns = "scope, subject, span, id, settled, reserved, allowed"
    one = f"SELECT {columns} FROM account WHERE scope = ? AND subject = ? AND span = ?"  # noqa: S608
    return " UNION ALL ".join([one] * count)


def _sums(db: apsw.Connection, scope: Scope, subject: str, span: str) -> tuple[int, int]:
    """What the entries of a window charged, and what its open reservations hold."""
    matches = {
        "all": "?3 = ''",
        "model": "model_id = ?3",
        "key": "key = ?3",
        "tag": "EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?3)",
    }[scope]
    values = (
        span,
        span + "~",
        subject,
    )  # a window's name is the beginning of its days' names; that of all time is empty
    within = f"day >= ?1 AND day < ?2 AND {matches}"
    charges = f"SELECT ifnull(sum(micro), 0) FROM entry WHERE {INDEXED} AND kind IN {CHARGES} AND {within}"  # noqa: S608
    holds = f"SELECT ifnull(sum(micro), 0) FROM reservation WHERE {within}"  # noqa: S608
    ((charged,),), ((held,),) = fetch(db, charges, values), fetch(db, holds, values)
    return charged, held
