"""What decisions have in common is kept once, and comes back with each of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import msgspec
import pytest

from oblix.decision.facts import Asked, Complexity, Facts, ModelFacts
from oblix.storage import decisions, jobs, parts
from oblix.storage.decisions import DecisionLog
from oblix.storage.history import Forgotten, recall_facts
from oblix.types.report import AgentReport
from oblix.types.spec import ModelSpec


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "oblix.db"


@pytest.fixture
def log(path: Path) -> DecisionLog:
    return DecisionLog(path)


def facts_of(*reports: AgentReport) -> Facts:
    spec = ModelSpec("ollama:phi", "ollama", "phi", "edge", endpoint="http://localhost:11434")
    named = {f"agent {n}": report for n, report in enumerate(reports)}
    return Facts("01A", 1.0, Asked(3, 300, Complexity(0.1)), (ModelFacts(spec, busy=1), ModelFacts(spec)), named)


def decide_on(log: DecisionLog, decision_id: str, facts: Facts) -> None:
    asyncio.run(log.write_decision(decision_id, 1.0, {"id": decision_id}, facts))


def test_a_spec_and_a_report_are_kept_once_for_all_decisions(log: DecisionLog, path: Path) -> None:
    """They are most of a row: five hundred bytes each, the same at every prompt."""
    free, busy = AgentReport(state="available", metrics={"cpu_percent": 3.0}), AgentReport(state="critical")
    for name, facts in (("01A", facts_of(free)), ("01B", facts_of(free, busy)), ("01C", facts_of(free, busy))):
        decide_on(log, name, facts)
        kept = log.look_up(name)
        assert kept is not None
        assert msgspec.json.decode(kept.facts, type=Facts) == facts
    assert [kept.record["id"] for kept in log.decisions()] == ["01A", "01B", "01C"]
    assert all(msgspec.json.decode(kept.facts, type=Facts).reports["agent 0"] == free for kept in log.decisions())
    with apsw.Connection(str(path)) as db:
        assert db.execute("SELECT count(*) FROM part").fetchall() == [(3,)]
    found = log.find("01B")
    assert found is not None
    assert found[0]["checks"]["agent 1"]["state"] == "critical"


def test_an_equal_report_of_another_reading_is_no_second_part(log: DecisionLog, path: Path) -> None:
    for name in ("01A", "01B"):
        decide_on(log, name, facts_of(AgentReport(state="available")))
    with apsw.Connection(str(path)) as db:
        assert db.execute("SELECT count(*) FROM part").fetchall() == [(2,)]


def test_parts_that_could_not_be_written_come_with_the_next_decision(
    log: DecisionLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PATIENCE", 0.01)
    log.open()
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(apsw.BusyError):
        decide_on(log, "01A", facts_of(AgentReport(state="available")))
    other.close()
    facts = facts_of(AgentReport(state="available"))
    decide_on(log, "01B", facts)
    kept = log.look_up("01B")
    assert kept is not None
    assert msgspec.json.decode(kept.facts, type=Facts) == facts


def test_a_file_opened_anew_gets_its_parts_again(log: DecisionLog, path: Path) -> None:
    facts = facts_of(AgentReport(state="available"))
    decide_on(log, "01A", facts)
    log.close()
    path.unlink()
    decide_on(log, "01B", facts)
    kept = log.look_up("01B")
    assert kept is not None
    assert msgspec.json.decode(kept.facts, type=Facts) == facts


def test_facts_whose_part_is_gone_are_told_as_unreadable(log: DecisionLog, path: Path) -> None:
    decide_on(log, "01A", facts_of())
    with apsw.Connection(str(path)) as db:
        db.execute("DELETE FROM part")
    kept = log.look_up("01A")
    assert kept is not None
    with pytest.raises(Forgotten, match="cannot be read"):
        recall_facts(kept)


def test_more_parts_than_are_remembered(log: DecisionLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MOST", 3)
    monkeypatch.setattr(decisions, "MOST_PARTS", 2)
    all_ = [facts_of(AgentReport(state=f"state {n}")) for n in range(10)]
    for n, facts in enumerate(all_):
        decide_on(log, f"01{n}", facts)
    assert [msgspec.json.decode(kept.facts, type=Facts) for kept in log.decisions()] == all_


def test_a_file_that_cannot_be_written_keeps_nothing_in_memory(
    log: DecisionLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every reading of a sensor is another report; while a disk was full, all of them were kept for later."""
    monkeypatch.setattr(jobs, "PATIENCE", 0.0)
    log.open()
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    for n in range(50):
        with pytest.raises(apsw.BusyError):
            decide_on(log, f"01{n}", facts_of(AgentReport(state=f"state {n}")))
    other.close()
    assert not log._parts._unwritten
    assert not log._parts._named


def test_a_part_that_another_decision_is_about_to_write_is_written_with_this_one_as_well() -> None:
    facts, known = facts_of(AgentReport(state="available")), parts.Parts(msgspec.json.encode)
    _, first = known.split(facts)
    _, second = known.split(facts)
    assert first == second
    assert len(first) == 2
    known.wrote(first)
    assert known.split(facts)[1] == {}


def test_what_is_no_object_stays_as_it_is() -> None:
    assert parts.whole(b'[{"part":"x"}]', lambda digest: b"{}") == b'[{"part":"x"}]'
