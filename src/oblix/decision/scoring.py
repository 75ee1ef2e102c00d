"""Soft terms: each gives a candidate points, higher is better. Their sum orders what the hard rules left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from oblix.decision.facts import ModelFacts
from oblix.decision.matching import rank
from oblix.decision.prediction import cost, seconds
from oblix.decision.world import World
from oblix.types.report import AgentReport
from oblix.types.spec import Place

LEAN = 0.75  # of a vote: enough to outweigh the tier, not to outvote an agent that has decided itself
OUT_OF_REACH = -10_000.0  # below every sum of the other terms, however many agents vote: tried last, but tried
FAILING = -20.0
PREFERRED = 1_000.0
RULED = 400.0  # below what the caller prefers by name, above every sum of votes of some hundred agents


class Field(Struct, frozen=True, gc=False):
    """What a term compares a candidate with: the candidates that are left, in figures.

    Attributes:
        tiers: Model id → tier, dense from 1, of all hooked models: that some may not answer makes no other one better.
        highest: The highest of them, 1 where there is none.
        span: Steps between the lowest and the highest tier, at least 1.
        required: The tier that the prompt asks for.
        held: Where the conversation is, if who answered last may answer again.
        votes: Net votes for the edge; below 0 they speak for the cloud.
        seconds: Model id → predicted seconds of the answer.
        costs: Model id → expected USD, `None` when unpriced.
        is_ill: One of them failed a moment ago.
    """

    tiers: Mapping[str, int]
    highest: int
    span: int
    required: int
    held: Place | None
    votes: float
    seconds: Mapping[str, float]
    costs: Mapping[str, float | None]
    slowest: float
    dearest: float
    network_is_down: bool
    is_ill: bool


def survey(world: World, left: Sequence[ModelFacts]) -> Field:
    """The figures of the candidates that are `left`."""
    facts = world.facts
    tiers = _tiers(facts.models)
    highest = max(tiers.values(), default=1)
    asked = world.asked.complexity.score
    required = highest if world.weights.always_top else min(highest, 1 + int(asked * highest))
    held = _place_of_conversation(world, left)
    votes = sum([_vote(report, held) for report in facts.reports.values()])
    times, costs = {}, {}
    slowest = dearest = 0.0
    is_ill = False
    for model in left:
        name = model.spec.id
        times[name] = took = seconds(facts, model)
        costs[name] = paid = cost(facts, model)
        slowest, dearest = max(slowest, took), max(dearest, paid or 0.0)
        is_ill = is_ill or model.health.failing is not None
    return Field(
        tiers,
        highest,
        max(1, highest - 1),
        required,
        held,
        votes,
        times,
        costs,
        slowest,
        dearest,
        facts.network_is_down,
        is_ill,
    )


def _tiers(models: Sequence[ModelFacts]) -> dict[str, int]:
    """Tiers follow the order of hooking, edge before cloud, unless given; then they are made dense."""
    ordered = sorted(
        [(model.spec.place != "edge", model.spec.order, model.spec.id, model.spec.tier) for model in models]
    )
    given = {model_id: tier or position for position, (_, _, model_id, tier) in enumerate(ordered, 1)}
    if not any([tier for _, _, _, tier in ordered]):
        return given  # dense already
    dense = {value: rank for rank, value in enumerate(sorted(set(given.values())), 1)}
    return {model_id: dense[value] for model_id, value in given.items()}


def _place_of_conversation(world: World, left: Sequence[ModelFacts]) -> Place | None:
    """Where the conversation is, if who answered last may answer again."""
    before = world.facts.before
    if before is None:
        return None
    return next((model.spec.place for model in left if model.spec.id == before.model_id), None)


def spoken_for(report: AgentReport, held: Place | None) -> Place | None:
    """The place that a report speaks for.

    A lean moves no conversation away from where it is `held`: a sensor at its threshold must not make it flap.
    """
    return report.vote or (report.lean if held in (None, report.lean) else None)


def _vote(report: AgentReport, held: Place | None) -> float:
    """Above 0 for the edge."""
    place = spoken_for(report, held)
    if place is None:
        return 0.0
    return (1.0 if report.vote else LEAN) * (1.0 if place == "edge" else -1.0)


# Each term gives points to all models at once, or `None` where it has nothing to say in this world: most have not in most.
Points = list[float] | None
Models = Sequence[ModelFacts]


def preference(world: World, models: Models, field: Field) -> Points:
    """`model_id=` with `fallback=True`."""
    wanted = world.asked.model_id
    return [PREFERRED if model.spec.id == wanted else 0.0 for model in models] if world.asked.fallback else None


def network(world: World, models: Models, field: Field) -> Points:
    """While the network seems down, cloud models go to the end of the plan, where they are tried once more."""
    if not field.network_is_down:
        return None
    return [0.0 if model.spec.place == "edge" else OUT_OF_REACH for model in models]


def rule(world: World, models: Models, field: Field) -> Points:
    """What a rule of the policy prefers, the first of its targets most."""
    if world.rule is None or not world.rule.to:
        return None
    targets = world.rule.to
    ranks = [rank(model, targets) for model in models]
    return [0.0 if each is None else RULED * (len(targets) - each) / len(targets) for each in ranks]


def health(world: World, models: Models, field: Field) -> Points:
    """A model that failed a moment ago comes after those that did not."""
    return [FAILING if model.health.failing else 0.0 for model in models] if field.is_ill else None


def votes(world: World, models: Models, field: Field) -> Points:
    """The agents' votes for a place; a built-in agent's weighs like a custom one's."""
    if not field.votes:
        return None
    points = world.weights.vote * field.votes / 2
    return [points if model.spec.place == "edge" else -points for model in models]


def tier(world: World, models: Models, field: Field) -> Points:
    """How far the tier is from the one that the prompt asks for."""
    shortfall, overshoot = world.weights.shortfall / field.span, world.weights.overshoot / field.span
    gaps = [field.tiers[model.spec.id] - field.required for model in models]
    return [shortfall * gap if gap < 0 else -overshoot * gap for gap in gaps]


def speed(world: World, models: Models, field: Field) -> Points:
    """Predicted seconds of the whole answer, cold start and queue included."""
    if not (field.slowest and world.weights.speed):
        return None
    weight, slowest = -world.weights.speed, field.slowest
    return [weight * (field.seconds[model.spec.id] / slowest) for model in models]


def price(world: World, models: Models, field: Field) -> Points:
    """Expected cost; an unpriced model is taken to be the dearest."""
    most = field.dearest or 1.0
    costs = [field.costs[model.spec.id] for model in models]
    return [-world.weights.price * (1.0 if cost is None else cost / most) for cost in costs]


def stay(world: World, models: Models, field: Field) -> Points:
    """Changing models in mid-conversation has a price beside the seconds and USD of a cache that is lost: another voice."""
    if world.facts.before is None:
        return None
    last = world.facts.before.model_id
    return [world.weights.stay if model.spec.id == last else 0.0 for model in models]


def edge(world: World, models: Models, field: Field) -> Points:
    """Being at home, all else equal."""
    return [world.weights.edge if model.spec.place == "edge" else 0.0 for model in models]


TERMS: tuple[tuple[str, Callable[[World, Models, Field], Points]], ...] = (
    ("preference", preference),
    ("network", network),
    ("rule", rule),
    ("health", health),
    ("votes", votes),
    ("tier", tier),
    ("speed", speed),
    ("price", price),
    ("stay", stay),
    ("edge", edge),
)


def terms(world: World, models: Models, field: Field) -> list[dict[str, float]]:
    """For each model what the terms give it, without those that give nothing."""
    given: list[dict[str, float]] = [{} for _ in models]
    for name, term in TERMS:
        all_points = term(world, models, field)
        if all_points is not None:
            for mine, points in zip(given, all_points, strict=True):
                if points:
                    mine[name] = points
    return given
