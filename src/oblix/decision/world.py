"""The facts as a policy sees them: with the rule that matches, the weights that it leads to, and the privacy that follows."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from msgspec import Struct

from oblix.decision.facts import Asked, Facts
from oblix.decision.matching import first_match
from oblix.decision.policy import PRESETS, Policy, Rule
from oblix.types.privacy import Privacy


class World(Struct, frozen=True, gc=False):
    """What every hard rule and every soft term looks at.

    Attributes:
        asked: Of the facts.
        weights: The policy's own, or those of the preset that its rule names.
        rule: The first rule of the policy that matches.
        privacy: Of the request, also by the policy or its rule.
    """

    facts: Facts
    asked: Asked
    policy: Policy
    weights: Policy
    rule: Rule | None
    privacy: Privacy

    @property
    def is_vetoed(self) -> bool:
        """Whether an agent or a rule refuses the request."""
        return any([not report.proceed for report in self.facts.reports.values()]) or (
            self.rule is not None and self.rule.refuse is not None
        )

    @property
    def is_budgeted(self) -> bool:
        """Whether a budget counts any of the models."""
        return any([model.budget is not None for model in self.facts.models])


def look(facts: Facts, policy: Policy) -> World:
    """The facts under a policy."""
    rule = first_match(facts, policy) if policy.rules else None
    weights = policy if rule is None or rule.use is None else _with_weights_of(policy, PRESETS[rule.use])
    return World(facts, facts.asked, policy, weights, rule, _privacy(facts.asked.privacy, policy, weights, rule))


@lru_cache(maxsize=64)
def _with_weights_of(policy: Policy, preset: Policy) -> Policy:
    """A policy with a preset's weights, and what that insists on; what it forbids itself stays forbidden."""
    return replace(
        preset,
        bridges_to_cloud=policy.bridges_to_cloud and preset.bridges_to_cloud,
        always_private=policy.always_private or preset.always_private,
    )


def always_private(found: Privacy, policy: str) -> Privacy:
    """Private by a policy of that name, unless it stays at home anyway."""
    return found if found.stays_home else replace(found, label="private", by="policy", why=f"policy {policy}")


def _privacy(found: Privacy, policy: Policy, weights: Policy, rule: Rule | None) -> Privacy:
    """Labels join upwards: a policy or a rule makes a request private, and none of them makes it public."""
    if found.stays_home:
        return found
    if policy.always_private:
        return always_private(found, policy.name)
    if rule is not None and (rule.private or weights.always_private):
        why = f"rule {rule.name!r}" if rule.private else f"rule {rule.name!r}, policy {weights.name}"
        return replace(found, label="private", by="rule", why=why)
    return found
