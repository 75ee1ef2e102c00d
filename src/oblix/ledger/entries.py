"""The entries: every movement of money as a row that is appended, and never changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec.structs import force_setattr

from oblix.ledger.chain import START, link
from oblix.types.money import Period, Scope, Spent
from oblix.types.spec import Place

if TYPE_CHECKING:
    import apsw

Which = tuple[Scope, str, Period]  # a budget: its scope, its subject and its period
Pair = tuple[Scope, str]
CHARGES = "('settle', 'reap', 'correct')"  # the kinds that move money for good
INDEXED = (
    "kind IN ('settle', 'reap', 'correct', 'answer')"  # the condition of the index by day, which a query has to repeat
)


class Call(msgspec.Struct, frozen=True):
    """An attempt, as the books write it down. A struct, because a frozen dataclass takes five times as long to make.

    Attributes:
        price: Where it comes from, in words.
        pairs: Scope and subject of all that it counts to; found from the others.
    """

    id: str
    request_id: str
    model_id: str
    place: Place
    tags: tuple[str, ...] = ()
    key: str = ""
    price: str = ""
    pairs: tuple[Pair, ...] = ()

    def __post_init__(self) -> None:
        tags: list[Pair] = [("tag", tag) for tag in dict.fromkeys(self.tags)]
        keys: list[Pair] = [("key", self.key)] if self.key else []
        force_setattr(self, "pairs", (("all", ""), ("model", self.model_id), *tags, *keys))


class Charged(NamedTuple):
    """What was charged for a call.

    Attributes:
        day: Where it counts.
        is_reaped: Only as it was reserved, because its owner died.
    """

    micro_usd: int
    day: str
    is_reaped: bool


def about(which: Which) -> Call:
    """What an entry about a budget tells: its scope, subject and period stand where a call has its tags."""
    return Call("", "", "", "edge", which)


def append(
    db: apsw.Connection,
    kind: str,
    call: Call,
    micro_usd: int,
    *,
    at: float,
    day: str,
    spent: Spent | None = None,
    saved: int | None = None,
) -> None:
    """Append an entry to the chain."""
    last = fetch(db, "SELECT seq, hash FROM entry ORDER BY seq DESC LIMIT 1")
    seq, before = last[0] if last else (0, START)
    told: tuple[Any, ...] = (1, "", None, None, None)
    if spent is not None:
        told = (int(spent.certain), spent.outcome, spent.input_tokens, spent.output_tokens, spent.cached_tokens)
    row = (seq + 1, float(at), kind, call.id, call.request_id, call.model_id, call.place, day, micro_usd, *told, saved,
           to_json(call.tags), call.key, call.price)  # fmt: skip
    db.execute(
        "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, link(before, row))
    )


def last_entry(db: apsw.Connection) -> int:
    """The `seq` of the last one; 0 before the first."""
    found = fetch(db, "SELECT seq FROM entry ORDER BY seq DESC LIMIT 1")
    return int(found[0][0]) if found else 0


def charged(db: apsw.Connection, id_: str) -> Charged | None:
    """What was charged for a call that holds nothing any more; `None` where it was never charged."""
    of_it = f"SELECT micro, day, kind FROM entry WHERE reservation = ? AND kind IN {CHARGES} ORDER BY seq"  # noqa: S608
    found = fetch(db, of_it, (id_,))
    return Charged(sum(row[0] for row in found), found[0][1], found[-1][2] == "reap") if found else None


def answer_lengths(db: apsw.Connection, most: int = 2000) -> list[tuple[str, int]]:
    """Model and output tokens of the latest calls that came to their own end, the oldest first.

    Args:
        most: Entries that are looked at; they take a millisecond.
    """
    return fetch(
        db,
        "SELECT model_id, output_tokens FROM (SELECT * FROM entry ORDER BY seq DESC LIMIT ?)"
        " WHERE kind = 'settle' AND outcome = 'ok' AND certain AND output_tokens > 0 ORDER BY seq",
        (most,),
    )


def to_json(tags: tuple[str, ...]) -> str:
    """Tags, as the books keep them."""
    return msgspec.json.encode(tags).decode() if tags else "[]"


def fetch(db: apsw.Connection, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
    """All rows; a statement that changes something runs to its end only when its rows are taken."""
    return db.execute(statement, values).fetchall()
