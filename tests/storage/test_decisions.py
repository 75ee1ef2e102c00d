"""The log of decisions: a real file, several processes, and everything that can happen to a file."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import textwrap
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from oblix.decision.decide import decide
from oblix.decision.facts import Asked, Complexity, Facts, ModelFacts
from oblix.decision.policy import PRESETS, Policy
from oblix.decision.policy_table import to_mapping
from oblix.decision.replay import Case, Skipped
from oblix.errors import ConfigurationError
from oblix.storage import jobs
from oblix.storage.cases import cases
from oblix.storage.decisions import DecisionLog, Kept, Timed
from oblix.storage.sqlite import MIGRATIONS, open_file
from oblix.storage.store import Store
from oblix.types.spec import FREE, ModelSpec


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "oblix.db"


@pytest.fixture
def log(path: Path) -> DecisionLog:
    made = DecisionLog(path)
    made.open()
    return made


def write(log: DecisionLog, decision_id: str, at: float = 1.0, **record: Any) -> None:
    asyncio.run(log.write_decision(decision_id, at, {"id": decision_id, **record}, {"now": at}))


def end(log: DecisionLog, decision_id: str, at: float = 2.0, **record: Any) -> None:
    asyncio.run(log.write_outcome(decision_id, at, record))


def test_a_decision_is_found_by_its_id_by_its_start_and_as_the_last(log: DecisionLog) -> None:
    write(log, "01AAA1", n=1)
    write(log, "01AAA2", n=2)
    write(log, "01BBB3", n=3)
    first = ({"id": "01AAA1", "n": 1}, None)
    assert log.find("01AAA1") == first
    assert log.find("01aaa1") == first
    assert log.find("01B") == ({"id": "01BBB3", "n": 3}, None)
    assert log.find("last") == ({"id": "01BBB3", "n": 3}, None)
    assert log.find("01A") is None  # two begin so
    assert log.find("02") is None
    assert log.find("01AAA1x") is None


def test_an_empty_log_has_nothing(log: DecisionLog) -> None:
    assert log.find("last") is None
    assert log.find("01") is None
    assert log.find("%") is None


def test_outcomes_are_appended_and_the_latest_is_told(log: DecisionLog) -> None:
    write(log, "01A")
    end(log, "01A", 2.0, error="first")
    end(log, "01A", 3.0, error="second")
    end(log, "01B", 9.0, error="another's")
    assert log.find("01A") == ({"id": "01A"}, {"error": "second"})


def test_several_outcomes_go_in_at_once(log: DecisionLog) -> None:
    for name in ("01A", "01B"):
        write(log, name)
    asyncio.run(log.write_outcomes([("01A", 2.0, {"n": 1}), ("01B", 2.0, {"n": 2})]))
    assert [log.find(name) for name in ("01A", "01B")] == [({"id": "01A"}, {"n": 1}), ({"id": "01B"}, {"n": 2})]


def test_outcomes_are_written_without_a_loop_as_well(log: DecisionLog) -> None:
    """At the end of a program."""
    errors: list[BaseException] = []
    write(log, "01A")
    log.post_outcomes([("01A", 2.0, {"n": 1})], errors.append)
    assert (log.find("01A"), errors) == (({"id": "01A"}, {"n": 1}), [])
    log.post_outcomes([("01A", 3.0, {"n": object})], errors.append)
    assert log.find("01A") == ({"id": "01A"}, {"n": "<class 'object'>"})
    log.post_outcomes([("01A", None, {})], errors.append)  # type: ignore[list-item]
    assert [type(each) for each in errors] == [apsw.ConstraintError]


def test_the_callers_own_names_are_found_as_they_are(log: DecisionLog) -> None:
    """`request_id="job-1"` sorts after all ids of ours, and was not found in lower case."""
    write(log, "job-1", 1.0)
    write(log, "01AAA", 2.0)
    assert log.find("job-1") == ({"id": "job-1"}, None)
    assert log.find("last") == ({"id": "01AAA"}, None)


def test_a_name_that_is_used_again_keeps_both_decisions(log: DecisionLog) -> None:
    """A program that tries again under its own name."""
    write(log, "job-1", 1.0, n=1)
    end(log, "job-1", 2.0, error="failed")
    write(log, "job-1", 3.0, n=2)
    assert log.find("job-1") == ({"id": "job-1", "n": 2}, None)
    end(log, "job-1", 4.0, error=None)
    assert log.find("job-1") == ({"id": "job-1", "n": 2}, {"error": None})


def test_what_an_agent_measured_may_be_of_any_kind(log: DecisionLog) -> None:
    write(log, "01A", metrics={"path": Path("/tmp"), "kind": int, "set": {1}, "nan": float("nan"), 3: 4})
    found = log.find("01A")
    assert found is not None
    assert found[0]["metrics"] == {"path": "/tmp", "kind": "<class 'int'>", "set": [1], "nan": None, "3": 4}


def test_it_is_there_when_the_file_is_opened_again(log: DecisionLog, path: Path) -> None:
    write(log, "01A")
    log.close()
    log.close()
    assert not log.is_open
    again = DecisionLog(path)
    assert again.find("last") == ({"id": "01A"}, None)
    again.close()


def test_it_opens_itself_at_the_first_write(path: Path) -> None:
    log = DecisionLog(str(path))
    write(log, "01A")
    assert log.is_open
    log.close()


def test_the_folder_is_for_its_owner_only(log: DecisionLog, path: Path) -> None:
    assert path.parent.stat().st_mode & 0o077 == 0


def test_it_works_in_memory() -> None:
    log = DecisionLog(":memory:")
    for number in range(405):
        write(log, f"01A{number:05}")
    assert log.find("01A00003") == ({"id": "01A00003"}, None)


# --- trouble ---


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"{}", b'{"id": ', b"[]", b"7"])
def test_what_is_damaged_within_a_row_costs_that_row_alone(
    body: bytes, log: DecisionLog, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """To SQLite any bytes are well."""
    for name in ("01A", "01B", "01C"):
        write(log, name)
        attempts = [{"model_id": name, "outcome": "ok", "total": 1.0}]
        asyncio.run(log.write_outcome(name, 2.0, {"attempts": attempts}))
    with closing(apsw.Connection(str(path))) as db:
        db.execute("UPDATE decision SET record = ? WHERE id = '01B'", (body,))
        db.execute("UPDATE outcome SET record = ? WHERE decision_id = '01B'", (body,))
    assert [each.record["id"] for each in log.decisions()] == ["01A", "01C"]
    assert [each.model_id for each in log.recent_timings()] == ["01A", "01C"]
    with pytest.raises(ConfigurationError, match="cannot be read"):
        log.find("01B")
    with closing(apsw.Connection(str(path))) as db:
        db.execute("UPDATE outcome SET record = ? WHERE decision_id = '01C'", (body,))
    assert log.find("01C") == ({"id": "01C"}, None)
    (told,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert told.startswith("a decision is passed over, because it is damaged: ")


def test_another_process_that_holds_the_file_is_waited_for(log: DecisionLog, path: Path) -> None:
    """Without blocking the loop: the other one lets go while we wait."""
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")

    async def main() -> None:
        writing = asyncio.create_task(log.write_decision("01A", 1.0, {"id": "01A"}, {}))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not writing.done()
        other.execute("COMMIT")
        await writing

    asyncio.run(main())
    assert log.find("01A") is not None
    other.close()


def test_a_file_that_stays_locked_is_an_error_after_a_while(
    log: DecisionLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PATIENCE", 0.01)
    other = apsw.Connection(str(path))
    other.execute("BEGIN EXCLUSIVE")

    async def main() -> None:
        with pytest.raises(apsw.BusyError):
            await log.write_decision("01A", 1.0, {}, {})
        with pytest.raises(apsw.BusyError):
            await log.write_outcomes([("01A", 1.0, {}), ("01B", 1.0, {})])

    asyncio.run(main())
    other.execute("ROLLBACK")
    write(log, "01B")
    assert log.find("01A") is None
    other.close()


def test_a_record_that_cannot_be_read_is_a_clear_error(log: DecisionLog, path: Path) -> None:
    write(log, "01A")
    other = apsw.Connection(str(path))
    other.execute("UPDATE decision SET record = x'00'")
    with pytest.raises(ConfigurationError, match=r"The data file .* cannot be read"):
        log.find("last")
    other.execute("DROP TABLE decision")
    other.close()
    with pytest.raises(ConfigurationError, match="no such table"):
        log.find("last")


def test_a_file_of_a_newer_version_is_left_alone(path: Path, log: DecisionLog) -> None:
    log.close()
    newer = apsw.Connection(str(path))
    newer.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    newer.close()
    with pytest.raises(ConfigurationError, match="written by a newer Oblix") as failed:
        DecisionLog(path).open()
    assert failed.value.hint == "Update openoblix, or set OBLIX_HOME to another folder."


def test_a_migration_that_fails_leaves_the_file_as_it_was(
    path: Path, log: DecisionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(log, "01A")
    log.close()
    broken = (*MIGRATIONS, "CREATE TABLE new (a); INSERT INTO nowhere VALUES (1);")
    with monkeypatch.context() as patch:
        patch.setattr("oblix.storage.sqlite.MIGRATIONS", broken)
        with pytest.raises(apsw.SQLError, match="no such table: nowhere"):
            open_file(path)
    again = DecisionLog(path)
    assert again.find("last") == ({"id": "01A"}, None)
    db = apsw.Connection(str(path))
    assert db.execute("PRAGMA user_version").fetchall() == [(len(MIGRATIONS),)]
    assert db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'new'").fetchall() == [(0,)]
    db.close()
    again.close()


def test_the_settings_of_the_file_are_as_said(path: Path) -> None:
    """A statement list is only run as far as its rows are taken."""
    db = open_file(path)
    settings = [
        db.execute(f"PRAGMA {name}").fetchone() for name in ("journal_mode", "synchronous", "wal_autocheckpoint")
    ]
    assert settings == [("wal",), (1,), (0,)]
    db.close()


WRITER = """
    import asyncio, sys
    from oblix.storage.decisions import DecisionLog

    async def main(path, name):
        log = DecisionLog(path)
        await asyncio.to_thread(log.open)
        for number in range(150):
            await log.write_decision(f"{name}{number:04}", float(number), {"by": name}, {})
            await log.write_outcome(f"{name}{number:04}", float(number), {"by": name})
        log.close()

    asyncio.run(main(*sys.argv[1:]))
"""


def test_several_processes_create_and_write_one_file_at_once(path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(WRITER), str(path), name],
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("A", "B", "C")
    ]
    for writer in writers:
        assert writer.communicate(timeout=120)[1] == ""
        assert writer.returncode == 0
    db = apsw.Connection(str(path))
    for table in ("decision", "outcome"):
        assert db.execute(f"SELECT count(*) FROM {table}").fetchall() == [(450,)]
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()


def test_a_disk_that_is_full_is_an_error_of_its_own_and_loses_nothing_that_was_written(path: Path) -> None:
    """A limit on file sizes stands for the disk."""
    ran = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            textwrap.dedent("""
                import asyncio, resource, sys
                import apsw
                from oblix.storage.decisions import DecisionLog

                async def main(path):
                    log = DecisionLog(path)
                    await log.write_decision("01A", 1.0, {"id": "01A"}, {})
                    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
                    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
                    try:
                        for number in range(1000):
                            await log.write_decision(f"01B{number}", 2.0, {"padding": "x" * 5000}, {})
                    except apsw.Error as error:
                        print(type(error).__name__)
                    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
                    await log.write_decision("01C", 3.0, {"id": "01C"}, {})
                    print(log.find("01A"), log.find("last"))
                    log.close()

                asyncio.run(main(sys.argv[1]))
            """),
            str(path),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[0] in ("FullError", "IOError")
    assert ran.stdout.splitlines()[1] == "({'id': '01A'}, None) ({'id': '01C'}, None)"


def test_a_log_that_is_closed_while_a_row_waits_for_its_turn_writes_it_first(path: Path, log: DecisionLog) -> None:
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")

    async def main() -> None:
        writing = asyncio.create_task(log.write_decision("01A", 1.0, {"id": "01A"}, {"now": 1.0}))
        await asyncio.sleep(0)
        closing = asyncio.create_task(asyncio.to_thread(log.close))
        await asyncio.sleep(0)
        other.execute("ROLLBACK")
        await asyncio.gather(writing, closing)

    asyncio.run(main())
    other.close()
    assert not log.is_open
    assert log.find("01A") == ({"id": "01A"}, None)


# --- reading ---


def test_a_policy_is_kept_once_and_found_with_its_decisions(log: DecisionLog, path: Path) -> None:
    asyncio.run(log.write_policy("d1", {"name": "first"}))
    asyncio.run(log.write_policy("d1", {"name": "again"}))
    write(log, "01A", policy_digest="d1")
    write(log, "01B", policy_digest="d2")
    first, second = log.look_up("01A"), log.look_up("01B")
    assert first == Kept({"id": "01A", "policy_digest": "d1"}, b'{"now":1.0}', b'{"name":"first"}', None)
    assert second is not None
    assert second.policy is None


def test_all_decisions_come_one_by_one_the_newest_last(log: DecisionLog) -> None:
    asyncio.run(log.write_policy("d1", {}))
    for number in range(5):
        write(log, f"job-{9 - number}", float(number), policy_digest="d1")
        end(log, f"job-{9 - number}", number + 0.5, n=number)
    stream = log.decisions(2.0)
    first = next(stream)
    write(log, "job-0", 9.0)  # while it is being read
    assert (first.record["id"], first.outcome, first.policy) == ("job-7", {"n": 2}, b"{}")
    assert [kept.record["id"] for kept in stream] in (["job-6", "job-5"], ["job-6", "job-5", "job-0"])
    assert len(list(log.decisions())) == 6


def test_a_name_that_is_used_again_has_an_outcome_for_each(log: DecisionLog) -> None:
    write(log, "job-1", 1.0)
    write(log, "job-1", 3.0)
    end(log, "job-1", 4.0, n="second")
    assert [kept.outcome for kept in log.decisions()] == [None, {"n": "second"}]
    write(log, "job-2", 5.0)
    end(log, "job-2", 5.5, n="first")
    write(log, "job-2", 6.0)
    assert [kept.outcome for kept in log.decisions(5.0)] == [{"n": "first"}, None]


def test_a_log_that_cannot_be_read_is_a_clear_error_in_the_middle_as_well(log: DecisionLog, path: Path) -> None:
    write(log, "01A")
    other = apsw.Connection(str(path))
    other.execute("DROP TABLE outcome")
    other.close()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        list(log.decisions())
    with pytest.raises(ConfigurationError, match="cannot be read"):
        log.recent_timings()


def attempt(model_id: str, outcome: str, total: float, **known: Any) -> dict[str, Any]:
    return {"model_id": model_id, "outcome": outcome, "total": total, "why": None, **known}


def test_recent_timings_are_of_attempts_that_succeeded_the_newest_last(log: DecisionLog) -> None:
    end(log, "01A", attempts=[attempt("a", "ok", 1.0, first_token=0.5, load=2.0, input_tokens=9, output_tokens=3)])
    end(log, "01B", attempts=[attempt("a", "failed", 2.0), attempt("b", "ok", 3.0)], metrics={"x": [1]}, error=None)
    end(log, "01C", attempts=[])
    end(log, "01D", attempts=[attempt("c", "ok", 4.0)])
    found = [Timed("a", 1.0, 0.5, 2.0, 9, 3), Timed("b", 3.0), Timed("c", 4.0)]
    assert log.recent_timings() == found
    assert log.recent_timings(2) == found[2:]  # of the latest two outcomes


# --- earlier versions ---


def earlier_file(path: Path) -> None:
    """A file as the version before this one made it, by the SQL of its only migration."""
    path.parent.mkdir(parents=True)
    db = apsw.Connection(str(path))
    db.execute(MIGRATIONS[0])
    db.execute("PRAGMA user_version = 1")
    record = {"id": "01A", "at": 1.0, "chosen": "ollama:phi", "place": "edge", "plan": ["ollama:phi"], "private": False}
    db.execute("INSERT INTO decision VALUES (?, ?, ?, ?)", ("01A", 1.0, json.dumps(record).encode(), b'{"now": 1.0}'))
    db.execute("INSERT INTO outcome VALUES ('01A', 2.0, ?)", (b'{"attempts": []}',))
    db.close()


def test_a_file_of_the_first_version_is_brought_to_this_one_and_keeps_its_rows(path: Path) -> None:
    earlier_file(path)
    log = DecisionLog(path)
    kept = log.look_up("last")
    assert kept is not None
    assert (kept.record["place"], kept.policy, kept.outcome) == ("edge", None, {"attempts": []})
    asyncio.run(log.write_policy("d1", {"name": "first"}))
    write(log, "01B", policy_digest="d1")
    assert [each.policy for each in log.decisions()] == [None, b'{"name":"first"}']
    log.close()
    db = apsw.Connection(str(path))
    assert db.execute("PRAGMA user_version").fetchall() == [(len(MIGRATIONS),)]
    db.close()


def test_a_file_that_is_locked_for_good_is_given_up_after_a_while(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup tool, or a database browser."""
    monkeypatch.setattr(jobs, "PATIENCE", 0.01)
    path.parent.mkdir()
    other = apsw.Connection(str(path))
    other.execute("PRAGMA locking_mode = EXCLUSIVE; CREATE TABLE theirs (x)").fetchall()
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(apsw.BusyError):
        open_file(path)
    with pytest.raises(ConfigurationError, match="cannot be used: database is locked"):
        DecisionLog(path).open()
    other.close()


def test_a_store_stays_open_for_its_other_users(path: Path) -> None:
    data = Store(path)
    log = DecisionLog(data)
    write(log, "01A")
    log.close()
    assert data.is_open
    data.close()


def test_what_goes_in_with_a_decision_goes_in_with_it_or_not_at_all(log: DecisionLog) -> None:
    def also(db: apsw.Connection) -> str:
        db.execute("INSERT INTO policy VALUES ('also', x'7b7d')")
        return "done"

    async def main() -> None:
        assert await log.write_decision("01A", 1.0, {"id": "01A"}, {}, also=also) == "done"
        with pytest.raises(apsw.ConstraintError):
            await log.write_decision("01B", 1.0, {"id": "01B"}, {}, also=also)

    asyncio.run(main())
    assert log.find("01A") is not None
    assert log.find("01B") is None


def facts_and_policy(name: str) -> tuple[Facts, Policy]:
    models = tuple(
        ModelFacts(ModelSpec(f"ollama:{each}", "ollama", each, "edge", order=order, price=FREE))
        for order, each in enumerate(("phi", "llama"))
    )
    return Facts(name, 1.0, Asked(20, 300, Complexity(0.1)), models), replace(
        PRESETS["balanced"], name="mine", edge=2.0
    )


@pytest.mark.another_mind  # the policy of one is not kept
def test_decisions_come_as_cases_for_another_policy_with_or_without_their_own_rules(log: DecisionLog) -> None:
    async def main() -> None:
        for name, keeps in (("01A", True), ("01B", False)):
            facts, policy = facts_and_policy(name)
            if keeps:
                await log.write_policy(policy.digest, to_mapping(policy))
            else:
                policy = replace(policy, edge=3.0)
            await log.write_decision(name, 1.0, decide(facts, policy).verdicts(), facts)

    asyncio.run(main())
    own = list(cases(log))
    assert [type(each) for each in own] == [Case, Skipped]
    for keeps_rules in (True, False):
        others = list(cases(log, PRESETS["cheapest"], keeps_rules=keeps_rules))
        assert all(isinstance(each, Case) and each.policy.name == "cheapest" for each in others)
        assert len(others) == 2
