"""Judges a race by the books of both sides: what we charged, what the providers billed, and what an oracle could have admitted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from oblix.ledger import balances, chain
from oblix.testing.faults import Upstream
from oblix.types.money import micro

if TYPE_CHECKING:
    import apsw

End = Literal["whole", "cut", "refused", "cancelled", "failed"]


class Told(msgspec.Struct, frozen=True):
    """What a caller tells of a call.

    Attributes:
        came: When it came, on the machine's clock.
        took: Seconds.
        by: Kinds of failure that its attempts met.
        cost_usd: What the reply says that it cost.
    """

    marker: str
    end: End
    came: float
    took: float
    by: tuple[str, ...] = ()
    error: str = ""
    cost_usd: float | None = None


TOLD = msgspec.json.Decoder(list[Told])


@dataclass(frozen=True, slots=True)
class Books:
    """Both sides, by marker, in micro-USD.

    Attributes:
        charged: By our ledger.
        billed: By the providers, of which each has its own books.
    """

    charged: dict[str, int]
    billed: dict[str, int]

    def troubles(self) -> list[str]:
        """Bills above what was charged."""
        return [
            f"{marker}: billed {amount}, charged {self.charged.get(marker, 0)}"
            for marker, amount in self.billed.items()
            if amount > self.charged.get(marker, 0)
        ]

    def of(self, markers: Iterable[str]) -> tuple[int, int]:
        """What these were charged and billed."""
        known = list(markers)
        return sum(self.charged.get(m, 0) for m in known), sum(self.billed.get(m, 0) for m in known)


class Hedges(NamedTuple):
    """Attempts that were sent beside another one, and those of them that answered."""

    sent: int
    won: int


def books(db: apsw.Connection, ups: Iterable[Upstream]) -> Books:
    """The ledger's entries beside the servers' bills."""
    charged = dict(
        db.execute(
            "SELECT request_id, sum(micro) FROM entry WHERE kind IN ('settle', 'reap', 'correct') GROUP BY request_id"
        )
    )
    billed: dict[str, int] = {}
    for row in (row for up in ups for row in up.bill):
        billed[row.marker] = billed.get(row.marker, 0) + micro(row.usd)
    return Books(charged, billed)


def unsound(db: apsw.Connection) -> list[str]:
    """What is wrong with the ledger's books by themselves."""
    verdict, found = chain.verify(db), balances.unbalanced(db)
    if verdict.broken_at is not None:
        found.append(verdict.why)
    if open_ := db.execute("SELECT count(*) FROM reservation").get:
        found.append(f"{open_} reservations are still open")
    return found


def unfit(told: Iterable[Told], db: apsw.Connection, charged: dict[str, int]) -> list[str]:
    """Calls that came to an end which no race may bring, or were told another price than the books say."""
    kinds = {each.marker: set(each.by) for each in told}
    for marker, record in db.execute("SELECT decision_id, record FROM outcome"):
        kinds.setdefault(marker, set()).update(attempt["kind"] for attempt in json.loads(record)["attempts"])
    found = [f"{marker}: the books could not be written" for marker, of in kinds.items() if "ledger" in of]
    found += [f"{marker}: an error of ours" for marker, of in kinds.items() if "internal" in of]
    for each in told:
        if each.cost_usd is not None and (cost := round(each.cost_usd * 1e6)) != charged.get(each.marker, 0):
            found.append(f"{each.marker}: the reply says {cost}, the books {charged.get(each.marker, 0)}")
    return found


def hedges(db: apsw.Connection) -> Hedges:
    """By the log of decisions."""
    records = (json.loads(record) for (record,) in db.execute("SELECT record FROM outcome"))
    sent = [a for record in records for a in record["attempts"] if a["hedged"] and a["certainty"] != "not_sent"]
    return Hedges(len(sent), sum(attempt["outcome"] == "ok" for attempt in sent))


def overrun(db: apsw.Connection, limit: int) -> int:
    """Walk the books from their first entry: how far settled and reserved together were above the limit, once there was one."""
    held: dict[str, int] = {}
    settled, most, is_limited = 0, 0, False
    for kind, name, amount in db.execute("SELECT kind, reservation, micro FROM entry ORDER BY seq"):
        if kind in ("reserve", "raise"):
            held[name] = held.get(name, 0) + amount
        elif kind in ("settle", "reap", "correct"):
            held.pop(name, None)
            settled += amount
        is_limited = is_limited or kind == "limit"
        if is_limited and kind != "answer":  # an answer moves no money
            most = max(most, settled + sum(held.values()) - limit)
    return most


def oracle(left: int, told: Iterable[Told], whole: dict[str, int], charged: dict[str, int]) -> int:
    """How many calls one who knows every final cost could have admitted, in the order in which they came.

    The final cost of a call that was answered, failed or was cancelled is what it was charged; of one that was refused or cut, what it
    would have come to if nothing had failed: that is hard on us, because what breaks costs those only that were admitted. Calls that failed
    or were given up take what they took, and count for neither side.

    Args:
        left: Micro-USD of the budget.
        whole: Marker → what a whole answer costs.
    """
    admitted = 0
    for each in sorted(told, key=attrgetter("came")):
        final = whole[each.marker] if each.end in ("refused", "cut") else charged.get(each.marker, 0)
        if final <= left:
            left -= final
            admitted += each.end in ("whole", "refused", "cut")
    return admitted


def blame(told: Iterable[Told]) -> Counter[str]:
    """What calls failed by."""
    return Counter(" and ".join(each.by) or each.error for each in told if each.end == "failed")
