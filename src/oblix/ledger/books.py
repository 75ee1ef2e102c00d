"""The books: what each transaction does to them, as plain functions of a connection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from oblix.ledger import balances, entries
from oblix.ledger.balances import Amounts, Figures, Own, Short
from oblix.ledger.entries import Call, Which, fetch
from oblix.ledger.owner import Lease
from oblix.types.money import Limit, Spent

if TYPE_CHECKING:
    import apsw


class Taken(NamedTuple):
    """Money was reserved.

    Attributes:
        micro_usd: In all.
        room: What the budgets could pay at most, if everybody gave back what they hold; what was taken, where nothing can be added to it
            later; `None` where there is no limit.
        day: Where it counts.
    """

    micro_usd: int
    room: int | None
    day: str


class Refused(NamedTuple):
    """A budget has no room.

    Attributes:
        day: Where it would have counted.
    """

    short: Short
    day: str


class Terms(NamedTuple):
    """On which terms money is reserved.

    Attributes:
        own: The client's own limits, which hold beside the stored ones.
        approved: The user allowed it to pass all of them.
    """

    own: Own
    approved: bool = False


class Answer(NamedTuple):
    """How a request ended.

    Attributes:
        spent: All its attempts together.
        saved: In micro-USD, by the formula of `saved_usd`; `None` where there is nothing to compare with.
    """

    call: Call
    at: float
    spent: Spent
    saved: int | None


def reserve(
    db: apsw.Connection, call: Call, amounts: Amounts, *, at: float, today: str, lease: Lease, terms: Terms
) -> Taken | Refused:
    """Reserve in all accounts that a call counts to, or in none."""
    day = balances.begin(db, today)
    accounts = balances.of(db, call.pairs, day)
    limits = balances.limits(accounts, terms.own)
    granted: int | Short = amounts.most if terms.approved else balances.grant(limits, amounts)
    if isinstance(granted, Short):
        return Refused(granted, day)
    allowed = _allow(db, call, limits, granted, at=at, day=day) if terms.approved else 0
    room = None if terms.approved else min([each.left + each.account.reserved for each in limits], default=None)
    if room is not None and not amounts.grows:
        room = granted
    balances.hold(db, accounts, granted)
    db.execute(
        "INSERT INTO reservation VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (call.id, call.request_id, call.model_id, call.place, at, day, *lease, granted, allowed,
         entries.to_json(call.tags), call.key, call.price),
    )  # fmt: skip
    entries.append(db, "reserve", call, granted, at=at, day=day)
    return Taken(granted, room, day)


def raise_to(
    db: apsw.Connection, call: Call, wanted: int, enough: int, *, at: float, terms: Terms
) -> Taken | Refused | None:
    """Reserve so much in all for a call that holds something already, or what there is, if it is enough.

    Returns:
        `None` where it does not hold anything any more.
    """
    found = fetch(db, "SELECT micro, allowed, day FROM reservation WHERE id = ?", (call.id,))
    if not found:
        return None
    ((held, allowed, day),) = found
    more = max(0, wanted - held)
    accounts = balances.of(db, call.pairs, day)
    limits = balances.limits(accounts, terms.own)
    short = [each for each in limits if each.left < more]
    if short and terms.approved:
        allowed += _allow(db, call, limits, more, at=at, day=day)
    elif short:
        tightest = min(short, key=lambda each: each.left)
        if held + tightest.left < enough:
            return Refused(Short(tightest, all(each.left + each.account.reserved >= enough for each in short)), day)
        more = max(0, tightest.left)
    balances.hold(db, accounts, more)
    db.execute("UPDATE reservation SET micro = ?, allowed = ? WHERE id = ?", (held + more, allowed, call.id))
    entries.append(db, "raise", call, more, at=at, day=day)
    return Taken(held + more, None, day)


def settle(db: apsw.Connection, call: Call, spent: Spent, *, at: float, today: str) -> None:
    """Charge what a call came to, and give back the rest. Again it changes nothing; after a reaper it corrects what that charged.

    Args:
        today: Where it counts if it was never reserved, because the books could not be written then.
    """
    found = fetch(db, "DELETE FROM reservation WHERE id = ? RETURNING micro, allowed, day", (call.id,))
    if found:
        ((held, allowed, day),) = found
        balances.move(db, call, day, held=held, charged=spent.micro_usd, allowed=allowed)
        entries.append(db, "settle", call, spent.micro_usd, at=at, day=day, spent=spent)
        return
    before = entries.charged(db, call.id)
    if before is None:
        day = balances.begin(db, today)
        balances.of(db, call.pairs, day)
        balances.move(db, call, day, held=0, charged=spent.micro_usd)
        entries.append(db, "settle", call, spent.micro_usd, at=at, day=day, spent=spent)
    elif before.is_reaped:
        change = spent.micro_usd - before.micro_usd
        balances.move(db, call, before.day, held=0, charged=change)
        entries.append(db, "correct", call, change, at=at, day=before.day, spent=spent)


def release(db: apsw.Connection, call: Call, *, at: float) -> None:
    """Give back what a call holds, if it does: nothing was sent, and nobody waits for it any more."""
    if fetch(db, "SELECT 1 FROM reservation WHERE id = ?", (call.id,)):
        settle(db, call, Spent(0, True, "cancelled"), at=at, today="")


def renew(db: apsw.Connection, ids: Iterable[str], until: float) -> None:
    """Who holds these works: their leases go on."""
    db.executemany("UPDATE reservation SET lease_until = ? WHERE id = ?", [(until, id_) for id_ in ids])


def holders(db: apsw.Connection) -> list[Lease]:
    """All that hold something, with the first end of their leases."""
    return [Lease(*row) for row in fetch(db, "SELECT owner, min(lease_until) FROM reservation GROUP BY owner")]


def reap(db: apsw.Connection, owner: str, *, before: float, at: float) -> int:
    """Charge what a dead owner held, all of it, because its calls were possibly billed; how many they were.

    Args:
        before: Of its leases those that end before then.
    """
    rows = fetch(
        db,
        "DELETE FROM reservation WHERE owner = ? AND lease_until < ?"
        " RETURNING id, request_id, model_id, place, tags, key, price, micro, day",
        (owner, before),
    )
    for id_, request_id, model_id, place, tags, key, price, held, day in rows:
        call = Call(id_, request_id, model_id, place, tuple(msgspec.json.decode(tags)), key, price)
        balances.move(db, call, day, held=held, charged=held)
        entries.append(db, "reap", call, held, at=at, day=day, spent=Spent(held, False, "reaped"))
    return len(rows)


def note(db: apsw.Connection, answers: Iterable[Answer], *, today: str) -> None:
    """Write down how requests ended; that moves no money."""
    day = balances.begin(db, today)
    for each in answers:
        append = entries.append
        append(db, "answer", each.call, each.spent.micro_usd, at=each.at, day=day, spent=each.spent, saved=each.saved)


def watch(db: apsw.Connection, limits: Iterable[Limit], *, at: float, today: str) -> None:
    """Have every process count what a client has limits of its own for."""
    day = balances.begin(db, today)
    for limit in limits:
        values = (limit.scope, limit.subject, limit.period, limit.origin, at)
        db.execute("INSERT OR IGNORE INTO budget VALUES (?, ?, ?, NULL, ?, ?)", values)
        balances.of(db, [(limit.scope, limit.subject)], day)


def set_limit(db: apsw.Connection, limit: Limit, *, at: float, today: str) -> None:
    """A limit for every process; what its window has seen so far counts."""
    day, pair = balances.begin(db, today), (limit.scope, limit.subject)
    values = (*pair, limit.period, limit.micro_usd, limit.origin, at)
    db.execute("INSERT OR REPLACE INTO budget VALUES (?, ?, ?, ?, ?, ?)", values)
    balances.of(db, [pair], day)
    balances.forget_allowed(db, pair, limit.period, day)
    entries.append(db, "limit", entries.about((*pair, limit.period)), limit.micro_usd, at=at, day=day)


def reset_limit(db: apsw.Connection, which: Which, *, at: float, today: str) -> bool:
    """The limit is gone, what it counted goes on to be counted; whether there was one."""
    gone = fetch(
        db,
        "UPDATE budget SET micro = NULL WHERE scope = ? AND subject = ? AND period = ? AND micro IS NOT NULL RETURNING 1",
        which,
    )
    if gone:
        entries.append(db, "reset", entries.about(which), 0, at=at, day=balances.begin(db, today))
    return bool(gone)


def _allow(db: apsw.Connection, call: Call, limits: list[Figures], more: int, *, at: float, day: str) -> int:
    allowed = balances.allow(db, [each for each in limits if each.left < more], more)
    if allowed:
        entries.append(db, "allow", call, allowed, at=at, day=day)
    return allowed
