"""Hard rules: each excludes a model for a reason, or says nothing. Their order is the contract's; the first reason stands."""

from __future__ import annotations

from collections.abc import Callable

from oblix.decision.facts import Facts, ModelFacts
from oblix.decision.money import usd
from oblix.decision.policy import Policy
from oblix.types.decision import Reason

Rule = Callable[[Facts, ModelFacts, Policy], Reason | None]


def explicit_model(facts: Facts, model: ModelFacts, policy: Policy) -> Reason | None:
    """`model_id=` is a strict wish, unless `fallback=True` makes it a preference."""
    wanted = facts.asked.model_id
    if wanted is None or facts.asked.fallback or model.spec.id == wanted:
        return None
    return Reason("explicit_model", f"model_id asks for {wanted}")


def veto(facts: Facts, model: ModelFacts, policy: Policy) -> Reason | None:
    """An agent that answers `proceed=False` refuses the request."""
    for name, report in facts.reports.items():
        if not report.proceed:
            return Reason("veto", f"{name} refused: {report.reason or report.state}")
    return None


def privacy(facts: Facts, model: ModelFacts, policy: Policy) -> Reason | None:
    """A private prompt never leaves the edge."""
    if (facts.asked.private or policy.always_private) and not model.spec.is_edge:
        return Reason("privacy", "private prompts stay at home")
    return None


def capability(facts: Facts, model: ModelFacts, policy: Policy) -> Reason | None:
    """Tools, pictures, JSON: what the request needs, the model must be able to do."""
    lacking = facts.asked.needs - model.spec.capabilities
    return Reason("capability", f"cannot do {', '.join(sorted(lacking))}") if lacking else None


def context_window(facts: Facts, model: ModelFacts, policy: Policy) -> Reason | None:
    """The prompt must fit the window. It is counted by estimate, so that only a clear excess excludes; the engine counts exactly."""
    window = model.spec.window
    if window is None or facts.asked.prompt_tokens <= 1.25 * window:
        return None
    return Reason("context_window", f"about {facts.asked.prompt_tokens:,} tokens do not fit its window of {window:,}")


def budget(facts: Facts, model: ModelFacts, policy: Policy) -> Reason | None:
    """With a cost limit set, a model must be priced and its estimated cost must be within the limit."""
    limit = facts.asked.max_cost_usd
    if limit is None:
        return None
    cost = estimated_cost(facts, model)
    if cost is None:
        return Reason("unpriced", "its price is unknown and a cost limit is set")
    return Reason("budget", f"about {usd(cost)} is above the limit of {usd(limit)}") if cost > limit else None


def key(facts: Facts, model: ModelFacts, policy: Policy) -> Reason | None:
    """A model without a usable key cannot answer."""
    if model.spec.key == "missing":
        return Reason("key_missing", "no API key was given, or only a placeholder")
    return Reason("key_refused", model.health.key_refused) if model.health.key_refused else None


def missing(facts: Facts, model: ModelFacts, policy: Policy) -> Reason | None:
    """A server does not have the model."""
    return Reason("model_missing", model.health.missing) if model.health.missing else None


def quarantine(facts: Facts, model: ModelFacts, policy: Policy) -> Reason | None:
    """A prompt that has crashed an engine twice is not given to it again."""
    return Reason("quarantine", model.health.quarantined) if model.health.quarantined else None


def resting(facts: Facts, model: ModelFacts, policy: Policy) -> Reason | None:
    """A service that asked to be left alone for long is left alone, also where nobody else is left."""
    return Reason("resting", model.health.resting) if model.health.resting else None


RULES: tuple[Rule, ...] = (
    explicit_model,
    veto,
    privacy,
    capability,
    context_window,
    budget,
    key,
    missing,
    resting,
    quarantine,
)


def estimated_cost(facts: Facts, model: ModelFacts) -> float | None:
    """USD for the expected tokens, `None` when unpriced."""
    price = model.spec.price
    return None if price is None else price.cost(facts.asked.prompt_tokens, facts.asked.answer_tokens)
