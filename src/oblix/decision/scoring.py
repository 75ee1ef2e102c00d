"""Soft terms: each gives a candidate points, higher is better. Their sum orders what the hard rules left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from oblix.decision.facts import Facts, ModelFacts
from oblix.decision.policy import Policy
from oblix.decision.rules import estimated_cost

LEAN = 0.75  # of a vote: enough to outweigh the tier, not to outvote an agent that has decided itself
OUT_OF_REACH = -10_000.0  # below every sum of the other terms, however many agents vote: tried last, but tried
FAILING = -20.0
PREFERRED = 1_000.0


@dataclass(frozen=True, slots=True)
class Field:
    """What a term compares a candidate with: the candidates that are left, in figures.

    Attributes:
        tiers: Model id → tier, dense from 1.
        highest: The highest of them, 1 where there is none.
        required: The tier that the prompt asks for.
        votes: Net votes for the edge; below 0 they speak for the cloud.
    """

    tiers: dict[str, int]
    highest: int
    required: int
    votes: float
    slowest: float
    dearest: float
    network_is_down: bool

    @property
    def span(self) -> int:
        """Steps between the lowest and the highest tier, at least 1."""
        return max(1, self.highest - 1)


def survey(facts: Facts, left: Sequence[ModelFacts], policy: Policy) -> Field:
    """The figures of the candidates that are `left`."""
    tiers = _tiers(left)
    highest = max(tiers.values(), default=1)
    asked = facts.asked.complexity.score
    required = highest if policy.always_top else min(highest, 1 + int(asked * highest))
    votes = 0.0
    for report in facts.reports.values():
        place = report.vote or report.lean
        if place is not None:
            votes += (1.0 if report.vote else LEAN) * (1 if place == "edge" else -1)
    slowest = dearest = 0.0
    for model in left:
        slowest = max(slowest, model.health.seconds or 0.0)
        dearest = max(dearest, estimated_cost(facts, model) or 0.0)
    return Field(tiers, highest, required, votes, slowest, dearest, facts.network_is_down)


def _tiers(left: Sequence[ModelFacts]) -> dict[str, int]:
    """Tiers follow the order of hooking, edge before cloud, unless given; then they are made dense."""
    ordered = sorted(left, key=lambda model: (not model.spec.is_edge, model.spec.order))
    given = {model.spec.id: model.spec.tier or position for position, model in enumerate(ordered, 1)}
    dense = {value: rank for rank, value in enumerate(sorted(set(given.values())), 1)}
    return {model_id: dense[value] for model_id, value in given.items()}


def votes(facts: Facts, model: ModelFacts, policy: Policy, field: Field) -> float:
    """The agents' votes for a place; a built-in agent's weighs like a custom one's."""
    return policy.vote * field.votes / 2 * (1 if model.spec.is_edge else -1)


def tier(facts: Facts, model: ModelFacts, policy: Policy, field: Field) -> float:
    """How far the tier is from the one that the prompt asks for."""
    gap = (field.tiers[model.spec.id] - field.required) / field.span
    return policy.shortfall * gap if gap < 0 else -policy.overshoot * gap


def edge(facts: Facts, model: ModelFacts, policy: Policy, field: Field) -> float:
    """Being at home, all else equal."""
    return policy.edge if model.spec.is_edge else 0.0


def speed(facts: Facts, model: ModelFacts, policy: Policy, field: Field) -> float:
    """Seconds that it usually takes; a model that was never measured is taken to be as fast as any."""
    return -policy.speed * (model.health.seconds or 0.0) / field.slowest if field.slowest else 0.0


def price(facts: Facts, model: ModelFacts, policy: Policy, field: Field) -> float:
    """Estimated cost; an unpriced model is taken to be the dearest."""
    if not field.dearest:
        return 0.0
    cost = estimated_cost(facts, model)
    return -policy.price * (1.0 if cost is None else cost / field.dearest)


def health(facts: Facts, model: ModelFacts, policy: Policy, field: Field) -> float:
    """A model that failed a moment ago comes after those that did not."""
    return FAILING if model.health.failing else 0.0


def network(facts: Facts, model: ModelFacts, policy: Policy, field: Field) -> float:
    """While the network seems down, cloud models go to the end of the plan, where they are tried once more."""
    return OUT_OF_REACH if field.network_is_down and not model.spec.is_edge else 0.0


def preference(facts: Facts, model: ModelFacts, policy: Policy, field: Field) -> float:
    """`model_id=` with `fallback=True`."""
    return PREFERRED if facts.asked.fallback and model.spec.id == facts.asked.model_id else 0.0


Term = Callable[[Facts, ModelFacts, Policy, Field], float]
TERMS: tuple[tuple[str, Term], ...] = (
    ("preference", preference),
    ("network", network),
    ("health", health),
    ("votes", votes),
    ("tier", tier),
    ("edge", edge),
    ("speed", speed),
    ("price", price),
)
