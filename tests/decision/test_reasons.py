"""The words of a decision: every model has its reason, and none is made up."""

from __future__ import annotations

import msgspec
from hypothesis import assume, given

from oblix.decision.decide import decide
from oblix.decision.facts import Complexity, Facts, Fit, Turn
from oblix.decision.policy import PRESETS, Policy, Rule
from oblix.types.decision import Decision

from .drawn import (
    often,
    policies,
    worlds,
)
from .oracle import counted, first, held, places
from .world import CONSTRAINED, hooked, picture


@often
@given(worlds(1), policies)
def test_every_model_is_told_of_once_in_order_with_a_reason_and_all_of_it_is_json(facts: Facts, policy: Policy) -> None:
    decision = decide(facts, policy)
    assert sorted(each.model_id for each in decision.candidates) == sorted(each.spec.id for each in facts.models)
    said = [*decision.reasons, *(each.reason for each in decision.candidates)]
    assert decision.reasons
    assert all(reason.code and reason.text.strip() for reason in said)
    left = [each for each in decision.candidates if each.verdict != "rejected"]
    assert [each.model_id for each in left] == list(decision.plan)
    assert [each.verdict for each in left] == ["chosen", "next", "next", "next", "next", "next"][: len(left)]
    scores = [each.score for each in left if each.score is not None]
    assert len(scores) == len(left)
    assert scores == sorted(scores, reverse=True)
    assert all(each.score is None for each in decision.candidates if each.verdict == "rejected")
    record = msgspec.json.decode(msgspec.json.encode(decision.to_dict()))
    assert (record["chosen"], record["plan"]) == (decision.chosen, list(decision.plan))
    assert [each["model"] for each in record["candidates"]] == [each.model_id for each in decision.candidates]


def what_is_so(text: str, facts: Facts, decision: Decision, rule: Rule | None) -> dict[str, bool]:
    """Code of a main reason → whether a reason with this text would be true of the chosen model."""
    chosen, at = decision.candidates[0], held(facts, decision)
    behind = [each for each in facts.models if each.spec.id in decision.plan[1:]]
    told = [report for name, report in facts.reports.items() if text == f"{name}: {report.reason or report.state}"]
    second = decision.candidates[1] if behind else chosen
    takes, other = chosen.estimated_seconds or 0.0, second.estimated_seconds or 0.0
    costs = [each.estimated_cost_usd for each in (chosen, second)]
    return {
        "speed": takes < other or f"{takes:.1f} s against {other:.1f} s" in text,
        "price": None in costs or (costs[0] or 0.0) < (costs[1] or 0.0),
        "edge": chosen.place == "edge",
        "tier": f"tier {chosen.tier} of " in text,
        "vote": any(counted(report, at) == chosen.place for report in told),
        "rule": rule is not None and bool(rule.use or {chosen.model_id, chosen.place} & {*rule.to, *rule.only}),
        "private": decision.privacy.stays_home,
        "redacted": decision.privacy.is_redacted and chosen.place == "cloud",
        "network_down": facts.network_is_down and chosen.place == "edge" and "cloud" in places(facts, decision),
        "failing": any(each.health.failing for each in behind),
        "fit": (f"{chosen.model_id} " in text and short_of_room(facts, chosen.model_id) == "no")
        or any(f"{each.spec.id} " in text and short_of_room(facts, each.spec.id) for each in behind),
        "power": any(each.sparing and (each.reason or each.state) in text for each in facts.reports.values())
        and any(each.spec.place == "edge" for each in behind)
        and ("rather the cloud" if chosen.place == "cloud" else "rather a small model at home") in text,
        "only_candidate": not behind,
        "stay": facts.before is not None and facts.before.model_id == chosen.model_id,
        "complexity": bool(behind) and f"tier {chosen.tier} of " in text,
        "policy": text == f"policy {decision.policy}",
        "explicit_model": facts.asked.model_id == chosen.model_id
        or (f"{facts.asked.model_id} was asked for, but" in text and facts.asked.model_id not in decision.plan),
        "unknown_model": facts.asked.model_id not in {each.spec.id for each in facts.models},
        "machine": any((r.state, r.reason) == ("available", text) for r in facts.reports.values()),
    }


def short_of_room(facts: Facts, model_id: str) -> Fit | None:
    """What a model lacks of memory, if that is known and matters."""
    model = next(each for each in facts.models if each.spec.id == model_id)
    return model.fit if model.fit != "fits" and not model.loaded and model.spec.is_edge else None


@often
@given(worlds(1), policies)
def test_no_main_reason_is_made_up(facts: Facts, policy: Policy) -> None:
    """Each says what is so, and counted."""
    decision = decide(facts, policy)
    assume(decision.plan)
    rule = first(facts, policy)
    made_up = [each for each in decision.reasons if not what_is_so(each.text, facts, decision, rule)[each.code]]
    assert not made_up


@often
@given(worlds(), policies)
def test_no_reason_for_standing_behind_is_made_up(facts: Facts, policy: Policy) -> None:
    """The term that is told is one on which the candidate loses, and what it measures is so."""
    decision = decide(facts, policy)
    assume(len(decision.plan) > 1)
    known = {each.spec.id: each for each in facts.models}
    best, *others = (each for each in decision.candidates if each.verdict != "rejected")
    for each in others:
        term, model = each.reason.code, known[each.model_id]
        if term == "order":
            assert each.score == best.score
            assert known[best.model_id].spec.order < model.spec.order
            continue
        assert each.terms.get(term, 0.0) < best.terms.get(term, 0.0)
        told = {
            "votes": any(counted(report, held(facts, decision)) == best.place for report in facts.reports.values()),
            "tier": each.tier != best.tier,
            "speed": (each.estimated_seconds or 0.0) >= (best.estimated_seconds or 0.0),
            "price": each.estimated_cost_usd is None or each.estimated_cost_usd > (best.estimated_cost_usd or 0.0),
            "stay": facts.before is not None and facts.before.model_id == best.model_id,
            "edge": (best.place, each.place) == ("edge", "cloud"),
            "network": facts.network_is_down and each.place == "cloud",
            "health": bool(model.health.failing),
            "fit": short_of_room(facts, each.model_id) is not None,
            "power": any(report.sparing for report in facts.reports.values()),
            "rule": decision.rule is not None,
            "preference": facts.asked.model_id == best.model_id,
        }
        assert told[term], each


def test_a_lean_that_a_conversation_holds_back_is_no_reason() -> None:
    """Its place is left because of the prompt; the sensor that leans there as well did not count."""
    models = hooked("ollama:llama2", "openai:gpt-4")
    hard = Complexity(0.95)
    leans = {"machine": CONSTRAINED}
    fresh = decide(picture(models, reports=leans, complexity=hard), PRESETS["balanced"])
    talking = decide(picture(models, "hi", leans, Turn("ollama:llama2", 10, 5.0), complexity=hard), PRESETS["balanced"])
    assert fresh.chosen == talking.chosen == "openai:gpt-4"
    assert [reason.code for reason in fresh.reasons] == ["vote"]
    assert [reason.code for reason in talking.reasons] == ["complexity"]
