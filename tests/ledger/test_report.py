"""What was spent: the report equals the entries, however they came about; checked against sums over what was done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oblix.ledger import entries
from oblix.ledger.entries import Call
from oblix.ledger.report import By, Spend, Sums, spend
from oblix.storage.sqlite import open_file
from oblix.types.money import Spent

DAYS = ("2026-11-21", "2026-11-22", "2026-11-23")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[apsw.Connection]:
    made = open_file(tmp_path / "oblix.db")
    yield made
    made.close()


def call(number: int, model: str = "openai:gpt", tags: tuple[str, ...] = (), key: str = "") -> Call:
    return Call(f"r{number}#1", f"r{number}", model, "edge" if model.startswith("ollama") else "cloud", tags, key)


def charge(
    db: apsw.Connection, which: Call, micro_usd: int, day: str, kind: str = "settle", *, certain: bool = True
) -> None:
    entries.append(db, kind, which, micro_usd, at=0.0, day=day, spent=Spent(micro_usd, certain, "ok"))


def answer(db: apsw.Connection, which: Call, day: str, *, saved: int | None = None, is_priced: bool = True) -> None:
    spent = Spent(0, is_priced, "ok", input_tokens=10, output_tokens=20, cached_tokens=3)
    noted = Call("", which.request_id, which.model_id, which.place, which.tags, which.key)
    entries.append(db, "answer", noted, 0, at=0.0, day=day, spent=spent, saved=saved)


def test_nothing_was_spent(db: apsw.Connection) -> None:
    assert spend(db) == Spend("day", {}, Sums())


def test_an_answer_at_home_is_counted_and_costs_nothing(db: apsw.Connection) -> None:
    answer(db, call(1, "ollama:phi"), DAYS[0], saved=120)
    found = spend(db, "place")
    assert found.rows == {
        "edge": Sums(answers=1, input_tokens=10, output_tokens=20, cached_tokens=3, saved_micro_usd=120)
    }
    assert (found.usd, found.total.saved_usd, found.total.uncertain_share) == (0.0, 0.00012, 0.0)


def test_an_answer_whose_cost_is_not_known_is_told_apart_from_a_free_one(db: apsw.Connection) -> None:
    answer(db, call(1, "openai:own"), DAYS[0], is_priced=False)
    answer(db, call(2, "openai:own"), DAYS[0])
    answer(db, call(3, "openai:gpt"), DAYS[0])
    found = spend(db, "model")
    assert {name: (sums.answers, sums.unpriced) for name, sums in found.rows.items()} == {
        "openai:own": (2, 1),
        "openai:gpt": (1, 0),
    }
    assert (found.total.unpriced, found.to_dict()["total"]["unpriced"]) == (1, 1)


def test_what_was_sent_in_vain_and_charged_nothing_is_no_call(db: apsw.Connection) -> None:
    """A refused attempt and its retry are one call; a reservation that was given back is none."""
    charge(db, call(1), 0, DAYS[0])
    charge(db, call(2), 310, DAYS[0])
    charge(db, call(3), 500, DAYS[0], "reap", certain=False)
    charge(db, call(3), -500, DAYS[0], "correct")
    assert spend(db).total == Sums(310, calls=1)


def test_what_was_reserved_and_raised_is_no_spending(db: apsw.Connection) -> None:
    for kind in ("reserve", "raise", "allow", "limit", "reset"):
        entries.append(db, kind, call(1), 500, at=0.0, day=DAYS[0])
    assert spend(db).total == Sums()


def test_a_reaped_call_is_uncertain_until_it_is_corrected(db: apsw.Connection) -> None:
    charge(db, call(1), 500, DAYS[0], "reap", certain=False)
    assert spend(db).total == Sums(500, 500, 500, 1)
    charge(db, call(1), -380, DAYS[0], "correct")
    assert spend(db).total == Sums(120, 0, 0, 1)


def test_a_request_with_two_tags_is_in_both_rows_and_once_in_all(db: apsw.Connection) -> None:
    charge(db, call(1, tags=("b", "a", "a")), 70, DAYS[0])
    charge(db, call(2), 30, DAYS[0])
    found = spend(db, "tag")
    assert {name: sums.micro_usd for name, sums in found.rows.items()} == {"a": 70, "b": 70, "": 30}
    assert found.total.micro_usd == 100


def test_days_are_in_order_and_others_by_what_they_cost(db: apsw.Connection) -> None:
    charge(db, call(1, "openai:a"), 10, DAYS[2])
    charge(db, call(2, "openai:b"), 90, DAYS[0])
    assert list(spend(db).rows) == [DAYS[0], DAYS[2]]
    assert list(spend(db, "model").rows) == ["openai:b", "openai:a"]


def test_both_ends_belong_to_it(db: apsw.Connection) -> None:
    for number, day in enumerate(DAYS):
        charge(db, call(number), 10**number, day)
    assert spend(db, since=DAYS[1]).total.micro_usd == 110
    assert spend(db, until=DAYS[1]).total.micro_usd == 11
    assert spend(db, since=DAYS[1], until=DAYS[1]).to_dict()["total"]["usd"] == 10e-6


CHARGES = st.tuples(
    st.sampled_from(DAYS),
    st.sampled_from(["openai:a", "claude:b", "ollama:c"]),
    st.lists(st.sampled_from(["x", "y"]), max_size=2, unique=True),
    st.sampled_from(["", "k1", "k2"]),
    st.integers(0, 1000),
    st.sampled_from(["certain", "uncertain", "reaped", "corrected"]),
)


@settings(max_examples=60, deadline=None)
@given(done=st.lists(CHARGES, max_size=25), by=st.sampled_from(["day", "model", "place", "tag", "key"]))
def test_the_rows_are_the_sums(done: list[tuple[str, str, list[str], str, int, str]], by: By) -> None:
    db = open_file(":memory:")
    expected: Counter[str] = Counter()
    uncertain = calls = 0
    for number, (day, model, tags, key, micro_usd, end) in enumerate(done):
        made = call(number, model, tuple(tags), key)
        if end == "corrected":
            charge(db, made, 1000, day, "reap", certain=False)
            charge(db, made, micro_usd - 1000, day, "correct")
        else:
            charge(db, made, micro_usd, day, "reap" if end == "reaped" else "settle", certain=end == "certain")
        uncertain += micro_usd if end in ("uncertain", "reaped") else 0
        calls += micro_usd > 0
        rows: dict[By, list[str]] = {
            "day": [day],
            "model": [model],
            "place": [made.place],
            "tag": tags or [""],
            "key": [key],
        }
        expected.update(dict.fromkeys(rows[by], micro_usd))
    found = spend(db, by)
    db.close()
    assert {name: sums.micro_usd for name, sums in found.rows.items()} == dict(expected)
    assert found.total.micro_usd == sum(each[4] for each in done)
    assert (found.total.uncertain_micro_usd, found.total.calls) == (uncertain, calls)
