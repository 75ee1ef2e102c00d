"""What would have changed a decision: every claim is tried, and every figure is the threshold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.decision import flips as module
from oblix.decision.decide import decide
from oblix.decision.facts import Asked, Complexity, Facts, Health, Turn
from oblix.decision.flips import DECISIONS, MOST, Flip, flips
from oblix.decision.policy import PRESETS, Policy, Rule, When
from oblix.types.report import AgentReport
from oblix.types.spec import Price, PriceTier

from .world import (
    AVAILABLE,
    CHARGED,
    CONSTRAINED,
    CRITICAL,
    DEGRADED,
    DISCONNECTED,
    LOW,
    OPTIMAL,
    PRIVATE,
    hooked,
    model,
    picture,
    pictures,
    policies,
)

BALANCED = PRESETS["balanced"]
PHI = model("ollama:phi", "edge", 0, window=4096)
MINI = model("openai:mini", "cloud", 1, window=128_000, price=Price(0.15, 0.6, "test"))
ENDLESS = model("openai:endless", "cloud", 1)
CALM = {"machine": AVAILABLE, "network": OPTIMAL}


def told(facts: Facts, policy: Policy = BALANCED) -> list[str]:
    return [flip.text for flip in flips(facts, policy)]


def one(facts: Facts, code: str, policy: Policy = BALANCED) -> Flip:
    (found,) = [flip for flip in flips(facts, policy) if flip.code == code]
    return found


@given(pictures(), policies)
def test_every_flip_is_true_and_changes_the_model(facts: Facts, policy: Policy) -> None:
    chosen = decide(facts, policy).chosen
    found = flips(facts, policy)
    assert len(found) <= MOST
    assert [flip.distance for flip in found] == sorted(flip.distance for flip in found)
    for flip in found:
        assert decide(flip.facts, flip.policy).chosen == flip.model_id != chosen
        assert flip.text.endswith(f"{flip.model_id}." if flip.model_id else "no model could have answered.")


@given(pictures(), policies)
def test_each_flip_changes_one_thing_only(facts: Facts, policy: Policy) -> None:
    for flip in flips(facts, policy):
        assert _changes(facts, flip.facts) + (flip.policy != policy) == 1


def _changes(before: Facts, after: Facts) -> int:
    fields = ("id", "now", "before", "reports")
    found = [getattr(before, name) != getattr(after, name) for name in fields]
    found += [getattr(before.asked, name) != getattr(after.asked, name) for name in Asked.__slots__]
    found += [one != other for one, other in zip(before.models, after.models, strict=True)]
    return sum(found)


def test_no_more_decisions_are_taken_than_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture with something of everything, so that every kind of search runs."""
    taken = 0

    def counting(facts: Facts, policy: Policy) -> Any:
        nonlocal taken
        taken += 1
        return decide(facts, policy)

    monkeypatch.setattr(module, "decide", counting)
    models = tuple(
        model(
            f"openai:{number}",
            "cloud",
            number,
            window=3000 * 2**number,
            price=Price(number + 0.1, 1, "x", tiers=(PriceTier(9, 9, above=1000 * number),)),
            health=Health(failing="reset"),
            loaded=False,
            key="missing" if number > 5 else "given",
        )
        for number in range(8)
    )
    reports = {f"agent{number}": CONSTRAINED for number in range(6)} | {"network": OPTIMAL}
    flips(picture(models, reports=reports, prompt_tokens=7000, max_cost_usd=0.01), BALANCED)
    assert 40 < taken <= DECISIONS


# --- figures ---


@given(st.integers(0, 10**9))
def test_steps_of_tokens_have_two_digits_and_leave_no_gap(tokens: int) -> None:
    step = module._Step.reaching(tokens)
    assert step.tokens >= tokens
    assert len(str(step.tokens).rstrip("0")) <= 2
    assert step.position == 0 or module._Step(step.position - 1).tokens < tokens


@given(pictures(), policies)
def test_no_step_that_is_nearer_by_one_changes_anything(facts: Facts, policy: Policy) -> None:
    """The threshold itself is told, if there are decisions enough to find it."""
    chosen, has = decide(facts, policy).chosen, facts.asked.prompt_tokens
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "DECISIONS", 1000)
        patch.setattr(module, "MOST", 1000)
        found = [flip for flip in flips(facts, policy) if flip.code == "tokens"]
    for flip in found:
        other = flip.facts.asked.prompt_tokens
        nearer = module._Step(module._Step.reaching(abs(other - has)).position - 1).tokens
        asked = replace(facts.asked, prompt_tokens=has + nearer if other > has else has - nearer)
        assert decide(replace(facts, asked=asked), policy).chosen == chosen


@pytest.mark.parametrize("window", [1000, 4096, 8192, 32_000])
@pytest.mark.parametrize("over", [1, 7, 99, 100, 1234, 9_999])
def test_the_tokens_that_are_too_many_are_told_to_two_digits(window: int, over: int) -> None:
    fits = int(1.25 * window)
    facts = picture((model("ollama:phi", "edge", 0, window=window), ENDLESS), prompt_tokens=fits + over)
    flip = one(facts, "tokens")
    fewer = facts.asked.prompt_tokens - flip.facts.asked.prompt_tokens
    assert flip.text == f"With {fewer:,} token{'s' if fewer > 1 else ''} fewer, it would have stayed on ollama:phi."
    assert len(str(fewer).rstrip("0")) <= 2
    assert over <= fewer < over + max(1, 10 ** (len(str(over)) - 2)) + 10 ** (len(str(over)) - 2)


def test_with_more_tokens_the_window_is_passed() -> None:
    facts = picture((PHI, MINI), prompt_tokens=5000, reports=CALM)
    assert (
        one(facts, "tokens").text == "With 130 tokens more, it would have gone to openai:mini."
    )  # 1.25 windows are 5,120


@pytest.mark.parametrize(
    ("score", "words", "goes"),
    [
        (0.8, "With a simpler prompt (below 0.50)", "stayed on ollama:phi"),
        (0.3, "With a harder prompt (0.50 or above)", "gone to openai:mini"),
    ],
)
def test_the_complexity_at_which_another_tier_begins(score: float, words: str, goes: str) -> None:
    facts = picture((PHI, MINI), complexity=Complexity(score))
    assert one(facts, "complexity").text == f"{words}, it would have {goes}."


def test_thirds_are_rounded_to_the_side_on_which_the_claim_holds() -> None:
    three = (PHI, model("ollama:llama", "edge", 1), model("ollama:big", "edge", 2))
    assert "With a simpler prompt (below 0.33), it would have gone to ollama:phi." in told(
        picture(three, complexity=Complexity(0.4))
    )
    assert "With a harder prompt (0.67 or above), it would have gone to ollama:big." in told(
        picture(three, complexity=Complexity(0.4))
    )


def test_the_amounts_at_which_a_model_comes_in_or_falls_out() -> None:
    facts = picture((MINI,), prompt_tokens=4000, answer_tokens=300, max_cost_usd=0.0005)
    assert told(facts)[0] == "With a cost limit of $0.00078, it would have gone to openai:mini."
    two = (PHI, model("openai:mini", "cloud", 1, price=Price(0.15, 0.6, "test")))
    assert "With a cost limit of $0.00077, it would have stayed on ollama:phi." in told(
        picture(two, prompt_tokens=4000, answer_tokens=300, complexity=Complexity(0.9))
    )


def test_without_a_limit_an_unpriced_model_may_answer() -> None:
    facts = picture((model("openai:new", "cloud", 0),), max_cost_usd=1.0)
    assert told(facts) == ["Without a cost limit, it would have gone to openai:new."]


# --- what is no figure ---


@pytest.mark.parametrize(
    ("reports", "said"),
    [
        ({"machine": CRITICAL}, "With a free machine, it would have stayed on ollama:phi."),
        ({"machine": AVAILABLE}, "With a critical machine, it would have gone to openai:mini."),
        (
            {"machine": CRITICAL, "network": DEGRADED, "gpu": AVAILABLE},
            "With a critical machine (gpu), it would have gone to openai:mini.",
        ),
        (
            {"mine": AgentReport(state="fine", target="cloud")},
            "Had mine abstained, it would have stayed on ollama:phi.",
        ),
        (
            {"mine": AgentReport(proceed=False, state="no", reason="it is Sunday")},
            "Had mine not refused, it would have gone to ollama:phi.",
        ),
    ],
    ids=["critical", "free", "several", "a custom agent", "a veto"],
)
def test_what_an_agent_might_have_said_instead(reports: dict[str, AgentReport], said: str) -> None:
    assert said in told(picture((PHI, MINI), reports=reports))


@pytest.mark.parametrize(
    ("network", "words"),
    [(OPTIMAL, "With a poor network"), (DEGRADED, "With a good network"), (DISCONNECTED, "With the network back")],
)
def test_what_the_network_might_have_been(network: AgentReport, words: str) -> None:
    hard = picture((PHI, MINI), complexity=Complexity(0.9), reports={"network": network})
    assert any(text.startswith(f"{words}, it would have") for text in told(hard))


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"key": "missing"}, "With an API key for openai:mini, it would have gone to openai:mini."),
        (
            {"health": Health(key_refused="401")},
            "With a valid API key for openai:mini, it would have gone to openai:mini.",
        ),
        (
            {"health": Health(missing="no such model")},
            "With openai:mini on its server, it would have gone to openai:mini.",
        ),
        (
            {"health": Health(failing="reset")},
            "Had openai:mini not failed a moment ago, it would have gone to openai:mini.",
        ),
        ({"health": Health(resting="429")}, "Were openai:mini not resting, it would have gone to openai:mini."),
        (
            {"health": Health(quarantined="twice")},
            "Had this request not crashed openai:mini before, it would have gone to openai:mini.",
        ),
    ],
    ids=["no key", "key refused", "missing", "failing", "resting", "quarantined"],
)
def test_what_stands_against_a_model_might_not(known: dict[str, Any], said: str) -> None:
    mini = model("openai:mini", "cloud", 1, **known)
    assert said in told(picture((PHI, mini), complexity=Complexity(0.9)))


def test_a_model_might_be_in_memory() -> None:
    models = (model("ollama:a", "edge", 0, loaded=False, tier=1), model("ollama:b", "edge", 1, tier=1))
    assert told(picture(models))[0] == "With ollama:a in memory, it would have gone to ollama:a."


def test_a_model_might_have_room_in_memory() -> None:
    for fit in ("no", "tight"):
        models = (model("ollama:a", "edge", 0, fit=fit, tier=1), model("ollama:b", "edge", 1, tier=1))
        assert told(picture(models))[0] == "With room for ollama:a in memory, it would have gone to ollama:a."
        loaded = (replace(models[0], loaded=True), models[1])
        assert not any("room" in text for text in told(picture(loaded)))


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (LOW, "With the battery charged"),
        (AgentReport(state="hot", sparing=True), "With a cooler machine"),
        (AgentReport(state="thrifty", sparing=True), "Had mine not asked to spare energy"),
    ],
    ids=["low", "hot", "a custom agent"],
)
def test_energy_might_not_be_scarce(report: AgentReport, words: str) -> None:
    facts = picture((PHI, MINI), reports={"mine": report})
    assert one(facts, "power").text == f"{words}, it would have stayed on ollama:phi."
    two = picture((PHI, model("ollama:llama", "edge", 1)), reports={"mine": report}, complexity=Complexity(0.9))
    private = one(two, "power", PRESETS["private"])
    assert private.text == f"{words}, it would have gone to ollama:llama."


def test_a_battery_might_be_low_where_there_is_one() -> None:
    charged = replace(CHARGED, metrics={"battery_percent": 80.0})
    flip = one(picture((PHI, MINI), reports={"power": charged}), "power")
    assert flip.text == "With a low battery, it would have gone to openai:mini."
    for without in (CHARGED, replace(CHARGED, metrics={"battery_percent": None})):
        assert not any("battery" in text for text in told(picture((PHI, MINI), reports={"power": without})))


def test_a_private_prompt_might_be_public_and_the_other_way_round() -> None:
    hard = picture((PHI, MINI), complexity=Complexity(0.9))
    private = replace(hard, asked=replace(hard.asked, privacy=PRIVATE))
    assert "Had it been marked private, it would have stayed on ollama:phi." in told(hard)
    assert "Had it not been private, it would have gone to openai:mini." in told(private)
    assert told(picture((MINI,))) == ["Had it been marked private, no model could have answered."]


def test_a_model_that_is_asked_for_by_name_might_not_be() -> None:
    facts = picture((PHI, MINI), model_id="openai:mini")
    assert told(facts)[0] == "Had no model been asked for by name, it would have stayed on ollama:phi."


def test_a_conversation_might_be_a_new_one() -> None:
    two = hooked("openai:a", "openai:b")
    facts = picture(two, before=Turn("openai:b", 10, 5.0), complexity=Complexity(0.2))
    held = replace(facts, models=tuple(replace(each, spec=replace(each.spec, tier=1)) for each in two))
    assert "In a new conversation, it would have gone to openai:a." in told(held)


def test_a_rule_might_not_be_there() -> None:
    policy = replace(BALANCED, rules=(Rule("mail to the cloud", When(tags=("mail",)), to=("cloud",)),))
    facts = picture((PHI, MINI), tags=("mail",))
    assert "Without the rule 'mail to the cloud', it would have stayed on ollama:phi." in told(facts, policy)


def test_presets_that_choose_the_same_are_told_together() -> None:
    hard = picture((PHI, MINI), complexity=Complexity(0.9))
    names = ("offline_first", "private")
    assert {decide(hard, PRESETS[name]).chosen for name in names} == {"ollama:phi"}
    said = one(hard, "policy").text
    assert said.startswith("Under the policy offline_first, ")
    assert all(name in said for name in names)
    told_names = said.removeprefix("Under the policy ").split(", it would")[0].replace(" or ", ", ").split(", ")
    for name, preset in PRESETS.items():
        assert (decide(hard, preset).chosen == "ollama:phi") == (name in told_names), name


def test_where_nothing_is_hooked_nothing_helps() -> None:
    assert flips(picture(()), BALANCED) == ()


def test_a_flip_is_ready_for_json() -> None:
    flip = one(picture((PHI, MINI), prompt_tokens=5000), "tokens")
    assert flip.to_dict() == {"code": "tokens", "text": flip.text, "model": "openai:mini", "distance": 0.0257}
