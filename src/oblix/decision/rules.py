"""Hard rules: each excludes a model for a reason, or says nothing. Their order is the contract's; the first reason stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from oblix.decision.facts import ModelFacts
from oblix.decision.matching import is_meant
from oblix.decision.money import next_window, price_line, usd
from oblix.decision.prediction import highest_cost, least_cost
from oblix.decision.world import World
from oblix.types.decision import Reason
from oblix.types.money import micro

HardRule = Callable[[World, ModelFacts], Reason | None]


def explicit_model(world: World, model: ModelFacts) -> Reason | None:
    """`model_id=` is a strict wish, unless `fallback=True` makes it a preference."""
    wanted = world.asked.model_id
    if wanted is None or world.asked.fallback or model.spec.id == wanted:
        return None
    return Reason("explicit_model", f"model_id asks for {wanted}")


def veto(world: World, model: ModelFacts) -> Reason | None:
    """An agent that answers `proceed=False` refuses the request, and so may a rule of the policy."""
    for name, report in world.facts.reports.items():
        if not report.proceed:
            return Reason("veto", f"{name} refused: {report.reason or report.state}")
    if world.rule is not None and world.rule.refuse is not None:
        return Reason("veto", f"rule {world.rule.name!r} refused: {world.rule.refuse}")
    return None


def privacy(world: World, model: ModelFacts) -> Reason | None:
    """A private prompt never leaves the edge."""
    if not world.privacy.stays_home or model.spec.is_edge:
        return None
    return Reason("privacy", f"private prompts stay at home ({world.privacy.why})")


def rule(world: World, model: ModelFacts) -> Reason | None:
    """A rule of the policy that says who alone may answer."""
    found = world.rule
    if found is None or not found.only or is_meant(model, found.only):
        return None
    return Reason("rule", f"rule {found.name!r} allows {' and '.join(found.only)} only")


def capability(world: World, model: ModelFacts) -> Reason | None:
    """Tools, pictures, JSON: what the request needs, the model must be able to do."""
    lacking = world.asked.needs - model.spec.capabilities
    return Reason("capability", f"cannot do {', '.join(sorted(lacking))}") if lacking else None


def context_window(world: World, model: ModelFacts) -> Reason | None:
    """The prompt must fit the window. It is counted by estimate, so that only a clear excess excludes; the engine counts exactly.

    Of a conversation, what may be cut need not fit.
    """
    window, least = model.spec.window, world.asked.least_tokens
    tokens = world.asked.prompt_tokens if least is None else least
    if window is None or tokens <= SURELY * window:
        return None
    return Reason("context_window", f"about {tokens:,} tokens do not fit its window of {window:,}")


def budget(world: World, model: ModelFacts) -> Reason | None:
    """With a cost limit set, a model must be priced and its highest cost must be within the limit; and its budgets must have room."""
    limit = world.asked.max_cost_usd
    if limit is None:
        return no_room(world, model)
    cost = highest_cost(world.facts, model)
    if cost is None:
        return Reason("unpriced", "its price is unknown and a cost limit is set")
    if cost > limit:
        return Reason("budget", f"about {usd(cost)} is above the limit of {usd(limit)}")
    return no_room(world, model)


def no_room(world: World, model: ModelFacts) -> Reason | None:
    """A budget has room for a model if what is left, and what others hold, pays the prompt and a word. Reserving shows the rest."""
    room = model.budget
    if room is None or world.asked.approved:
        return None
    least = least_cost(world.facts, model)
    if least is None:
        line = price_line(model.spec)
        return Reason("unpriced", f"its price is unknown and the budget {room.name!r} is set; {line} sets one")
    if micro(least) <= round(1e6 * (room.left_usd + room.held_usd)):
        return None
    left = usd(room.left_usd) if room.left_usd else "nothing"
    told = f"the budget {room.name!r} of {usd(room.limit_usd)} has {left} left, and it costs at least {usd(least)}"
    return Reason("budget", told + next_window(room))


def key(world: World, model: ModelFacts) -> Reason | None:
    """A model without a usable key cannot answer."""
    if model.spec.key == "missing":
        return Reason("key_missing", "no API key was given, or only a placeholder")
    return Reason("key_refused", model.health.key_refused) if model.health.key_refused else None


def missing(world: World, model: ModelFacts) -> Reason | None:
    """A server does not have the model."""
    return Reason("model_missing", model.health.missing) if model.health.missing else None


def resting(world: World, model: ModelFacts) -> Reason | None:
    """A service that asked to be left alone for long is left alone, also where nobody else is left."""
    return Reason("resting", model.health.resting) if model.health.resting else None


def quarantine(world: World, model: ModelFacts) -> Reason | None:
    """A prompt that has crashed an engine twice is not given to it again."""
    return Reason("quarantine", model.health.quarantined) if model.health.quarantined else None


SURELY = 1.25  # times the window: our estimate of a prompt may be a quarter too high
RULES: tuple[HardRule, ...] = (
    explicit_model,
    veto,
    privacy,
    rule,
    capability,
    context_window,
    budget,
    key,
    missing,
    resting,
    quarantine,
)
# Whether a rule can exclude anybody in this world at all: most cannot in most, and need not be asked for each model.
APPLIES: Mapping[HardRule, Callable[[World], bool]] = {
    explicit_model: lambda world: world.asked.model_id is not None,
    veto: lambda world: world.is_vetoed,
    privacy: lambda world: world.privacy.label == "private",
    rule: lambda world: world.rule is not None,
    capability: lambda world: bool(world.asked.needs),
    budget: lambda world: world.asked.max_cost_usd is not None or world.is_budgeted,
}
