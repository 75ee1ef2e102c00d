"""What an answer would take and cost: learned pace, load, queue, and what a cache saves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.decision.facts import Facts, ModelFacts, Pace, Turn
from oblix.decision.prediction import CACHED_FOR, START, cached_tokens, cost, highest_cost, seconds
from oblix.types.spec import FREE, Price

from .drawn import often, worlds
from .oracle import slowed
from .world import model, picture

PACE = Pace(start=1.0, read=0.01, write=0.1, load=20.0)
PRICED = Price(10.0, 30.0, "list", cached_input_per_mtok=1.0)


def asking(asked: ModelFacts, before: Turn | None = None, **more: Any) -> Facts:
    """A prompt of 1,000 tokens for which 100 are expected."""
    return picture((asked,), before=before, **{"prompt_tokens": 1000, "answer_tokens": 100, **more})


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, 1 + 10 + 10),
        ({"loaded": True}, 1 + 10 + 10),
        ({"loaded": False}, 20 + 1 + 10 + 10),
        ({"loaded": False, "pace": replace(PACE, load=None)}, 5 + 1 + 10 + 10),
        ({"busy": 2}, 1 + 10 + 10 + 2 * (1 + 10)),
        ({"queue": 2}, 1 + 10 + 10 + 2 * (1 + 10)),
        ({"busy": 1, "queue": 2}, 1 + 10 + 10 + 3 * (1 + 10)),
        ({"loaded": False, "busy": 1}, 20 + 1 + 10 + 10 + 1 + 10),
        ({"pace": None}, 0.2 + 20 + 10),
        ({"pace": None, "loaded": False}, 5 + 0.2 + 20 + 10),
    ],
    ids=[
        "learned",
        "loaded",
        "cold",
        "never loaded",
        "queue",
        "queue of others",
        "both queues",
        "cold with a queue",
        "start values",
        "start values, cold",
    ],
)
def test_seconds_at_home_are_load_and_queue_and_reading_and_writing(changed: dict[str, Any], expected: float) -> None:
    asked = model("ollama:phi", "edge", **{"pace": PACE, **changed})
    assert seconds(asking(asked), asked) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, 1 + 10 + 10),
        ({"busy": 9, "queue": 9}, 1 + 10 + 10),
        ({"pace": None}, 0.6 + 0.2 + 100 / 60),
        ({"pace": None, "busy": 9}, 0.6 + 0.2 + 100 / 60),
        ({"pace": None, "loaded": False}, 0.6 + 0.2 + 100 / 60),
    ],
    ids=["learned", "side by side", "start values", "start values, side by side", "nothing to load"],
)
def test_in_the_cloud_nobody_waits_for_another(changed: dict[str, Any], expected: float) -> None:
    asked = model("openai:gpt-4", "cloud", **{"pace": PACE, **changed})
    assert seconds(asking(asked), asked) == pytest.approx(expected)


def test_a_cloud_is_quicker_than_a_laptop_until_somebody_has_measured() -> None:
    """The start values keep the order that most users see."""
    home, cloud = model("ollama:phi", "edge"), model("openai:gpt-4", "cloud")
    assert seconds(asking(cloud), cloud) < seconds(asking(home), home)
    assert START["edge"].load
    assert not START["cloud"].load


@pytest.mark.parametrize(
    ("before", "loaded", "saved"),
    [
        (None, None, 0),
        (Turn("x:it", 800, 10.0), None, 800),
        (Turn("x:it", 800, 10.0), True, 800),
        (Turn("x:it", 800, 10.0), False, 0),
        (Turn("x:other", 800, 10.0), None, 0),
        (Turn("x:it", 800, CACHED_FOR), None, 800),
        (Turn("x:it", 800, CACHED_FOR + 1), None, 0),
        (Turn("x:it", 5000, 10.0), None, 1000),
    ],
    ids=[
        "no turn",
        "its own",
        "in memory",
        "unloaded since",
        "another's",
        "just in time",
        "too long ago",
        "trimmed since",
    ],
)
@pytest.mark.parametrize("place", ["edge", "cloud"])
def test_what_the_conversations_model_has_read_need_not_be_read_again(
    place: Any, before: Turn | None, loaded: bool | None, saved: int
) -> None:
    """In seconds everywhere, in USD where the provider has a price for it."""
    asked = model("x:it", place, pace=PACE, loaded=loaded, price=PRICED)
    facts, fresh = asking(asked, before), asking(asked)
    assert cached_tokens(facts, asked) == saved
    assert seconds(fresh, asked) - seconds(facts, asked) == pytest.approx(saved * PACE.read)
    assert cost(facts, asked) == pytest.approx(((1000 - saved) * 10 + saved * 1 + 100 * 30) / 1e6)


@pytest.mark.parametrize(
    ("price", "limit", "expected", "highest"),
    [
        (FREE, None, 0.0, 0.0),
        (None, None, None, None),
        (None, 500, None, None),
        (PRICED, None, (1000 * 10 + 100 * 30) / 1e6, (1000 * 10 + 100 * 30) / 1e6),
        (PRICED, 500, (1000 * 10 + 100 * 30) / 1e6, (1000 * 10 + 500 * 30) / 1e6),
    ],
    ids=["free", "unpriced", "unpriced, limited", "priced", "limited"],
)
def test_a_cost_is_expected_by_the_answer_and_at_most_by_its_limit(
    price: Price | None, limit: int | None, expected: float | None, highest: float | None
) -> None:
    asked = model("x:it", "cloud", price=price)
    facts = asking(asked, answer_limit=limit)
    assert cost(facts, asked) == (None if expected is None else pytest.approx(expected))
    assert highest_cost(facts, asked) == (None if highest is None else pytest.approx(highest))


def test_the_highest_cost_does_not_count_on_a_cache() -> None:
    """A cache may be gone; a cost limit may not be passed."""
    asked = model("x:it", "cloud", price=PRICED)
    facts = asking(asked, Turn("x:it", 900, 1.0))
    most, usual = highest_cost(facts, asked), cost(facts, asked)
    assert most is not None
    assert usual is not None
    assert most == pytest.approx((1000 * 10 + 100 * 30) / 1e6)
    assert usual < most


def more_asked(facts: Facts, prompt: int, answer: int) -> Facts:
    asked = facts.asked
    return replace(
        facts,
        asked=replace(asked, prompt_tokens=asked.prompt_tokens + prompt, answer_tokens=asked.answer_tokens + answer),
    )


@often
@given(worlds(1), st.integers(0, 50_000), st.integers(0, 5000))
def test_more_tokens_never_take_less_time_or_money(facts: Facts, prompt: int, answer: int) -> None:
    more = more_asked(facts, prompt, answer)
    for each in facts.models:
        assert seconds(more, each) >= seconds(facts, each) - 1e-9
        if (before := cost(facts, each)) is not None and (after := cost(more, each)) is not None:
            assert after >= before - 1e-12


@often
@given(worlds(1), st.sampled_from(["start", "read", "write", "load"]), st.floats(0, 100), st.integers(0, 9))
def test_a_slower_or_busier_model_never_answers_earlier(facts: Facts, part: str, more: float, queue: int) -> None:
    for each in facts.models:
        assert seconds(facts, slowed(each, part, more)) >= seconds(facts, each) - 1e-9
        assert seconds(facts, replace(each, busy=each.busy + queue)) >= seconds(facts, each)
        assert seconds(facts, replace(each, queue=queue)) >= seconds(facts, replace(each, queue=0))


@often
@given(worlds(1))
def test_a_prediction_is_never_below_nothing_and_a_cache_never_costs(facts: Facts) -> None:
    fresh = replace(facts, before=None)
    for each in facts.models:
        assert 0 <= seconds(facts, each) <= seconds(fresh, each)
        assert cached_tokens(facts, each) <= facts.asked.prompt_tokens
        assert seconds(facts, replace(each, loaded=False)) >= seconds(facts, each)
