"""What was spent, and what was saved: sums over the entries, by day, model, place, tag or key. Plain functions of a connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from oblix.ledger.entries import CHARGES, INDEXED, fetch
from oblix.types.spec import Place

if TYPE_CHECKING:
    import apsw

By = Literal["day", "model", "place", "tag", "key"]

SAVED = (
    "saved = what the cheapest hooked cloud model that the policy allowed would have cost for the same tokens, "
    "minus what the answer cost; never below 0"
)


@dataclass(frozen=True, slots=True)
class Sums:
    """What a day, a model, a place, a tag or a key came to; amounts in whole micro-USD.

    Attributes:
        micro_usd: Charged for all attempts, also those that failed, were beaten or left.
        uncertain_micro_usd: Of that, what the provider did not tell: charged by estimate, for what was possibly billed.
        reaped_micro_usd: Of that, what calls had reserved whose process died.
        calls: Attempts that something was charged for.
        answers: Requests that were answered, the free ones too.
        input_tokens: Of the answers.
        output_tokens: The same.
        cached_tokens: Of the input, what was read from a provider's cache, as far as told.
        saved_micro_usd: As `SAVED` has it.
        unpriced: Answers whose cost is not in `micro_usd`, or not wholly: a model that was asked for them has no price.
    """

    micro_usd: int = 0
    uncertain_micro_usd: int = 0
    reaped_micro_usd: int = 0
    calls: int = 0
    answers: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    saved_micro_usd: int = 0
    unpriced: int = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, name) + getattr(other, name) for name in _NAMES))

    @property
    def usd(self) -> float:
        """What was charged, in USD."""
        return self.micro_usd / 1e6

    @property
    def saved_usd(self) -> float:
        """What was saved, in USD."""
        return self.saved_micro_usd / 1e6

    @property
    def uncertain_share(self) -> float:
        """The part of what was charged that is an estimate, in [0, 1]."""
        return self.uncertain_micro_usd / self.micro_usd if self.micro_usd else 0.0


_NAMES = tuple(field.name for field in fields(Sums))


@dataclass(frozen=True, slots=True)
class Spend:
    """A report over days.

    Attributes:
        since: The first day (`2026-11-23`, where the user lives) that is looked at, `None` for the beginning.
        until: The last one, `None` for the present.
        rows: By day in order, else the dearest first. A request with several tags is part of the row of each; `""` is what has none.
        total: Of all, each request once.
    """

    by: By
    rows: Mapping[str, Sums]
    total: Sums
    _: KW_ONLY
    since: str | None = None
    until: str | None = None

    @property
    def usd(self) -> float:
        """What was charged in all, in USD."""
        return self.total.usd

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, ready for JSON."""
        return {
            "by": self.by,
            "since": self.since,
            "until": self.until,
            "rows": [{"name": name, "usd": sums.usd, **asdict(sums)} for name, sums in self.rows.items()],
            "total": {"usd": self.usd, **asdict(self.total)},
            "formula": SAVED,
        }


class _Cell(NamedTuple):
    """Where an amount belongs."""

    day: str
    model: str
    place: Place
    tags: str
    key: str


def spend(db: apsw.Connection, by: By = "day", *, since: str | None = None, until: str | None = None) -> Spend:
    """What the books hold of the days from `since` to `until`, both included."""
    cells: dict[_Cell, Sums] = {}
    days = (since or "", until or "~")  # a tilde comes after every digit
    for *where, sums in (*_charges(db, days), *_answers(db, days)):
        cell = _Cell(*where)
        cells[cell] = cells.get(cell, Sums()) + sums
    rows: dict[str, Sums] = {}
    for cell, sums in cells.items():
        for name in _ROWS[by](cell):
            rows[name] = rows.get(name, Sums()) + sums
    total = sum(cells.values(), Sums())
    return Spend(by, dict(_in_order(by, rows.items())), total, since=since, until=until)


def _charges(db: apsw.Connection, days: tuple[str, str]) -> Iterator[Any]:
    """What was charged. Of a reservation the last entry tells whether that is certain: it may correct a former one."""
    # Where max() stands among bare columns, SQLite takes those from the row that has the largest.
    reservations = (
        "SELECT day, model_id, place, tags, key, sum(micro) AS micro, certain, kind, max(seq) FROM entry"  # noqa: S608
        f" WHERE {INDEXED} AND kind IN {CHARGES} AND day >= ? AND day <= ? GROUP BY reservation"
    )
    for *where, micro, uncertain, reaped, calls in fetch(
        db,
        "SELECT day, model_id, place, tags, key, sum(micro), sum(micro) FILTER (WHERE NOT certain),"  # noqa: S608
        f" sum(micro) FILTER (WHERE kind = 'reap'), count(*) FILTER (WHERE micro > 0) FROM ({reservations})"
        " GROUP BY day, model_id, place, tags, key",
        days,
    ):
        yield *where, Sums(micro, uncertain or 0, reaped or 0, calls)


def _answers(db: apsw.Connection, days: tuple[str, str]) -> Iterator[Any]:
    """What was answered. Where the cost is not known, nothing is noted, and that this is not certain (`Ledger.answer`)."""
    for *where, answers, input_tokens, output_tokens, cached, saved, unpriced in fetch(
        db,
        "SELECT day, model_id, place, tags, key, count(*), ifnull(sum(input_tokens), 0), ifnull(sum(output_tokens), 0),"  # noqa: S608
        " ifnull(sum(cached_tokens), 0), ifnull(sum(saved), 0), count(*) FILTER (WHERE micro = 0 AND NOT certain)"
        f" FROM entry WHERE {INDEXED} AND kind = 'answer'"
        " AND day >= ? AND day <= ? GROUP BY day, model_id, place, tags, key",
        days,
    ):
        yield *where, Sums(0, 0, 0, 0, answers, input_tokens, output_tokens, cached, saved, unpriced)


def _tags(cell: _Cell) -> Iterable[str]:
    return dict.fromkeys(msgspec.json.decode(cell.tags, type=list[str])) or ("",)


_ROWS: Mapping[By, Callable[[_Cell], Iterable[str]]] = {
    "day": lambda cell: (cell.day,),
    "model": lambda cell: (cell.model,),
    "place": lambda cell: (cell.place,),
    "tag": _tags,
    "key": lambda cell: (cell.key,),
}


def _in_order(by: By, rows: Iterable[tuple[str, Sums]]) -> list[tuple[str, Sums]]:
    if by == "day":
        return sorted(rows)
    return sorted(rows, key=lambda row: (-row[1].micro_usd, -row[1].saved_micro_usd, row[0]))
