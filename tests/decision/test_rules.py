"""A user's own rules: the first that matches wins, does what it wishes, and is named."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from oblix.decision.decide import decide
from oblix.decision.facts import Facts
from oblix.decision.policy import PRESETS, Policy, When
from oblix.types.report import AgentReport

from .drawn import (
    MACHINE,
    of_agents,
    often,
    only,
    private,
    refuse,
    ruled,
    to,
    use,
    worlds,
)
from .drawn import conditions as asked_for
from .oracle import asking, first
from .world import with_report

anyhow = ruled(st.one_of(to, only, use, private, refuse), st.one_of(asked_for, asked_for, of_agents), most=4)


@often
@given(worlds(), anyhow, st.sampled_from(MACHINE))
def test_the_first_rule_that_matches_wins_and_is_named(facts: Facts, policy: Policy, machine: AgentReport) -> None:
    """In the decision, and in its reasons wherever it changed something."""
    facts = with_report(facts, "machine", machine)
    decision, rule = decide(facts, policy), first(facts, policy)
    assert decision.rule == (None if rule is None else rule.name)
    if rule is None:
        plain = decide(facts, replace(policy, rules=()))
        assert (decision.plan, decision.reasons) == (plain.plan, plain.reasons)
        return
    alone = decide(facts, replace(policy, rules=(replace(rule, when=When()),)))
    assert (decision.plan, decision.reasons) == (alone.plan, alone.reasons)
    without = decide(facts, replace(policy, rules=()))
    if set(without.plan) != set(decision.plan) or (without.chosen != decision.chosen):
        said = [*decision.reasons, *(each.reason for each in decision.candidates)]
        assert any(repr(rule.name) in reason.text for reason in said)


@often
@given(worlds(), ruled(st.one_of(to, only, use, refuse), st.just({}) | asked_for))
def test_a_rule_does_what_it_wishes_and_nothing_else(facts: Facts, policy: Policy) -> None:
    """`only` never leaks, `to` excludes nobody, `use` plans like the preset, `refuse` refuses everything."""
    facts = asking(facts, model_id=None)
    rule = first(facts, policy)
    assume(rule is not None)
    assert rule is not None
    decision, without = decide(facts, policy), decide(facts, replace(policy, rules=()))
    names = {each.spec.id: {each.spec.id, each.spec.place} for each in facts.models}
    if rule.only:
        assert set(decision.plan) == {each for each in without.plan if names[each] & set(rule.only)}
    elif rule.to:
        assert sorted(decision.plan) == sorted(without.plan)
        # What failed, and what has no room in memory, comes last whatever a rule prefers (docs/policies.md).
        ill = {model.spec.id for model in facts.models if model.health.failing or model.fit == "no"}
        reached = [
            each for each in decision.plan if each not in ill and (not facts.network_is_down or "edge" in names[each])
        ]
        positions = [next((n for n, to in enumerate(rule.to) if to in names[each]), 9) for each in reached]
        assert positions == sorted(positions)
    elif rule.refuse:
        assert decision.plan == ()
        assert decision.why() == f"rule {rule.name!r} refused: not today"
    elif rule.use and not policy.always_private:  # what the policy itself makes private stays private
        assert decision.plan == decide(facts, PRESETS[rule.use]).plan
