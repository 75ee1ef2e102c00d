"""History decided again: what would have gone elsewhere, what it would have cost, and what cannot be judged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from oblix.decision.decide import decide
from oblix.decision.facts import Asked, Complexity, Facts, Health
from oblix.decision.matching import first_match
from oblix.decision.policy import PRESETS, Policy, Rule, When
from oblix.decision.prediction import cost, seconds
from oblix.decision.replay import Case, Report, Skipped, Transition, check, replay, unheard
from oblix.types.decision import Reason
from oblix.types.privacy import Privacy

from .situations import bad, ended, good
from .situations import facts as situation
from .world import PRIVATE, hooked, picture, pictures, policies

BALANCED, BEST, CHEAPEST, PRIVATELY = (PRESETS[name] for name in ("balanced", "best", "cheapest", "private"))
HARD = Complexity(0.9)


def case(facts: Facts, then: Policy, now: Policy, outcome: dict[str, Any] | None = None, **changes: Any) -> Case:
    """What was decided then, to be decided under another policy now."""
    return Case(facts, now, {**decide(facts, then).verdicts(), **changes}, outcome)


@given(st.lists(st.tuples(pictures(), policies), max_size=4))
def test_under_its_own_policy_every_decision_comes_out_the_same(past: list[tuple[Facts, Policy]]) -> None:
    report = check(case(facts, policy, policy) for facts, policy in past if unheard(facts, policy) is None)
    assert report.same == report.decisions
    assert report.changed == 0
    assert report.crossings == 0


@given(st.lists(st.tuples(pictures(), policies, policies), min_size=1, max_size=4))
def test_every_decision_is_same_changed_or_skipped(past: list[tuple[Facts, Policy, Policy]]) -> None:
    report = replay(case(facts, then, now) for facts, then, now in past)
    assert report.decisions == len(past) == report.same + report.changed + sum(report.skipped.values())
    assert sum(each.requests for each in report.transitions()) == report.changed
    assert report.crossings == 0
    judged = [(facts, then, now) for facts, then, now in past if unheard(facts, now) is None]
    assert report.changed == sum(decide(f, then).chosen != decide(f, now).chosen for f, then, now in judged)


def test_transitions_are_counted_by_reason_with_an_example() -> None:
    cheap, hard = situation(), situation(complexity=HARD)
    past = [replace(each, id=f"01{number}") for number, each in enumerate((cheap, hard, cheap, cheap))]
    report = replay(case(each, BALANCED, BEST) for each in past)
    assert (report.same, report.changed) == (1, 3)
    below = Reason("tier", "tier 1 is below what the policy asks for (tier 2)")
    assert report.transitions() == [Transition("ollama:llama2", "openai:gpt-4o-mini", below, 3, "010")]
    assert (report.edge.old, report.edge.new, report.edge.count) == (3, 0, 4)


def test_the_most_frequent_transition_comes_first() -> None:
    two = [case(situation(), BALANCED, BEST)] * 2
    report = replay([case(situation(complexity=HARD), BALANCED, CHEAPEST), *two])
    assert [each.requests for each in report.transitions()] == [2, 1]
    assert [each.after for each in report.transitions()] == ["openai:gpt-4o-mini", "ollama:llama2"]


def test_what_may_not_be_answered_any_more_is_told() -> None:
    facts = picture(hooked("openai:gpt"))
    report = replay([case(facts, BALANCED, PRIVATELY)])
    assert (report.refused.old, report.refused.new) == (0, 1)
    (only,) = report.transitions()
    assert (only.before, only.after, only.reason.code) == ("openai:gpt", None, "privacy")
    back = replay([case(facts, PRIVATELY, BALANCED)])
    assert (back.refused.old, back.refused.new) == (1, 0)
    assert back.transitions()[0].reason.code == "only_candidate"


# --- money and time ---


def costs(*history: Case) -> tuple[float, float, int]:
    found = replay(history).cost
    return found.old, found.new, found.count


PAID = good("openai:gpt-4o-mini", input_tokens=1000, output_tokens=500, cost_usd=0.00045)


def test_where_the_model_is_the_same_the_cost_is_what_was_paid() -> None:
    hard = situation(complexity=HARD)
    assert costs(case(hard, BALANCED, BEST, ended(PAID))) == (0.00045, 0.00045, 1)


def test_another_model_is_reckoned_with_the_tokens_that_were_used() -> None:
    hard = situation(complexity=HARD)
    assert costs(case(hard, BALANCED, CHEAPEST, ended(PAID))) == (0.00045, 0.0, 1)
    home = ended(good(input_tokens=1000, output_tokens=500))
    old, new, count = costs(case(situation(), BALANCED, BEST, home))
    assert (old, new, count) == (0.0, pytest.approx(0.00045), 1)  # type: ignore[comparison-overlap]  # what approx is for


def test_after_a_failover_the_model_that_answered_costs_what_it_did() -> None:
    outcome = ended(bad("ollama:llama2", kind="connect", why="refused"), PAID)
    assert costs(case(situation(), BALANCED, BEST, outcome)) == (0.00045, 0.00045, 1)
    assert costs(case(situation(), BALANCED, CHEAPEST, outcome)) == (0.00045, 0.00045, 1)  # it would have failed again


def test_what_was_not_answered_costs_what_was_expected() -> None:
    facts = situation()
    expected = cost(facts, facts.models[1])
    assert costs(case(facts, BALANCED, BEST)) == (0.0, expected, 1)
    assert costs(case(facts, BALANCED, BEST, ended(error=("OBX-VETOED", "no")))) == (0.0, expected, 1)


def test_an_unknown_price_is_left_out_on_both_sides() -> None:
    assert costs(case(picture(hooked("ollama:phi", "openai:new")), BALANCED, BEST)) == (0.0, 0.0, 0)


def test_times_are_predicted_for_both_sides() -> None:
    facts = situation()
    found = replay([case(facts, BALANCED, BEST)]).seconds
    assert (found.mean_old, found.mean_new) == (seconds(facts, facts.models[0]), seconds(facts, facts.models[1]))


# --- privacy ---


def test_a_private_request_with_a_cloud_model_in_its_plan_is_counted() -> None:
    """The control: a decision that no policy can lead to, made by a record whose facts say that the cloud is at home."""
    assert Report().crossings == 0
    facts = picture(hooked("ollama:phi", "openai:gpt"), privacy=PRIVATE)
    assert replay([case(facts, BALANCED, BEST)]).crossings == 0
    from oblix.decision import replay as module

    now = structs.replace(decide(facts, BALANCED), plan=("ollama:phi", "openai:gpt"))
    assert module._crosses(case(facts, BALANCED, BALANCED), now)


def test_what_was_private_by_the_policy_alone_is_released_by_another() -> None:
    facts = picture(hooked("ollama:phi", "openai:gpt"), complexity=HARD)
    report = replay([case(facts, PRIVATELY, BALANCED)])
    assert (report.crossings, report.released, report.changed) == (0, 1, 1)
    assert (
        replay([case(replace(facts, asked=replace(facts.asked, privacy=PRIVATE)), PRIVATELY, BALANCED)]).released == 0
    )


def test_placeholders_are_no_crossing() -> None:
    found = Privacy("private", by="detector", mode="redact", found={"card": 1}, why="1 card number")
    assert replay([case(picture(hooked("openai:gpt"), privacy=found), BALANCED, BEST)]).crossings == 0


# --- what cannot be judged ---


def rules(*when: When) -> Policy:
    return replace(BALANCED, rules=tuple(Rule(f"rule {n}", each, to=("cloud",)) for n, each in enumerate(when)))


@pytest.mark.parametrize(
    ("when", "found"),
    [
        ((When(words=("patient",)),), "rule 0"),
        ((When(words=("heard",)),), None),
        ((When(words=("patient", "said")),), None),
        ((When(words=("patient",), tags=("mail",)),), None),
        ((When(words=("patient",), tags=("code",)),), "rule 0"),
        ((When(tags=("code",)), When(words=("patient",))), None),
        ((When(tags=("mail",)), When(words=("patient",))), "rule 1"),
        ((When(words=("heard", "patient")),), "rule 0"),
    ],
    ids=[
        "unheard",
        "heard",
        "one was said",
        "it fails anyway",
        "only the words",
        "an earlier one",
        "no earlier one",
        "some",
    ],
)
def test_words_that_nobody_listened_for_cannot_be_judged(when: tuple[When, ...], found: str | None) -> None:
    facts = picture(hooked("ollama:phi"), said=("said",), listened=("said", "heard"), tags=("code",))
    assert unheard(facts, rules(*when)) == found
    report = replay([case(facts, BALANCED, rules(*when))])
    assert sum(report.skipped.values()) == (found is not None)
    if found:
        assert list(report.skipped) == [f"rule {found!r} listens for words that were not listened for then"]


@given(pictures(), policies)
def test_with_all_words_listened_for_everything_can_be_judged(facts: Facts, policy: Policy) -> None:
    everything = replace(facts.asked, listened=policy.words)
    assert unheard(replace(facts, asked=everything), policy) is None


@given(pictures(), policies, st.sampled_from(["patient", "falcon"]))
def test_what_can_be_judged_does_not_depend_on_what_was_not_listened_for(
    facts: Facts, policy: Policy, word: str
) -> None:
    asked: Asked = replace(facts.asked, said=(), listened=())
    deaf = replace(facts, asked=asked)
    if unheard(deaf, policy) is None:
        assert first_match(deaf, policy) == first_match(replace(facts, asked=replace(asked, said=(word,))), policy)


def test_what_was_skipped_is_told_by_reason() -> None:
    report = replay([Skipped("written by an earlier version")] * 3 + [case(situation(), BALANCED, BEST)])
    assert (report.decisions, report.changed) == (4, 1)
    assert report.skipped == {"written by an earlier version": 3}


def test_a_check_sees_more_than_the_first_choice() -> None:
    facts = picture(hooked("ollama:phi", "openai:a", "openai:b"))
    sick = replace(facts, models=(*facts.models[:2], replace(facts.models[2], health=Health(missing="gone"))))
    other = case(sick, BALANCED, BALANCED)._replace(facts=facts)
    assert replay([other]).changed == 0
    assert check([other]).changed == 1


def test_a_report_is_ready_for_json() -> None:
    import json

    report = replay([case(situation(), BALANCED, BEST), Skipped("why")])
    found = json.loads(json.dumps(report.to_dict()))
    assert found["transitions"][0]["reason"]["code"] == "tier"
    assert (found["decisions"], found["skipped"], found["privacy_crossings"]) == (2, {"why": 1}, 0)
    assert found["edge"] == {"old": 1, "new": 0, "requests": 1}
