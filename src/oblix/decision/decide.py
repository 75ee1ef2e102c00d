"""One decision: hard rules exclude, soft terms order what is left, and every candidate gets its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from oblix.decision.facts import Facts, ModelFacts
from oblix.decision.policy import Policy
from oblix.decision.prediction import cost, seconds
from oblix.decision.reasons import Scored, behind, main_reasons
from oblix.decision.rules import APPLIES, RULES, HardRule
from oblix.decision.scoring import Field, survey, terms
from oblix.decision.world import World, look
from oblix.types.decision import Candidate, Decision, Reason
from oblix.types.money import Room


def decide(facts: Facts, policy: Policy) -> Decision:
    """Where this request runs, and in which order the others are tried when that fails. Pure: no clock, no chance, no I/O."""
    world = look(facts, policy)
    left: list[ModelFacts] = []
    against: list[tuple[ModelFacts, Reason]] = []
    rules = [rule for rule in RULES if (applies := APPLIES.get(rule)) is None or applies(world)]
    for model in facts.models:
        reason = _against(world, model, rules)
        if reason is None:
            left.append(model)
        else:
            against.append((model, reason))
    if facts.on_limit != "edge-only" and left and (wished := _priced_out(facts, policy, against)) is not None:
        stop = Reason(
            "budget", f"{wished} would have answered, and a budget excludes it (on_limit = {facts.on_limit!r})"
        )
        against += [(model, stop) for model in left]
        left = []
    field = survey(world, left)
    rejected = [_rejected(facts, field, model, reason) for model, reason in against]
    # Rounded, because what is equal but for the order of adding must stay equal.
    scored = [
        Scored(round(sum(given.values()), 6), given, model)
        for given, model in zip(terms(world, left, field), left, strict=True)
    ]
    scored.sort(key=lambda each: (-each.score, each.model.spec.order))
    reasons = main_reasons(world, field, scored, rejected)
    candidates = [
        _candidate(
            field,
            each,
            "next" if position else "chosen",
            behind(scored[0], each, world, field) if position else reasons[0],
        )
        for position, each in enumerate(scored)
    ]
    return Decision(
        facts.id,
        facts.now,
        policy.name,
        tuple(each.model.spec.id for each in scored),
        reasons,
        (*candidates, *rejected),
        requested=facts.asked.model_id or "auto",
        checks=facts.reports,
        complexity=facts.asked.complexity.score,
        complexity_evidence=facts.asked.complexity.evidence,
        privacy=world.privacy,
        rule=world.rule.name if world.rule is not None else None,
        limit_usd=facts.asked.max_cost_usd,
        room=_tightest(facts) if world.is_budgeted else None,
        bridges_to_cloud=world.weights.bridges_to_cloud,
        policy_digest=policy.digest,
    )


def _priced_out(facts: Facts, policy: Policy, against: Sequence[tuple[ModelFacts, Reason]]) -> str | None:
    """The model that would be the first if there were no budgets, where those are what excludes it."""
    excluded = {model.spec.id for model, reason in against if reason.code in ("budget", "unpriced")}
    if not excluded:
        return None
    unlimited = replace(
        facts, models=tuple(replace(model, budget=None) for model in facts.models), on_limit="edge-only"
    )
    wished = decide(unlimited, policy).chosen
    return wished if wished in excluded else None


def _tightest(facts: Facts) -> Room | None:
    """The budget that leaves least, for the record."""
    rooms = [model.budget for model in facts.models if model.budget is not None]
    return min(rooms, key=lambda room: (room.left_usd, room.name), default=None)


def _against(world: World, model: ModelFacts, rules: Sequence[HardRule]) -> Reason | None:
    for rule in rules:
        if (reason := rule(world, model)) is not None:
            return reason
    return None


def _candidate(field: Field, scored: Scored, verdict: Literal["chosen", "next"], reason: Reason) -> Candidate:
    spec = scored.model.spec
    return Candidate(
        spec.id,
        spec.place,
        verdict,
        reason,
        tier=field.tiers[spec.id],
        score=scored.score,
        terms=scored.terms,
        estimated_seconds=round(field.seconds[spec.id], 3),
        estimated_cost_usd=field.costs[spec.id],
    )


def _rejected(facts: Facts, field: Field, model: ModelFacts, reason: Reason) -> Candidate:
    spec = model.spec
    return Candidate(
        spec.id,
        spec.place,
        "rejected",
        reason,
        tier=field.tiers[spec.id],
        estimated_seconds=round(seconds(facts, model), 3),
        estimated_cost_usd=cost(facts, model),
    )
