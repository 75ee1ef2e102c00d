"""Budgets in the mind: who is excluded by one, what follows, what is told; and that more room never harms anybody."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.decision.decide import decide
from oblix.decision.facts import Facts, ModelFacts
from oblix.decision.flips import flips
from oblix.decision.policy import PRESETS, Policy
from oblix.decision.prediction import least_cost
from oblix.types.money import OnLimit, Room, micro
from oblix.types.spec import ModelSpec, Price

from .drawn import often, policies, worlds
from .world import NOW

amounts = st.sampled_from([0.0, 0.00001, 0.01, 1.0, 50.0])
rooms = st.builds(
    lambda left, held, name: Room(name, 100.0, left, held_usd=held, resets_at=NOW + 3600.0),
    amounts,
    st.sampled_from([0.0, 0.0, 0.02]),
    st.sampled_from(["day", "month"]),
)


@st.composite
def budgeted(draw: st.DrawFn) -> Facts:
    """Worlds with budgets for those who cost something."""
    facts = draw(worlds())
    models = tuple(
        each
        if each.spec.price is not None and each.spec.price.is_free
        else replace(each, budget=draw(st.none() | rooms))
        for each in facts.models
    )
    limit = draw(st.sampled_from(get_args(OnLimit)))
    return replace(facts, models=models, on_limit=limit)


def widened(facts: Facts, by: float) -> Facts:
    """The same with more room everywhere."""
    models = tuple(
        each if each.budget is None else replace(each, budget=replace(each.budget, left_usd=each.budget.left_usd + by))
        for each in facts.models
    )
    return replace(facts, models=models)


def unlimited(facts: Facts) -> Facts:
    return replace(facts, models=tuple(replace(each, budget=None) for each in facts.models))


@often
@given(budgeted(), policies)
def test_nobody_is_planned_whom_a_budget_cannot_pay(facts: Facts, policy: Policy) -> None:
    known = {each.spec.id: each for each in facts.models}
    for model_id in decide(facts, policy).plan:
        room, least = known[model_id].budget, least_cost(facts, known[model_id])
        if room is not None:
            assert least is not None
            assert micro(least) <= round(1e6 * (room.left_usd + room.held_usd))


@often
@given(budgeted(), policies, amounts)
def test_more_room_excludes_nobody(facts: Facts, policy: Policy, by: float) -> None:
    """With `stop` and `ask` as well: what is planned with little room is planned with more."""
    plan = set(decide(facts, policy).plan)
    assert plan <= set(decide(widened(facts, by), policy).plan) or facts.on_limit != "edge-only"
    assert plan <= set(decide(unlimited(facts), policy).plan)


@often
@given(budgeted(), policies)
def test_the_order_of_those_who_stay_is_as_without_budgets(facts: Facts, policy: Policy) -> None:
    """A budget excludes; it is no preference. (Speed and price are told between models, tiers among all of them.)"""
    left = set(decide(facts, policy).plan)
    rejected = {each.model_id for each in decide(facts, policy).candidates if each.verdict == "rejected"}
    assert left.isdisjoint(rejected)
    assert left | rejected == {each.spec.id for each in facts.models}


@often
@given(budgeted(), policies)
def test_stop_answers_only_as_if_there_were_no_budget(facts: Facts, policy: Policy) -> None:
    stopped = decide(replace(facts, on_limit="stop"), policy)
    if stopped.plan:
        wished = decide(unlimited(facts), policy).chosen
        assert wished in stopped.plan


@often
@given(budgeted(), policies)
def test_who_is_approved_passes(facts: Facts, policy: Policy) -> None:
    approved = replace(facts, asked=replace(facts.asked, approved=True))
    assert decide(approved, policy).plan == decide(unlimited(facts), policy).plan


@often
@given(budgeted(), policies)
def test_facts_with_budgets_are_read_back_as_they_were(facts: Facts, policy: Policy) -> None:
    read = msgspec.json.decode(msgspec.json.encode(facts), type=Facts)
    assert read == facts
    assert decide(read, policy) == decide(facts, policy)


@often
@given(budgeted())
def test_every_flip_is_true(facts: Facts) -> None:
    for flip in flips(facts, PRESETS["balanced"]):
        assert decide(flip.facts, flip.policy).chosen == flip.model_id


# --- what is told ---

HOME = ModelFacts(ModelSpec("ollama:phi", "ollama", "phi", "edge", price=Price(0.0, 0.0, "free")))
PAID = ModelSpec("openai:gpt", "openai", "gpt", "cloud", order=1, price=Price(10.0, 30.0, "test"))


def picture(*models: ModelFacts, on_limit: OnLimit = "edge-only", tokens: int = 1000) -> Facts:
    from oblix.decision.facts import Asked, Complexity

    return Facts("01D", NOW, Asked(tokens, 300, Complexity(0.9)), models, on_limit=on_limit)


def room(left: float, **more: Any) -> Room:
    return Room("day", 5.0, left, **more)


def test_what_is_excluded_names_the_budget_and_when_it_begins_anew() -> None:
    decision = decide(picture(HOME, ModelFacts(PAID, budget=room(0.0, resets_at=1_800_000_000.0))), PRESETS["best"])
    (refused,) = [each for each in decision.candidates if each.verdict == "rejected"]
    assert refused.reason.text == (
        "the budget 'day' of $5.00 has nothing left, and it costs at least $0.01; it begins anew at 2027-01-15 08:00 UTC"
    )
    assert decision.chosen == "ollama:phi"
    assert decision.to_dict()["budget"] == {"name": "day", "spent_usd": 5.0, "limit_usd": 5.0}


@pytest.mark.parametrize(
    ("left", "held", "is_planned"),
    [(0.010030, 0.0, True), (0.010029, 0.0, False), (0.0, 0.010030, True), (0.005, 0.00503, True), (0.0, 0.0, False)],
)
def test_the_prompt_and_a_word_must_be_paid_by_what_is_left_or_held(left: float, held: float, is_planned: bool) -> None:
    facts = picture(HOME, ModelFacts(PAID, budget=room(left, held_usd=held)))
    assert ("openai:gpt" in decide(facts, PRESETS["best"]).plan) is is_planned


def test_an_unpriced_model_is_told_how_to_set_its_price() -> None:
    decision = decide(picture(HOME, ModelFacts(replace(PAID, price=None), budget=room(5.0))), PRESETS["best"])
    (refused,) = [each for each in decision.candidates if each.verdict == "rejected"]
    assert refused.reason.code == "unpriced"
    assert "hook_model('openai', 'gpt', price=(0.5, 1.5))" in refused.reason.text


def test_stop_says_who_would_have_answered() -> None:
    decision = decide(picture(HOME, ModelFacts(PAID, budget=room(0.0)), on_limit="stop"), PRESETS["best"])
    assert decision.plan == ()
    assert {each.reason.code for each in decision.candidates} == {"budget"}
    assert any("openai:gpt would have answered" in each.reason.text for each in decision.candidates)


def test_what_may_be_cut_of_a_conversation_need_not_fit() -> None:
    narrow = replace(HOME, spec=replace(HOME.spec, window=4096))
    facts = picture(narrow, tokens=30_000)
    assert decide(facts, PRESETS["balanced"]).plan == ()
    cut = replace(facts, asked=replace(facts.asked, least_tokens=900))
    assert decide(cut, PRESETS["balanced"]).plan == ("ollama:phi",)


def test_a_flip_tells_how_much_more_it_takes() -> None:
    facts = picture(HOME, ModelFacts(PAID, budget=room(0.0)))
    told = [flip.text for flip in flips(facts, PRESETS["best"]) if flip.code == "room"]
    assert told == ["With $0.02 more in the budget 'day', it would have gone to openai:gpt."]


def test_more_than_is_missing_is_told_where_a_budget_was_overdrawn() -> None:
    """What is left is told as nothing then, and raising it by the call's cost alone changed nothing."""
    overdrawn = Room("day", 1.0, 0.0, spent_usd=1.25)
    facts = picture(HOME, ModelFacts(PAID, budget=overdrawn))
    (flip,) = [flip for flip in flips(facts, PRESETS["best"]) if flip.code == "room"]
    assert flip.text == "With $0.27 more in the budget 'day', it would have gone to openai:gpt."
