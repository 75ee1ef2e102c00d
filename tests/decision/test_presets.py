"""The reviewed table of worlds and six presets in docs/presets.md."""

from __future__ import annotations

import pytest

from oblix.decision.decide import decide
from oblix.decision.facts import Facts
from oblix.decision.policy import PRESETS, Policy
from oblix.decision.scoring import TERMS

from .presets import FOR, PAGE, page
from .reviewed import WORLDS, World

CELLS = [(each.facts, policy) for each in WORLDS for policy in PRESETS.values()]


def test_the_page_says_what_the_code_does() -> None:
    """After a change: `python -m tests.decision.presets`, then read the rows that moved, and the sentences beside them."""
    assert PAGE.read_text("utf-8") == page()


def test_each_world_is_told_and_explained_once() -> None:
    assert len(WORLDS) == len({each.words for each in WORLDS}) == len({each.why for each in WORLDS}) >= 30
    assert all(each.why.endswith(".") for each in WORLDS)
    assert FOR.keys() == PRESETS.keys()


@pytest.mark.parametrize("world", WORLDS, ids=[each.words[:40] for each in WORLDS])
def test_private_leaves_home_in_no_world(world: World) -> None:
    facts = world.facts
    decision = decide(facts, PRESETS["private"])
    assert {each.spec.id for each in facts.models if not each.spec.is_edge}.isdisjoint(decision.plan)


@pytest.mark.parametrize("one", PRESETS)
@pytest.mark.parametrize("other", PRESETS)
def test_no_two_presets_are_the_same(one: str, other: str) -> None:
    """Else one of them would not be worth a name."""
    differ = any(decide(facts, PRESETS[one]).chosen != decide(facts, PRESETS[other]).chosen for _, facts, _ in WORLDS)
    assert differ == (one != other)


@pytest.mark.parametrize("term", [name for name, _ in TERMS if name != "rule"])
def test_each_soft_term_decides_somewhere(term: str) -> None:
    """A term that no world feels is not tried by this table. (A rule is no part of a preset.)"""
    assert any(chosen_without(term, facts, policy) != decide(facts, policy).chosen for facts, policy in CELLS)


def chosen_without(term: str, facts: Facts, policy: Policy) -> str | None:
    """Who would be tried first if that term gave nothing."""
    order = {each.spec.id: each.spec.order for each in facts.models}
    left = [each for each in decide(facts, policy).candidates if each.verdict != "rejected"]
    sums = {each.model_id: round(sum(each.terms.values()) - each.terms.get(term, 0.0), 6) for each in left}
    return min(sums, key=lambda model_id: (-sums[model_id], order[model_id]), default=None)
