"""`client.spend()` and the money in a status: one figure, on both clients, and no file made by looking."""

from __future__ import annotations

import asyncio
from datetime import date, datetime
from pathlib import Path

import apsw
import pytest

import oblix.sync
from oblix.client import OblixClient
from oblix.client.spend import first_day
from oblix.errors import ConfigurationError, InvalidRequest
from oblix.testing import ScriptedModel, run
from oblix.types.chunk import End, Usage
from oblix.types.spec import Price

PAID = Price(10.0, 30.0, source="test")
COST = 4000  # micro-USD of one answer: (100 × 10 + 100 × 30) / 10⁶ USD


def paid_model() -> ScriptedModel:
    return ScriptedModel("openai:gpt", ["yes", End("stop", Usage(100, 100))], price=PAID)


@pytest.mark.parametrize(
    ("since", "day"),
    [
        ("today", "2026-11-23"),
        (" MONTH ", "2026-11-01"),
        ("1d", "2026-11-23"),
        ("7d", "2026-11-17"),
        ("2026-02-28", "2026-02-28"),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, 23, 59), "2026-01-02"),  # noqa: DTZ001  a user's own
    ],
)
def test_when_a_report_begins(since: str | date, day: str) -> None:
    assert first_day(since, today=date(2026, 11, 23)) == day


@pytest.mark.parametrize("since", ["", "d", "-7d", "2026-02-30", "99999999d", "week"])
def test_what_is_no_day_is_told(since: str) -> None:
    with pytest.raises(InvalidRequest, match="is no day"):
        first_day(since, today=date(2026, 11, 23))


def test_an_answer_is_in_the_report_as_soon_as_it_is_there(tmp_path: Path) -> None:
    async def main() -> None:
        async with OblixClient(store=tmp_path / "oblix.db") as client:
            client.hook(paid_model())
            reply = await client.execute("Prove it.")
            found = await client.spend("model", "today")
            assert {name: sums.micro_usd for name, sums in found.rows.items()} == {"openai:gpt": COST}
            assert (found.usd, found.total.answers) == (reply.metrics["cost_usd"], 1)
            assert (await client.status())["budget"]["today"]["spent_usd"] == found.usd

    asyncio.run(main())  # a status looks at the machine within real time


def test_the_blocking_twin_reads_the_same_books(tmp_path: Path) -> None:
    with oblix.sync.OblixClient(store=tmp_path / "oblix.db") as client:
        client.hook(paid_model())
        client.execute("Prove it.")
        assert client.spend().total.micro_usd == COST
    with oblix.sync.OblixClient(store=tmp_path / "oblix.db") as later:
        assert later.spend("place").rows["cloud"].micro_usd == COST


def test_looking_makes_no_file(tmp_path: Path) -> None:
    async def main() -> None:
        async with OblixClient(store=tmp_path / "oblix.db") as client:
            assert (await client.spend()).usd == 0
            with pytest.raises(InvalidRequest, match="'week' is not known"):
                await client.spend("week")  # type: ignore[arg-type]

    run(main())
    assert list(tmp_path.iterdir()) == []


def test_books_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    db = apsw.Connection(str(tmp_path / "oblix.db"))
    db.execute("PRAGMA user_version = 1000")  # of a later version of this program
    db.close()

    async def main() -> None:
        async with OblixClient(store=tmp_path / "oblix.db") as client:
            with pytest.raises(ConfigurationError, match=r"oblix\.db"):
                await client.spend()

    run(main())
