"""The watcher over the suite's own decisions: it must see what it is there for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from oblix.decision.decide import decide
from oblix.decision.facts import Asked, Complexity, Facts, ModelFacts
from oblix.decision.policy import PRESETS
from oblix.types.spec import FREE, ModelSpec


@pytest.fixture
def watcher(request: pytest.FixtureRequest) -> Any:
    """One of the same kind as the one that watches this session, with nothing seen yet."""
    found: Any = request.config.pluginmanager.get_plugin("replaying")
    return type(found)()


def row(**changes: Any) -> tuple[bytes, bytes]:
    """What a log would write of a decision between two models, with something of its record changed."""
    names = ("phi", "llama")
    models = tuple(
        ModelFacts(ModelSpec(f"ollama:{name}", "ollama", name, "edge", order=order, price=FREE))
        for order, name in enumerate(names)
    )
    facts = Facts("01A", 1.0, Asked(20, 300, Complexity(0.1)), models)
    record = {**decide(facts, PRESETS["balanced"]).verdicts(), **changes}
    return msgspec.json.encode(record), msgspec.json.encode(facts)


def test_a_decision_that_comes_out_the_same_is_counted(watcher: Any) -> None:
    watcher._note(*row())
    assert watcher.differing() == ""
    assert (watcher.decisions, watcher.same) == (1, 1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"plan": ["ollama:llama", "ollama:phi"]}, "01A: plan "),
        ({"reasons": []}, "01A: reasons "),
        ({"policy_digest": "0" * 16}, "01A: its policy was not kept"),
    ],
    ids=["another plan", "other words", "an unknown policy"],
)
def test_one_that_does_not_is_told(watcher: Any, changes: dict[str, Any], told: str) -> None:
    watcher._note(*row(**changes))
    assert watcher.differing().startswith(told)
    assert (watcher.decisions, watcher.same) == (1, 0)
    assert watcher.differing() == ""  # once


def test_facts_that_lack_something_are_told(watcher: Any) -> None:
    record, facts = row()
    found = msgspec.json.decode(facts, type=Facts)
    watcher._note(record, msgspec.json.encode(replace(found, models=found.models[:1])))
    assert "plan ['ollama:phi', 'ollama:llama'] != ['ollama:phi']" in watcher.differing()


def test_what_is_no_decision_is_passed_over(watcher: Any) -> None:
    watcher._note(b'{"id": "01A"}', b"{}")
    assert (watcher.differing(), watcher.decisions) == ("", 0)


def test_a_suite_that_writes_much_is_looked_at_in_between(watcher: Any) -> None:
    watcher.MOST = 10
    watcher._note(*row())
    assert watcher.decisions == 1
