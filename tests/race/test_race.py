"""A small race for the same budget; `make race` runs the large one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest

from . import judge
from .judge import Books, End, Told
from .race import run


@pytest.mark.parametrize("kind", ["plain", "rough", "hidden"])
@pytest.mark.parametrize("share", [0.5, 0.05])
def test_a_budget_is_never_passed(share: float, kind: str, tmp_path: Path) -> None:
    """In four processes, whatever fails: nothing above the limit at any moment, no bill above what was charged, and the books add up."""
    race = asyncio.run(run(tmp_path, share, calls=80, rough=kind == "rough", hidden=kind == "hidden"))
    assert race.troubles == []
    assert race.overrun == 0
    assert race.settled <= race.limit
    assert race.limit * 0.8 < race.peak <= race.limit, "it was a race, and it was seen"
    if kind == "plain":
        assert race.settled <= race.billed * 1.02 + race.ends["cut"] * 400


def told(marker: str, end: End, came: float, by: tuple[str, ...] = (), cost_usd: float | None = None) -> Told:
    return Told(marker, end, came, 1.0, by, cost_usd=cost_usd)


def test_the_oracle_walks_in_the_order_of_arrival() -> None:
    """What is refused could have been had at its bare price; what was given up takes what it took, and counts for neither side."""
    calls = [
        told("late", "refused", 4.0),
        told("dear", "refused", 2.0),
        told("left", "cancelled", 1.0),
        told("hedged", "whole", 3.0),
    ]
    whole = {"late": 30, "dear": 70, "left": 50, "hedged": 20}
    assert judge.oracle(100, calls, whole, {"left": 10, "hedged": 20}) == 2
    assert judge.oracle(130, calls, whole, {"left": 10, "hedged": 20}) == 3


def test_books_that_cannot_be_written_are_no_way_for_a_call_to_end() -> None:
    db = apsw.Connection(":memory:")
    db.execute("CREATE TABLE outcome (decision_id, record)")
    record = '{"attempts": [{"kind": "ledger"}]}'
    db.execute("INSERT INTO outcome VALUES ('b', ?)", (record,))
    calls = [
        told("a", "failed", 1.0, ("ledger", "server_error")),
        told("b", "cancelled", 2.0),
        told("c", "whole", 3.0, cost_usd=2e-6),
        told("d", "failed", 4.0, ("server_error",)),
    ]
    assert judge.unfit(calls, db, {"c": 3}) == [
        "a: the books could not be written",
        "b: the books could not be written",
        "c: the reply says 2, the books 3",
    ]
    assert judge.blame(calls) == {"ledger and server_error": 1, "server_error": 1}


def test_a_bill_above_the_charge_is_seen() -> None:
    books = Books({"a": 5, "b": 5}, {"a": 5, "b": 6, "c": 1})
    assert books.troubles() == ["b: billed 6, charged 5", "c: billed 1, charged 0"]
    assert books.of(["a", "b"]) == (10, 11)
