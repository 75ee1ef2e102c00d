"""What the mind decides, case by case. What it promises whatever the facts stands in test_properties.py and its neighbours."""

from __future__ import annotations

from typing import Any

import pytest

from oblix.decision.decide import decide
from oblix.decision.facts import Health, Pace
from oblix.decision.policy import PRESETS, policy
from oblix.errors import InvalidRequest
from oblix.types.report import AgentReport
from oblix.types.spec import Price

from .world import (
    AVAILABLE,
    CONSTRAINED,
    CRITICAL,
    DEGRADED,
    DISCONNECTED,
    OPTIMAL,
    PRIVATE,
    hooked,
    model,
    picture,
)

BALANCED = PRESETS["balanced"]


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
        {"model_id": "x:other", "privacy": PRIVATE},
        {"privacy": PRIVATE},
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
        model("ollama:llama2", "edge", 0, pace=Pace(1.0, 0.01, 0.06)),
        model("openai:gpt-4", "cloud", 1, pace=Pace(0.2, 0.0, 0.006), price=Price(10.0, 30.0, "test")),
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


def test_no_model_at_all_is_said() -> None:
    decision = decide(picture(()), BALANCED)
    assert decision.why() == "no model is hooked"


def test_an_unknown_policy_names_the_nearest() -> None:
    with pytest.raises(InvalidRequest) as failed:
        policy("cheepest")
    assert failed.value.hint is not None
    assert failed.value.hint.startswith("Did you mean 'cheapest'?")
