"""Soft terms: each gives a candidate points, higher is better. Their sum orders what the hard rules left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log10

from msgspec import Struct

from oblix.decision.facts import Fit, ModelFacts
from oblix.decision.matching import rank
from oblix.decision.prediction import cost, seconds
from oblix.decision.world import World
from oblix.types.report import AgentReport
from oblix.types.spec import Place

LEAN = 0.75  # of a vote: enough to outweigh the tier, not to outvote an agent that has decided itself
TIGHT = 0.125  # of a vote: enough to choose within a tier; most laptops run the largest model that just fits, and it is meant to answer
MOST_VOTES = 20.0  # net, that count
# Each of these is above everything below it: weights end at policy.HEAVIEST, so that the weighed terms together stay below 1,000.
OUT_OF_REACH = -10_000_000.0  # tried last, but tried
PREFERRED = 1_000_000.0
TOO_LARGE = -200_000.0  # a load without room harms all that runs on the machine; a failure is soon over
FAILING = -100_000.0
RULED = 1_000.0  # for each target that a rule names; at most policy_table.MOST_TARGETS of them
# Seconds and USD below which nobody minds; a factor of ten above them costs a term its weight once.
UNNOTICED = 0.1
NEGLIGIBLE = 1e-5
UNPRICED = 0.1  # USD that a model of unknown price is taken to cost: more than a long answer of a large model


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
        is_crowded: One of them has no room in memory, or hardly any; it may be loaded already.
        is_sparing: Energy is scarce here.
    """

    tiers: Mapping[str, int]
    highest: int
    span: int
    required: int
    held: Place | None
    votes: float
    seconds: Mapping[str, float]
    costs: Mapping[str, float | None]
    network_is_down: bool
    is_ill: bool
    is_crowded: bool
    is_sparing: bool


def survey(world: World, left: Sequence[ModelFacts]) -> Field:
    """The figures of the candidates that are `left`."""
    facts = world.facts
    tiers = _tiers(facts.models)
    highest = max(tiers.values(), default=1)
    asked = world.asked.complexity.score
    required = highest if world.weights.always_top else min(highest, 1 + int(asked * highest))
    held = _place_of_conversation(world, left)
    votes = sum([_vote(report, held) for report in facts.reports.values()])
    return Field(
        tiers,
        highest,
        max(1, highest - 1),
        required,
        held,
        max(-MOST_VOTES, min(MOST_VOTES, votes)),
        {model.spec.id: seconds(facts, model) for model in left},
        {model.spec.id: cost(facts, model) for model in left},
        facts.network_is_down,
        any([model.health.failing for model in left]),
        any([model.fit in _SHORT for model in left]),
        any([report.sparing for report in facts.reports.values()]),
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


_SHORT: frozenset[Fit | None] = frozenset(("tight", "no"))


def room(model: ModelFacts) -> Fit | None:
    """Whether a model has room in memory; what is there already, or runs elsewhere, needs none."""
    return None if model.fit is None or model.loaded or not model.spec.is_edge else model.fit


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
    return [0.0 if each is None else RULED * (len(targets) - each) for each in ranks]


def health(world: World, models: Models, field: Field) -> Points:
    """A model that failed a moment ago comes after those that did not."""
    return [FAILING if model.health.failing else 0.0 for model in models] if field.is_ill else None


def fit(world: World, models: Models, field: Field) -> Points:
    """A model without room in memory comes after those that can run; one that would fill the memory loses a little."""
    if not field.is_crowded:
        return None
    points = {"no": TOO_LARGE, "tight": -TIGHT * world.weights.vote}
    return [points.get(room(model) or "", 0.0) for model in models]


def votes(world: World, models: Models, field: Field) -> Points:
    """The agents' votes for a place; a built-in agent's weighs like a custom one's."""
    if not field.votes:
        return None
    points = world.weights.vote * field.votes / 2
    return [points if model.spec.place == "edge" else -points for model in models]


def tier(world: World, models: Models, field: Field) -> list[float]:
    """How far the tier is from the one that the prompt asks for."""
    shortfall, overshoot = world.weights.shortfall / field.span, world.weights.overshoot / field.span
    tiers, required = field.tiers, field.required
    return [shortfall * gap if (gap := tiers[model.spec.id] - required) < 0 else -overshoot * gap for model in models]


def power(world: World, models: Models, field: Field) -> Points:
    """While energy is scarce here: a lean for the cloud, or for the smallest tier at home, as the policy says."""
    if not field.is_sparing:
        return None
    if world.weights.when_sparing == "smallest":
        return _smallest(world, models, field)
    if field.held == "edge":
        return None  # a lean moves no conversation
    points = LEAN * world.weights.vote / 2
    return [-points if model.spec.place == "edge" else points for model in models]


def _smallest(world: World, models: Models, field: Field) -> Points:
    """What the tier of a model at home wins over the smaller ones, it loses again, and up to a lean more.

    Home as a whole loses nothing against the cloud: what changes is who answers there. As any lean, this moves no conversation.
    """
    tiers, wish = field.tiers, tier(world, models, field)
    at_home = sorted({(tiers[m.spec.id], points) for m, points in zip(models, wish, strict=True) if m.spec.is_edge})
    if len(at_home) < 2:
        return None
    lowest, highest, before = at_home[0][0], at_home[-1][0], world.facts.before
    if field.held == "edge" and before is not None and tiers[before.model_id] > lowest:
        return None
    step = LEAN * world.weights.vote / (highest - lowest)
    best = max([points for _, points in at_home])
    given, won = {}, at_home[0][1]
    for each, points in at_home:
        won = max(won, points)
        given[each] = best - won - step * (each - lowest)
    return [given[tiers[model.spec.id]] if model.spec.is_edge else 0.0 for model in models]


def speed(world: World, models: Models, field: Field) -> Points:
    """Predicted seconds of the whole answer, cold start and queue included; ten times slower costs the weight once.

    A logarithm, because it weighs two models the same whoever else is hooked; a share of the slowest one's seconds would not.
    """
    weight, times = world.weights.speed, field.seconds
    return [-weight * log10(1.0 + times[model.spec.id] / UNNOTICED) for model in models] if weight else None


def price(world: World, models: Models, field: Field) -> Points:
    """Expected cost; ten times dearer costs the weight once. An unpriced model is taken to be dear."""
    weight = world.weights.price
    if not weight:
        return None
    costs = [field.costs[model.spec.id] for model in models]
    return [-weight * log10(1.0 + (UNPRICED if cost is None else cost) / NEGLIGIBLE) for cost in costs]


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
    ("fit", fit),
    ("health", health),
    ("votes", votes),
    ("tier", tier),
    ("power", power),
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
