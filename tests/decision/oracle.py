"""The contract once more, in plain words, for decisions to be held against; of the code that is tried it asks figures only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from oblix.decision.facts import HEALTHY, Facts, ModelFacts
from oblix.decision.policy import Policy, Rule, When
from oblix.decision.prediction import START, highest_cost
from oblix.types.decision import Decision
from oblix.types.privacy import UNKNOWN
from oblix.types.report import AgentReport
from oblix.types.spec import Place

from .drawn import NO_NEEDS

# --- who may answer, and what a rule asks for ---


def may_answer(facts: Facts, rule: Rule | None, model: ModelFacts, *, stays_home: bool) -> bool:
    """The contract's hard rules once more, in plain words and without their order."""
    asked, spec, health = facts.asked, model.spec, model.health
    cost, limit = highest_cost(facts, model), asked.max_cost_usd
    return not (
        (asked.model_id not in (None, spec.id) and not asked.fallback)
        or any(not report.proceed for report in facts.reports.values())
        or (rule is not None and rule.refuse is not None)
        or (stays_home and spec.place == "cloud")
        or (rule is not None and rule.only and not {spec.id, spec.place} & set(rule.only))
        or not asked.needs <= spec.capabilities
        or (spec.window is not None and asked.prompt_tokens > 1.25 * spec.window)
        or (limit is not None and (cost is None or cost > limit))
        or spec.key == "missing"
        or any((health.key_refused, health.missing, health.resting, health.quarantined))
    )


def first(facts: Facts, policy: Policy) -> Rule | None:
    """The first rule that matches, found by trying all."""
    matching = [rule for rule in policy.rules if holds(facts, rule.when)]
    return matching[0] if matching else None


def holds(facts: Facts, when: When) -> bool:
    """The conditions once more, each as a question of sets or numbers."""
    asked, found = facts.asked, set(facts.asked.privacy.found)
    states = {(name, report.state) for name, report in facts.reports.items()}
    given_ = [
        (when.tags, set(when.tags) & set(asked.tags)),
        (when.words, set(when.words) & set(asked.said)),
        (when.needs, set(when.needs) & asked.needs),
        (when.found, found if "any" in when.found else found & set(when.found)),
        (when.agents, {name for name, _ in when.agents} == {name for name, _ in set(when.agents) & states}),
        (when.private is not None, when.private is (asked.privacy.label == "private")),
        (when.complexity_above is not None, asked.complexity.score > (when.complexity_above or 0)),
        (when.complexity_below is not None, asked.complexity.score < (when.complexity_below or 0)),
        (when.tokens_above is not None, asked.prompt_tokens > (when.tokens_above or 0)),
        (when.tokens_below is not None, asked.prompt_tokens < (when.tokens_below or 0)),
    ]
    return all(met for wanted, met in given_ if wanted)


# --- what a decision says ---


def places(facts: Facts, decision: Decision) -> list[Place]:
    """Of the plan, in its order."""
    known = {each.spec.id: each.spec.place for each in facts.models}
    return [known[model_id] for model_id in decision.plan]


def ranks(facts: Facts, decision: Decision, place: Place) -> dict[str, int]:
    """How many stand before each model of that place."""
    known = {each.spec.id: each.spec.place for each in facts.models}
    return {model_id: rank for rank, model_id in enumerate(decision.plan) if known[model_id] == place}


def lead(decision: Decision, model_id: str, other: str) -> float:
    """By how many points a model of the plan is ahead of another."""
    scores = {each.model_id: each.score or 0.0 for each in decision.candidates}
    return scores[model_id] - scores[other]


def held(facts: Facts, decision: Decision) -> Place | None:
    """The place of the conversation, if who answered last may answer again."""
    before = facts.before
    if before is None or before.model_id not in decision.plan:
        return None
    return next(each.spec.place for each in facts.models if each.spec.id == before.model_id)


def counted(report: AgentReport, place: Place | None) -> Place | None:
    """What a report speaks for. A lean against the place of a conversation counts for nothing."""
    return report.vote or (report.lean if place in (None, report.lean) else None)


# --- the same picture, but for one thing ---


def asking(facts: Facts, **asked: Any) -> Facts:
    """The same picture, but for what is asked."""
    return replace(facts, asked=replace(facts.asked, **asked))


def changing(facts: Facts, model_id: str, change: Callable[[ModelFacts], ModelFacts]) -> Facts:
    """The same picture, but for one model."""
    return replace(facts, models=tuple(change(each) if each.spec.id == model_id else each for each in facts.models))


def slowed(model: ModelFacts, part: str, more: float) -> ModelFacts:
    """The same model with a part of its pace learned to be slower, in seconds; what it has not learned are start values."""
    usual = START[model.spec.place]
    pace = model.pace or usual
    known: float | None = getattr(pace, part)
    return replace(model, pace=replace(pace, **{part: (getattr(usual, part) if known is None else known) + more}))


def harmless(facts: Facts) -> Facts:
    """The same picture with nothing in it that excludes a model or speaks against one."""
    models = tuple(
        replace(each, health=HEALTHY, fit=None, queue=0, spec=replace(each.spec, window=None, key="given"))
        for each in facts.models
    )
    facts = replace(facts, models=models, reports={})
    return asking(facts, model_id=None, max_cost_usd=None, needs=NO_NEEDS, privacy=UNKNOWN)
