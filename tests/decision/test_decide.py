"""What the mind promises, whatever the facts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from oblix.decision.decide import decide
from oblix.decision.facts import Facts, Health
from oblix.decision.policy import PRESETS, Policy, policy
from oblix.decision.rules import estimated_cost
from oblix.errors import InvalidRequest
from oblix.types.decision import Decision
from oblix.types.report import AgentReport, Target
from oblix.types.spec import Place, Price

from .world import (
    AVAILABLE,
    CONSTRAINED,
    CRITICAL,
    DEGRADED,
    DISCONNECTED,
    OPTIMAL,
    hooked,
    model,
    picture,
    pictures,
    policies,
    reports,
    with_report,
)

BALANCED = PRESETS["balanced"]
MACHINE = (CRITICAL, CONSTRAINED, AVAILABLE)  # worst first
NETWORK = (DISCONNECTED, DEGRADED, OPTIMAL)


def places(facts: Facts, decision: Decision) -> list[Place]:
    known = {each.spec.id: each.spec.place for each in facts.models}
    return [known[model_id] for model_id in decision.plan]


def ranks(facts: Facts, decision: Decision, place: Place) -> dict[str, int]:
    """How many stand before each model of that place."""
    known = {each.spec.id: each.spec.place for each in facts.models}
    return {model_id: rank for rank, model_id in enumerate(decision.plan) if known[model_id] == place}


@given(pictures(), policies)
def test_the_same_facts_give_the_same_decision(facts: Facts, weights: Policy) -> None:
    assert decide(facts, weights) == decide(facts, weights)


@given(pictures(), policies)
def test_facts_read_back_from_their_json_give_the_same_decision(facts: Facts, weights: Policy) -> None:
    """What `oblix why` and a replay rest on."""
    read = msgspec.json.decode(msgspec.json.encode(facts), type=Facts)
    assert read == facts
    assert decide(read, weights) == decide(facts, weights)


@given(pictures(), policies)
def test_every_model_is_told_of_once_with_a_reason(facts: Facts, weights: Policy) -> None:
    decision = decide(facts, weights)
    assert sorted(each.model_id for each in decision.candidates) == sorted(each.spec.id for each in facts.models)
    assert all(each.reason.text and each.reason.code for each in decision.candidates)
    assert decision.reasons
    assert all(reason.code for reason in decision.reasons)


@given(pictures(), policies)
def test_the_plan_is_what_is_not_excluded_in_order_of_score(facts: Facts, weights: Policy) -> None:
    decision = decide(facts, weights)
    left = [each for each in decision.candidates if each.verdict != "excluded"]
    assert [each.model_id for each in left] == list(decision.plan)
    assert [each.verdict for each in left] == ["chosen", "next", "next", "next", "next", "next"][: len(left)]
    assert all(each.score is not None for each in left)
    assert all(each.score is None for each in decision.candidates if each.verdict == "excluded")
    scores = [each.score for each in left if each.score is not None]
    assert scores == sorted(scores, reverse=True)


@given(pictures(), policies, st.booleans())
def test_a_private_prompt_has_no_cloud_model_in_its_plan(facts: Facts, weights: Policy, fallback: bool) -> None:
    """Fail closed: whatever the reports, the policy and the wishes say."""
    facts = replace(facts, asked=replace(facts.asked, private=True, fallback=fallback))
    decision = decide(facts, weights)
    assert "cloud" not in places(facts, decision)
    assert decision.private
    assert decision.place != "cloud"


@given(pictures())
def test_the_policy_private_makes_every_prompt_private(facts: Facts) -> None:
    decision = decide(facts, PRESETS["private"])
    assert decision.private
    assert "cloud" not in places(facts, decision)


@given(pictures(min_models=2), policies, st.integers(0, 1))
def test_a_better_machine_never_makes_an_edge_model_worse(facts: Facts, weights: Policy, step: int) -> None:
    worse = with_report(facts, "machine", MACHINE[step])
    better = with_report(facts, "machine", MACHINE[step + 1])
    before, after = (ranks(each, decide(each, weights), "edge") for each in (worse, better))
    assert before.keys() == after.keys()
    assert all(after[model_id] <= rank for model_id, rank in before.items())


@given(pictures(min_models=2), policies, st.integers(0, 1))
def test_a_better_network_never_makes_a_cloud_model_worse(facts: Facts, weights: Policy, step: int) -> None:
    worse = with_report(facts, "network", NETWORK[step])
    better = with_report(facts, "network", NETWORK[step + 1])
    before, after = (ranks(each, decide(each, weights), "cloud") for each in (worse, better))
    assert before.keys() == after.keys()
    assert all(after[model_id] <= rank for model_id, rank in before.items())


@given(pictures(min_models=2), policies, reports, st.sampled_from(["edge", "cloud"]))
def test_a_vote_more_never_makes_its_own_place_worse(
    facts: Facts, weights: Policy, report: AgentReport, place: Place
) -> None:
    target: Target = "cloud" if place == "cloud" else "local"
    silent = with_report(facts, "voter", replace(report, target="hybrid", lean=None))
    voting = with_report(facts, "voter", replace(report, target=target))
    before, after = (ranks(each, decide(each, weights), place) for each in (silent, voting))
    assert all(after[model_id] <= rank for model_id, rank in before.items())


@given(pictures(min_models=2), policies, st.integers(0, 50))
def test_a_network_that_is_down_puts_the_cloud_last_and_keeps_it(facts: Facts, weights: Policy, voters: int) -> None:
    """However many agents speak for the cloud."""
    up = replace(facts, reports={f"voter{n}": AgentReport(target="cloud") for n in range(voters)})
    down = with_report(up, "network", DISCONNECTED)
    decision = decide(down, weights)
    order = places(down, decision)
    assert order == sorted(order, key=lambda place: place == "cloud")
    assert sorted(decision.plan) == sorted(decide(up, weights).plan)


@given(pictures(min_models=2), policies, st.data())
def test_model_id_is_strict(facts: Facts, weights: Policy, data: st.DataObject) -> None:
    wanted = data.draw(st.sampled_from([each.spec.id for each in facts.models]))
    facts = replace(facts, asked=replace(facts.asked, model_id=wanted, fallback=False))
    decision = decide(facts, weights)
    assert set(decision.plan) <= {wanted}
    others = [each for each in decision.candidates if each.model_id != wanted]
    assert {each.reason.code for each in others} == {"explicit_model"}


@given(pictures(min_models=2), policies, st.data())
def test_model_id_with_fallback_comes_first_and_excludes_nobody(
    facts: Facts, weights: Policy, data: st.DataObject
) -> None:
    wanted = data.draw(st.sampled_from([each.spec.id for each in facts.models]))
    preferred = decide(replace(facts, asked=replace(facts.asked, model_id=wanted, fallback=True)), weights)
    free = decide(replace(facts, asked=replace(facts.asked, model_id=None, fallback=False)), weights)
    assert sorted(preferred.plan) == sorted(free.plan)
    if wanted in preferred.plan:
        assert preferred.chosen == wanted
        assert preferred.reasons[0].code == "explicit_model"


@given(pictures(), policies, reports)
def test_a_veto_excludes_everything_and_names_the_agent(facts: Facts, weights: Policy, report: AgentReport) -> None:
    facts = replace(facts, asked=replace(facts.asked, model_id=None))
    refused = replace(report, proceed=False, reason="not on a Sunday")
    decision = decide(with_report(facts, "clergyman", refused), weights)
    assert decision.plan == ()
    assert decision.chosen is None
    assert decision.place is None
    assert {each.reason.code for each in decision.candidates} == {"veto"}
    assert decision.why() == "clergyman refused: not on a Sunday"


@given(pictures(), policies, st.floats(0, 1))
def test_a_cost_limit_is_kept_and_a_higher_one_never_costs_a_model(facts: Facts, weights: Policy, limit: float) -> None:
    low = replace(facts, asked=replace(facts.asked, max_cost_usd=limit))
    high = replace(facts, asked=replace(facts.asked, max_cost_usd=2 * limit + 0.01))
    plan = decide(low, weights).plan
    costs = {each.spec.id: estimated_cost(low, each) for each in low.models}
    assert all((cost := costs[model_id]) is not None and cost <= limit for model_id in plan)
    assert set(plan) <= set(decide(high, weights).plan)


@given(pictures(), policies)
def test_nothing_soft_leaves_the_user_without_an_answer(facts: Facts, weights: Policy) -> None:
    """Reports without a veto and a failing health change the order, never who is in the plan."""
    quiet = replace(
        facts,
        reports={},
        models=tuple(replace(each, health=replace(each.health, failing=None)) for each in facts.models),
    )
    assert sorted(decide(facts, weights).plan) == sorted(decide(quiet, weights).plan)


@given(pictures(), policies)
def test_the_record_is_json(facts: Facts, weights: Policy) -> None:
    decision = decide(facts, weights)
    record = msgspec.json.decode(msgspec.json.encode(decision.to_dict()))
    assert record["chosen"] == decision.chosen
    assert record["plan"] == list(decision.plan)
    assert len(record["candidates"]) == len(facts.models)


# --- cases ---

ANALYSIS = (
    "Analyze the implications of quantum computing on modern cryptography, "
    "including potential vulnerabilities in RSA and elliptic curve systems."
)
FOUR_TIERS = hooked("ollama:phi", "ollama:llama2", "openai:gpt-3.5-turbo", "openai:gpt-4")
IDLE = {"resource_monitor": AVAILABLE, "connectivity_monitor": OPTIMAL}


def test_the_pages_second_program() -> None:
    """The capital of France goes to the first edge tier, the cryptography analysis to a higher one."""
    assert decide(picture(FOUR_TIERS, reports=IDLE), BALANCED).chosen == "ollama:phi"
    hard = decide(picture(FOUR_TIERS, ANALYSIS, IDLE), BALANCED)
    assert hard.chosen == "openai:gpt-4"
    assert hard.why() == "complex prompt (0.91), tier 4 of 4, machine idle"


def test_the_pages_second_program_without_keys() -> None:
    """A higher tier in the same place is a higher tier."""
    edge = FOUR_TIERS[:2] + hooked(*("openai:gpt-3.5-turbo", "openai:gpt-4"), key="missing")
    hard = decide(picture(edge, ANALYSIS, IDLE), BALANCED)
    assert hard.plan == ("ollama:llama2", "ollama:phi")
    assert [each.reason.code for each in hard.candidates[2:]] == ["key_missing", "key_missing"]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("What is 15 + 27?", "ollama:phi"),
        (
            "Explain the theory of relativity and its implications for modern physics, including experimental evidence.",
            "openai:gpt-3.5-turbo",
        ),
        (
            "Recommend a strategy for implementing a microservice architecture in a legacy monolithic application.",
            "openai:gpt-3.5-turbo",
        ),
    ],
    ids=["sum", "relativity", "microservices"],
)
def test_the_pages_fourth_program(prompt: str, expected: str) -> None:
    two = hooked("ollama:phi", "openai:gpt-3.5-turbo")
    assert decide(picture(two, prompt, IDLE), BALANCED).chosen == expected


@pytest.mark.parametrize(
    "prompt",
    [
        "What time is it?",
        "Explain how photosynthesis works",
        "Write a detailed analysis of sustainable energy solutions for developing nations",
    ],
    ids=["time", "photosynthesis", "energy"],
)
def test_the_pages_fifth_program(prompt: str) -> None:
    """Its agent speaks for the edge as long as the prompt is short and the budget is there: it steers, also against the tier."""
    three = hooked("ollama:llama2", "openai:gpt-3.5-turbo", "openai:gpt-4")
    reports = IDLE | {"cost_optimizer": AgentReport(state="budget_available", target="local", reason="$0.00/$5.00")}
    decision = decide(picture(three, prompt, reports), BALANCED)
    assert decision.chosen == "ollama:llama2"
    assert decision.reasons[0].text == "cost_optimizer: $0.00/$5.00"


TWO = hooked("ollama:llama2", "openai:gpt-4")


@pytest.mark.parametrize(
    ("machine", "network", "prompt", "expected"),
    [
        (CRITICAL, OPTIMAL, "hi", "openai:gpt-4"),
        (CRITICAL, OPTIMAL, ANALYSIS, "openai:gpt-4"),
        (AVAILABLE, DEGRADED, "hi", "ollama:llama2"),
        (AVAILABLE, DEGRADED, ANALYSIS, "ollama:llama2"),
        (CONSTRAINED, OPTIMAL, "hi", "openai:gpt-4"),
        (AVAILABLE, OPTIMAL, "hi", "ollama:llama2"),
        (AVAILABLE, OPTIMAL, ANALYSIS, "openai:gpt-4"),
        (CRITICAL, DISCONNECTED, ANALYSIS, "ollama:llama2"),
        (AVAILABLE, DISCONNECTED, ANALYSIS, "ollama:llama2"),
        (CONSTRAINED, DEGRADED, "hi", "ollama:llama2"),
        (CONSTRAINED, DEGRADED, ANALYSIS, "openai:gpt-4"),
        (CRITICAL, DEGRADED, ANALYSIS, "openai:gpt-4"),
    ],
)
def test_machine_against_network(machine: AgentReport, network: AgentReport, prompt: str, expected: str) -> None:
    """Contract, "How a decision falls", 3: in between, the policy (here: the prompt's tier) decides."""
    decision = decide(picture(TWO, prompt, {"machine": machine, "network": network}), BALANCED)
    assert decision.chosen == expected
    assert len(decision.plan) == 2


def test_a_cut_network_is_the_first_reason_and_the_cloud_is_tried_last() -> None:
    decision = decide(picture(TWO, ANALYSIS, {"network": DISCONNECTED}), BALANCED)
    assert decision.why().startswith("no network route")
    assert decision.candidates[1].reason.text == "the network seems down"


def test_models_that_are_equal_keep_the_order_of_hooking_and_say_so() -> None:
    """Equal in every term: no reason may be made up."""
    twins = hooked("ollama:a", "ollama:b", tier=1)
    decision = decide(picture(twins), BALANCED)
    assert decision.plan == ("ollama:a", "ollama:b")
    assert decision.candidates[1].reason.code == "order"
    assert decision.candidates[1].reason.text == "no better, and hooked later"


@pytest.mark.parametrize(
    ("changed", "code", "text"),
    [
        ({"window": 10}, "context_window", "about 20 tokens do not fit its window of 10"),
        ({"capabilities": frozenset()}, "capability", "cannot do json"),
        ({"key": "missing"}, "key_missing", "no API key was given, or only a placeholder"),
        ({"health": Health(key_refused="HTTP 401")}, "key_refused", "HTTP 401"),
        ({"health": Health(missing="no such model")}, "model_missing", "no such model"),
        ({"price": None}, "unpriced", "its price is unknown and a cost limit is set"),
        ({"price": Price(10.0, 1000.0, "test")}, "budget", "about $0.30 is above the limit of $0.01"),
    ],
)
def test_hard_rules_exclude_with_their_reason(changed: dict[str, Any], code: str, text: str) -> None:
    odd = model("x:odd", "edge", **changed)
    facts = picture((odd, model("x:ok", "edge", 1)), needs=frozenset({"json"}), max_cost_usd=0.01)
    decision = decide(facts, BALANCED)
    assert decision.plan == ("x:ok",)
    assert (decision.candidates[1].reason.code, decision.candidates[1].reason.text) == (code, text)


def test_a_prompt_that_is_a_little_too_long_by_estimate_is_left_to_the_engine() -> None:
    """Estimates err; the engine counts exactly."""
    tight = (model("x:tight", "edge", window=100),)
    assert decide(picture(tight, prompt_tokens=125), BALANCED).plan == ("x:tight",)
    assert decide(picture(tight, prompt_tokens=126), BALANCED).plan == ()


def test_of_several_exclusions_the_first_in_the_contracts_order_is_told() -> None:
    bad = model(
        "x:bad", "cloud", health=Health(key_refused="refused", missing="gone"), window=1, capabilities=frozenset()
    )
    asked: dict[str, Any] = {"needs": frozenset({"tools"}), "max_cost_usd": 0.0}
    steps: tuple[dict[str, Any], ...] = (
        {"model_id": "x:other", "private": True},
        {"private": True},
        {},
        {"needs": frozenset()},
        {"needs": frozenset(), "prompt_tokens": 1},
        {"needs": frozenset(), "prompt_tokens": 1, "max_cost_usd": None},
    )
    told = [decide(picture((bad,), **{**asked, **step}), BALANCED).candidates[0].reason.code for step in steps]
    assert told == ["explicit_model", "privacy", "capability", "context_window", "unpriced", "key_refused"]


def test_a_model_that_failed_a_moment_ago_comes_last_of_its_kind() -> None:
    models = (*hooked("ollama:phi", health=Health(failing="connection refused")), model("openai:gpt", "cloud", 1))
    decision = decide(picture(models), BALANCED)
    assert decision.plan == ("openai:gpt", "ollama:phi")
    assert decision.why().startswith("ollama:phi failed a moment ago (connection refused)")


@pytest.mark.parametrize(
    ("name", "prompt", "expected"),
    [
        ("balanced", "hi", "ollama:llama2"),
        ("balanced", ANALYSIS, "openai:gpt-4"),
        ("offline_first", ANALYSIS, "ollama:llama2"),
        ("cheapest", ANALYSIS, "ollama:llama2"),
        ("best", "hi", "openai:gpt-4"),
        ("fastest", "hi", "openai:gpt-4"),
        ("private", ANALYSIS, "ollama:llama2"),
    ],
)
def test_policies(name: str, prompt: str, expected: str) -> None:
    two = (
        model("ollama:llama2", "edge", 0, health=Health(seconds=20.0)),
        model("openai:gpt-4", "cloud", 1, health=Health(seconds=2.0), price=Price(10.0, 30.0, "test")),
    )
    decision = decide(picture(two, prompt, IDLE), policy(name))
    assert decision.chosen == expected
    assert decision.policy == name


def test_offline_first_leaves_home_only_when_nothing_at_home_may_answer() -> None:
    two = (model("ollama:llama2", "edge", 0, window=10), model("openai:gpt-4", "cloud", 1))
    assert decide(picture(two, prompt_tokens=1000), PRESETS["offline_first"]).plan == ("openai:gpt-4",)
    busy = {"machine": CRITICAL}
    assert decide(picture(TWO, ANALYSIS, busy), PRESETS["offline_first"]).chosen == "ollama:llama2"


def test_given_tiers_are_obeyed_across_places() -> None:
    """A small cloud model may stand below a large edge model."""
    models = (model("ollama:large", "edge", 0, tier=3), model("openai:mini", "cloud", 1, tier=1))
    assert decide(picture(models, ANALYSIS), BALANCED).chosen == "ollama:large"
    assert decide(picture(models, "hi"), BALANCED).chosen == "openai:mini"


@given(pictures(min_models=2), st.floats(0, 1), st.floats(0, 1))
def test_a_harder_prompt_never_gets_a_lower_tier(facts: Facts, one: float, other: float) -> None:
    """All else equal: healthy models in one place."""
    low, high = sorted((one, other))
    models = tuple(
        replace(each, health=Health(), spec=replace(each.spec, place="edge", window=None, key="given"))
        for each in facts.models
    )
    asked = replace(facts.asked, model_id=None, max_cost_usd=None, needs=frozenset())
    tiers = []
    for score in (low, high):
        hard = replace(asked, complexity=replace(asked.complexity, score=score))
        decision = decide(replace(facts, models=models, asked=hard), BALANCED)
        tiers.append(decision.candidates[0].tier)
    assume(tiers)
    assert tiers[0] <= tiers[1]


def test_no_model_at_all_is_said() -> None:
    decision = decide(picture(()), BALANCED)
    assert decision.why() == "no model is hooked"


def test_an_unknown_policy_names_the_nearest() -> None:
    with pytest.raises(InvalidRequest) as failed:
        policy("cheepest")
    assert failed.value.hint is not None
    assert failed.value.hint.startswith("Did you mean 'cheapest'?")
