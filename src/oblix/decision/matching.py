"""Which of a policy's rules a request meets: the first one wins."""

from __future__ import annotations

from oblix.decision.facts import Asked, Facts, ModelFacts
from oblix.decision.policy import Policy, Rule, When


def first_match(facts: Facts, policy: Policy) -> Rule | None:
    """The first rule of the policy that the facts meet, `None` where none does."""
    for rule in policy.rules:
        if meets(facts, rule.when):
            return rule
    return None


def meets(facts: Facts, when: When) -> bool:
    """Whether everything that is asked for holds."""
    asked = facts.asked
    return (
        (not when.tags or any(tag in when.tags for tag in asked.tags))
        and (not when.words or any(word in asked.said for word in when.words))
        and (not when.needs or any(need in when.needs for need in asked.needs))
        and (not when.found or _saw(asked, when.found))
        and (when.private is None or when.private == (asked.privacy.label == "private"))
        and _within(asked.complexity.score, when.complexity_above, when.complexity_below)
        and _within(asked.prompt_tokens, when.tokens_above, when.tokens_below)
        and all(_reports(facts, agent, when.agents) for agent in {name for name, _ in when.agents})
    )


def is_meant(model: ModelFacts, targets: tuple[str, ...]) -> bool:
    """Whether a model is one of a rule's targets: `edge`, `cloud`, or model ids."""
    return rank(model, targets) is not None


def rank(model: ModelFacts, targets: tuple[str, ...]) -> int | None:
    """Which of a rule's targets a model is, from 0; `None` for none of them."""
    names = (model.spec.id, model.spec.place)
    return next((position for position, target in enumerate(targets) if target in names), None)


def _saw(asked: Asked, kinds: tuple[str, ...]) -> bool:
    found = asked.privacy.found
    return bool(found) if "any" in kinds else any(kind in found for kind in kinds)


def _within(value: float, above: float | None, below: float | None) -> bool:
    return (above is None or value > above) and (below is None or value < below)


def _reports(facts: Facts, agent: str, wanted: tuple[tuple[str, str], ...]) -> bool:
    report = facts.reports.get(agent)
    return report is not None and (agent, report.state) in wanted
