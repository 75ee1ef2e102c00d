"""From the log back to decisions, and to history that can be decided again: `oblix.storage.history` and `cases`, on drawn pictures."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from oblix.decision.decide import decide
from oblix.decision.facts import Facts
from oblix.decision.policy import PRESETS, Policy, Rule, When
from oblix.decision.policy_table import to_mapping
from oblix.decision.replay import Case, Skipped, check, replay
from oblix.storage.cases import cases
from oblix.storage.decisions import DecisionLog, Kept
from oblix.storage.history import Forgotten, recall, recall_facts, tell, what_would_change

from .test_explain import EARLIER
from .world import hooked, picture, pictures, policies

OWN = replace(PRESETS["balanced"], name="office", rules=(Rule("all to the cloud", When(), to=("cloud",)),))
MODELS = hooked("ollama:phi", "openai:gpt")


def kept(facts: Facts, policy: Policy, **changes: Any) -> Kept:
    """A decision as the log gives it back."""
    record = msgspec.json.decode(msgspec.json.encode(decide(facts, policy).verdicts()))
    return Kept(
        {**record, **changes}, msgspec.json.encode(facts, enc_hook=str), msgspec.json.encode(to_mapping(policy)), None
    )


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(pictures(), policies)
def test_a_decision_is_taken_again_from_what_was_kept(facts: Facts, policy: Policy) -> None:
    one = kept(facts, policy)
    again = decide(*recall(one))
    assert again == decide(facts, policy)
    assert msgspec.json.decode(msgspec.json.encode(again.verdicts())) == one.record


def test_a_preset_needs_not_to_be_kept() -> None:
    one = kept(picture(MODELS), PRESETS["best"])._replace(policy=None)
    assert recall(one).policy == PRESETS["best"]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(pictures(), policies)
def test_what_an_earlier_version_did_not_write_down_changes_nothing(facts: Facts, policy: Policy) -> None:
    """It knew neither of memory, nor of queues of others, nor of scarce energy; its decisions come out as they did."""
    models = tuple(replace(each, fit=None, queue=0) for each in facts.models)
    reports = {name: replace(report, sparing=False) for name, report in facts.reports.items()}
    one = kept(replace(facts, models=models, reports=reports), policy)
    written = msgspec.json.decode(one.facts)
    for each in written["models"]:
        del each["fit"], each["queue"]
    for report in written["reports"].values():
        del report["sparing"]
    earlier = one._replace(facts=msgspec.json.encode(written))
    assert recall(earlier) == recall(one)
    found = check([Case(*recall(earlier), one.record)])
    assert found.same + found.skipped.total() == 1  # skipped: a rule listens for words that nobody listened for then


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"policy": None}, "its policy was not kept"),
        ({"policy": b"{"}, "its policy cannot be read"),
        ({"policy": b'{"name": "office", "later": 1}'}, "its policy cannot be read"),
        ({"policy": b'{"name": "another"}'}, "its policy cannot be read"),
        ({"facts": b'{"now": 1.0}'}, "its facts cannot be read"),
        ({"record": EARLIER}, "written by an earlier version"),
    ],
    ids=["gone", "broken", "of a later version", "another one", "facts", "earlier"],
)
def test_what_cannot_be_taken_again_says_why(change: dict[str, Any], why: str) -> None:
    one = kept(picture(MODELS), OWN)._replace(**change)
    with pytest.raises(Forgotten, match=why):
        recall(one)
    assert what_would_change(one) is None


def test_the_facts_alone_are_enough_for_another_policy() -> None:
    facts = picture(MODELS)
    assert recall_facts(kept(facts, OWN)._replace(policy=None)) == facts


def test_it_is_told_with_what_would_have_changed_it() -> None:
    told = tell(
        kept(picture(MODELS, complexity=replace(picture(MODELS).asked.complexity, score=0.9)), PRESETS["balanced"])
    )
    assert told.startswith("openai:gpt (cloud) was chosen: complex prompt (0.90), tier 2 of 2.\n")
    assert "\n  With a simpler prompt (below 0.50), it would have stayed on ollama:phi.\n" in told
    assert max(map(len, tell(kept(picture(MODELS), OWN), 60).splitlines())) <= 60


def test_history_out_of_a_real_file(tmp_path: Path) -> None:
    """Decisions under several policies, one of them of a file, and a row of an earlier version."""
    log = DecisionLog(tmp_path / "oblix.db")

    async def write() -> None:
        for number, policy in enumerate((PRESETS["balanced"], OWN, PRESETS["best"], OWN)):
            facts = replace(picture(MODELS), id=f"01A{number}", now=100.0 + number)
            await log.write_policy(policy.digest, to_mapping(policy))
            await log.write_decision(facts.id, facts.now, decide(facts, policy).verdicts(), facts)
        await log.write_decision("01B", 200.0, EARLIER, {"now": 200.0})

    asyncio.run(write())
    checked = check(cases(log))
    assert (checked.decisions, checked.same, checked.changed) == (5, 4, 0)
    assert checked.skipped == {"written by an earlier version": 1}
    changed = replay(cases(log, PRESETS["balanced"]))
    assert (changed.same, changed.changed) == (1, 3)
    assert [type(each) for each in cases(log, since=103.0)] == [Case, Skipped]
    log.close()


def test_a_decision_that_comes_out_otherwise_is_seen() -> None:
    """The control: a record that its facts do not lead to."""
    one = kept(picture(MODELS), PRESETS["balanced"], plan=["openai:gpt", "ollama:phi"], chosen="openai:gpt")
    past = recall(one)
    report = check([Case(past.facts, past.policy, one.record)])
    assert (report.same, report.changed) == (0, 1)
    assert asdict(report)["changed"] == 1
