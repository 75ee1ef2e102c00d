"""The log's decisions as cases to be decided again."""

from __future__ import annotations

from collections.abc import Iterator

from oblix.decision.policy import Policy
from oblix.decision.record import modern
from oblix.decision.replay import Case, Skipped
from oblix.storage.decisions import DecisionLog, Kept
from oblix.storage.history import Forgotten, Past, recall, recall_facts, recall_policy


def cases(
    log: DecisionLog, policy: Policy | None = None, since: float | None = None, *, keeps_rules: bool = False
) -> Iterator[Case | Skipped]:
    """The decisions since then (seconds since the epoch), to be taken again under a policy; without one, under their own.

    Args:
        keeps_rules: Only the weights are of another policy: the rules of each decision's own stay.
    """
    for kept in log.decisions(since):
        try:
            past = (
                recall(kept)
                if policy is None
                else Past(recall_facts(kept), _under(policy, kept) if keeps_rules else policy)
            )
        except Forgotten as error:
            yield Skipped(str(error))
        else:
            yield Case(past.facts, past.policy, modern(kept.record), kept.outcome)


def _under(policy: Policy, kept: Kept) -> Policy:
    """The policy with the rules of the one that it takes the place of, as far as that is known."""
    try:
        return policy.with_rules_of(recall_policy(kept))
    except Forgotten:
        return policy
