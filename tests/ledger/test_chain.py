"""The chain of hashes: whatever is changed in the books shows."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest

from oblix.ledger import balances, chain
from oblix.testing import run

from .booking import claim, ledger_on, spent, store_of

COLUMNS = (
    "at kind reservation request_id model_id place day micro certain outcome "
    "input_tokens output_tokens cached_tokens saved tags key price hash"
)
OPEN_DOORS = "DROP TRIGGER entry_stays; DROP TRIGGER entry_is_kept;"


@pytest.fixture
def db(tmp_path: Path) -> apsw.Connection:
    """Books with some entries, as somebody with a tool of their own opens them."""

    async def main() -> None:
        ledger = ledger_on(tmp_path / "oblix.db")
        for number in range(10):
            hold = await ledger.reserve(claim(100, tags=("ä", "b"), key="k"))
            hold.settle(spent(number, input_tokens=3, output_tokens=None if number % 2 else 4))
        ledger.answer("r", "ollama:a", "edge", spent(0), saved_micro_usd=5)
        ledger.close()
        await asyncio.to_thread(store_of(ledger).close)

    run(main())
    return apsw.Connection(str(tmp_path / "oblix.db"))


def test_a_whole_chain_is_whole(db: apsw.Connection) -> None:
    assert chain.verify(db) == chain.Verdict(21)
    assert balances.unbalanced(db) == []


def test_empty_books_are_whole(tmp_path: Path) -> None:
    store = store_of(ledger_on(tmp_path / "oblix.db"))
    store.open()
    assert store.read(chain.verify) == chain.Verdict(0)


@pytest.mark.parametrize("statement", ["UPDATE entry SET micro = 0", "DELETE FROM entry"])
def test_entries_cannot_be_changed(db: apsw.Connection, statement: str) -> None:
    with pytest.raises(apsw.ConstraintError, match="never"):
        db.execute(statement).fetchall()


@pytest.mark.parametrize("column", COLUMNS.split())
def test_a_change_of_any_column_shows(db: apsw.Connection, column: str) -> None:
    value = {"hash": "zeroblob(16)", "tags": "'[]'"}.get(column, "77")
    db.execute(f"{OPEN_DOORS} UPDATE entry SET {column} = {value} WHERE seq = 7").fetchall()
    verdict = chain.verify(db)
    assert (verdict.broken_at, verdict.entries) == (7, 7)
    assert "entry 7 was changed" in verdict.why


def test_a_gap_and_a_swap_show(db: apsw.Connection) -> None:
    db.execute(f"{OPEN_DOORS} DELETE FROM entry WHERE seq = 5").fetchall()
    assert chain.verify(db) == chain.Verdict(5, 5, "entry 5 is missing: 6 stands in its place")
    db.execute("UPDATE entry SET seq = 5 WHERE seq = 6").fetchall()
    assert chain.verify(db).broken_at == 5


def test_a_cut_end_shows_in_the_balances(db: apsw.Connection) -> None:
    db.execute(f"{OPEN_DOORS} DELETE FROM entry WHERE seq > 18").fetchall()
    assert chain.verify(db).broken_at is None
    assert balances.unbalanced(db) == [
        "budget day (2026-11-23): 45 micro-USD are settled, and what it counts adds up to 36"
    ]


def test_a_changed_balance_shows(db: apsw.Connection) -> None:
    db.execute("UPDATE account SET reserved = 12").fetchall()
    assert balances.unbalanced(db) == [
        "budget day (2026-11-23): 12 micro-USD are reserved, and what it counts adds up to 0"
    ]
