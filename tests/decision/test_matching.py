"""Which rule of a policy a request meets."""

from __future__ import annotations

from typing import Any

import pytest

from oblix.decision.facts import Complexity, Facts
from oblix.decision.matching import first_match, is_meant, meets, rank
from oblix.decision.policy import Policy, Rule, When
from oblix.types.privacy import Privacy

from .world import AVAILABLE, CRITICAL, DEGRADED, model, picture


def asking(**asked: Any) -> Facts:
    """A request of 100 tokens and middling difficulty on a critical machine."""
    usual: dict[str, Any] = {"prompt_tokens": 100, "complexity": Complexity(0.5)}
    return picture((), reports={"machine": CRITICAL, "network": DEGRADED}, **{**usual, **asked})


@pytest.mark.parametrize(
    ("when", "asked", "met"),
    [
        ({}, {}, True),
        ({"tags": ("code",)}, {"tags": ("mail", "code")}, True),
        ({"tags": ("code", "mail")}, {"tags": ("mail",)}, True),
        ({"tags": ("code",)}, {"tags": ("codes",)}, False),
        ({"tags": ("code",)}, {}, False),
        ({"words": ("patient", "falcon")}, {"said": ("falcon",)}, True),
        ({"words": ("patient",)}, {"said": (), "listened": ("patient",)}, False),
        ({"needs": ("tools", "vision")}, {"needs": frozenset({"vision"})}, True),
        ({"needs": ("tools",)}, {"needs": frozenset({"json"})}, False),
        ({"found": ("card",)}, {"privacy": Privacy("public", found={"card": 1})}, True),
        ({"found": ("card",)}, {"privacy": Privacy("private", found={"email": 1})}, False),
        ({"found": ("any",)}, {"privacy": Privacy("private", found={"email": 1})}, True),
        ({"found": ("any",)}, {"privacy": Privacy("private", by="caller")}, False),
        ({"private": True}, {"privacy": Privacy("private")}, True),
        ({"private": True}, {"privacy": Privacy("unknown")}, False),
        ({"private": False}, {"privacy": Privacy("unknown")}, True),
        ({"private": False}, {"privacy": Privacy("private", by="detector", mode="allow")}, False),
        ({"complexity_above": 0.49}, {}, True),
        ({"complexity_above": 0.5}, {}, False),
        ({"complexity_below": 0.5}, {}, False),
        ({"complexity_above": 0.4, "complexity_below": 0.6}, {}, True),
        ({"complexity_above": 0.0}, {"complexity": Complexity(0.0)}, False),
        ({"tokens_above": 99}, {}, True),
        ({"tokens_above": 100}, {}, False),
        ({"tokens_below": 100}, {}, False),
        ({"tokens_below": 101}, {}, True),
        ({"agents": (("machine", "critical"),)}, {}, True),
        ({"agents": (("machine", "available"), ("machine", "critical"))}, {}, True),
        ({"agents": (("machine", "critical"), ("network", "degraded"))}, {}, True),
        ({"agents": (("machine", "available"), ("network", "degraded"))}, {}, False),
        ({"agents": (("machine", "degraded"),)}, {}, False),
        ({"agents": (("gone", "critical"),)}, {}, False),
        ({"tags": ("code",), "tokens_above": 50}, {"tags": ("code",)}, True),
        ({"tags": ("code",), "tokens_above": 500}, {"tags": ("code",)}, False),
    ],
)
def test_all_that_a_rule_asks_for_must_hold_and_of_several_words_one(
    when: dict[str, Any], asked: dict[str, Any], met: bool
) -> None:
    """Limits are exclusive; of an agent's states one is enough, but each agent counts; what is not asked for does not matter."""
    assert meets(asking(**asked), When(**when)) is met


def test_the_first_rule_that_matches_wins() -> None:
    never, first, second = (
        Rule("never", When(tags=("x",)), to=("edge",)),
        Rule("first", When(), to=("cloud",)),
        Rule("second", When(), refuse="no"),
    )
    assert first_match(asking(), Policy("own", rules=(never, first, second))) is first
    assert first_match(asking(), Policy("own", rules=(second, first))) is second
    assert first_match(asking(), Policy("own", rules=(never,))) is None
    assert first_match(asking(), Policy("own")) is None


@pytest.mark.parametrize(
    ("targets", "position"),
    [
        (("edge",), 0),
        (("ollama:phi",), 0),
        (("cloud", "ollama:phi", "edge"), 1),
        (("cloud", "openai:gpt-4"), None),
        (("ollama:phi:latest",), None),
        ((), None),
    ],
)
def test_a_target_is_a_place_or_a_model(targets: tuple[str, ...], position: int | None) -> None:
    """The first of them that a model is counts; a model is meant if it is any."""
    phi = model("ollama:phi", "edge")
    assert rank(phi, targets) == position
    assert is_meant(phi, targets) is (position is not None)


def test_a_report_is_looked_up_by_its_agents_name() -> None:
    """Another agent in the same state does not count."""
    facts = picture((), reports={"machine": AVAILABLE, "mine": CRITICAL})
    assert not meets(facts, When(agents=(("machine", "critical"),)))
    assert meets(facts, When(agents=(("mine", "critical"),)))
