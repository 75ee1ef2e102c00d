"""What is written down, when, and what happens when it cannot be."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from oblix import InvalidRequest, KeyMissing, OblixClient
from oblix.client.record import Recorder
from oblix.decision.decide import decide
from oblix.decision.policy import Rule, When, policy
from oblix.storage import jobs, sqlite
from oblix.storage.decisions import DecisionLog
from oblix.storage.fingerprint import KEY_FILE, fingerprint
from oblix.storage.history import recall
from oblix.storage.origin import APPLICATION_ID
from oblix.storage.store import Store
from oblix.testing import Block, Fail, Wait, run
from oblix.types.request import Request

from .hooked import Says, client_with, cloud, edge
from .outside import program


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log" / "oblix.db"


def rows(file: Path, table: str) -> list[dict[str, Any]]:
    """What another program reads out of the file; the standard library's SQLite is one."""
    db = sqlite3.connect(file)
    try:
        return [json.loads(record) for (record,) in db.execute(f"SELECT record FROM {table} ORDER BY rowid")]
    finally:
        db.close()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_decision_is_in_the_file_before_the_model_is_asked(file: Path) -> None:
    seen: list[tuple[list[dict[str, Any]], list[dict[str, Any]]]] = []

    async def look(request: Request) -> None:
        seen.append((await asyncio.to_thread(rows, file, "decision"), await asyncio.to_thread(rows, file, "outcome")))

    reply = run(client_with(edge([look, "yes"]), cloud(), store=file).execute("What is it?"))
    ((decisions, outcomes),) = seen
    (kept,) = decisions
    assert kept == {**reply.decision.verdicts(), "session_id": None, "tags": [], "prompt": kept["prompt"]}
    assert outcomes == []
    assert rows(file, "decision") == decisions
    (outcome,) = rows(file, "outcome")
    assert outcome["attempts"] == [attempt.to_dict() for attempt in reply.attempts]
    assert outcome["metrics"] == reply.metrics
    assert outcome["error"] is None


def everything(file: Path) -> bytes:
    """All bytes of the data file and of what SQLite keeps beside it."""
    return b"".join(each.read_bytes() for each in file.parent.iterdir() if each.name.startswith(file.name))


def test_no_word_of_the_prompt_or_the_answer_is_in_the_file(file: Path) -> None:
    """Nor is the key, with which one could try out which prompt it was."""
    client = client_with(edge(["xyzzy-answer"], ["again"]), cloud(), store=file)
    client.hook_agent(Says("mine", {"state": "fine"}))
    run(client.execute("xyzzy-prompt", system="xyzzy-system"))
    key = (file.parent / KEY_FILE).read_bytes()
    assert b"xyzzy" not in everything(file)
    assert key not in everything(file)
    assert key.hex().encode() not in everything(file)
    assert fingerprint(key, "xyzzy-prompt").encode() in everything(file)


def test_the_same_prompt_is_recognised_by_its_fingerprint(file: Path) -> None:
    for prompt in ("one", "another", "one"):
        run(client_with(edge("yes"), store=file).execute(prompt, system="be brief"))
    first, second, third = (row["prompt"] for row in rows(file, "decision"))
    assert first == third == {"fingerprint": fingerprint((file.parent / KEY_FILE).read_bytes(), "one")}
    assert second != first


def test_prompts_are_kept_for_who_wants_them(file: Path) -> None:
    client = client_with(edge("yes", "yes"))
    client._hall.recorder = Recorder(Store(file), keep_prompts=True)

    async def main() -> None:
        await client.execute("What is it?")
        await client.execute("half a character: \ud800")
        await client.shutdown()

    run(main())
    assert [row["prompt"] for row in rows(file, "decision")] == [
        {"text": "What is it?"},
        {"text": "half a character: ?"},
    ]


def test_without_a_key_decisions_are_kept_without_fingerprints_which_is_told_once(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.parent.mkdir()
    (file.parent / KEY_FILE).write_bytes(b"no key")

    async def main() -> None:
        client = client_with(edge("yes", "yes", "yes"), store=file)
        await client.execute("hi")
        await client.shutdown()
        await client.execute("hi")
        await client.shutdown()

    run(main())
    assert [row["prompt"] for row in rows(file, "decision")] == [None, None]
    (warning,) = warnings(caplog)
    assert warning.startswith("decisions are kept without a fingerprint of the prompt: ")
    assert "it has 6 bytes, not 32" in warning


def test_a_log_in_memory_leaves_no_key_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(client_with(edge("yes"), store=":memory:").execute("hi"))
    assert list(tmp_path.iterdir()) == []


def policies(file: Path) -> list[tuple[str, str]]:
    db = sqlite3.connect(file)
    try:
        return [(digest, json.loads(body)["name"]) for digest, body in db.execute("SELECT digest, body FROM policy")]
    finally:
        db.close()


def test_a_policy_is_kept_once_for_each_file_before_its_first_decision(file: Path, tmp_path: Path) -> None:
    own = replace(policy("cheapest"), name="office", edge=2.0)

    async def main() -> None:
        for store in (file, file, tmp_path / "other.db"):
            client = client_with(*(edge(["yes"] * 9), cloud(["yes"] * 9)), store=store)
            client.policy = own
            await asyncio.gather(*(client.execute("hi") for _ in range(3)), client.execute("hi", policy="best"))
            await client.shutdown()

    run(main())
    kept = [(own.digest, "office"), (policy("best").digest, "best")]
    assert sorted(policies(file)) == sorted(policies(tmp_path / "other.db")) == sorted(kept)
    assert {row["policy_digest"] for row in rows(file, "decision")} == {digest for digest, _ in kept}


def test_the_facts_and_the_policy_in_the_file_give_the_same_decision_again(file: Path) -> None:
    client = client_with(edge(), cloud(), cloud(name="claude:opus", key="missing"), store=file)
    client.policy = replace(
        policy("cheapest"), name="office", rules=(Rule("mail", When(tags=("mail",)), to=("edge",)),)
    )
    client.hook_agent(Says("mine", {"state": "fine", "target": "cloud", "metrics": {"x": 1.5}}))
    reply = run(client.execute("Compare tea and coffee.", max_cost_usd=1.0, tags=["mail"]))
    log = DecisionLog(file)
    kept = log.look_up("last")
    assert kept is not None
    assert decide(*recall(kept)) == reply.decision
    log.close()


def test_how_long_earlier_answers_took_can_be_asked_for(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        client = client_with(edge([Wait(1.0), "yes"]), store=file)
        await client.execute("hi")
        await client.shutdown()
        ((model_id, timing),) = await Recorder(Store(file)).past()
        assert (model_id, timing.total, timing.first_token) == ("ollama:phi", 1.0, 1.0)
        db = apsw.Connection(str(file))
        db.execute("UPDATE outcome SET record = x'00'")
        assert await Recorder(Store(file)).past() == []
        db.execute("DROP TABLE outcome")
        db.close()
        assert await Recorder(Store(file)).past() == []
        assert await Recorder(Store("/proc/no/oblix.db")).past() == []  # looking back creates no file, and misses none

    run(main())
    assert [warning.split(":")[0] for warning in warnings(caplog)] == ["nothing can be learned from earlier answers"]


def test_failures_refusals_and_leavings_are_written_down_as_well(file: Path) -> None:
    async def main() -> None:
        client = client_with(edge([Fail("connect")], ["half", Block()]), cloud(key="missing"), store=file)
        for wish in ({}, {"model_id": "openai:gpt"}):
            with pytest.raises(Exception, match="No model"):
                await client.execute("hi", **wish)  # type: ignore[arg-type]  # a wish by name
        async with client.stream("hi") as stream:
            await anext(stream)
        await client.shutdown()

    run(main())
    failed, refused, left = rows(file, "outcome")
    assert failed["error"]["code"] == "OBX-ALL-FAILED"
    assert [attempt["kind"] for attempt in failed["attempts"]] == ["connect"]
    assert refused["error"]["code"] == KeyMissing.code
    assert refused["attempts"] == []
    assert left["error"] is None
    assert [attempt["outcome"] for attempt in left["attempts"]] == ["cancelled"]


def test_why_in_plain_words(file: Path) -> None:
    async def main() -> None:
        client = client_with(edge("yes"), cloud("yes"), store=file)
        with pytest.raises(InvalidRequest, match="No decision 'last' is in the log"):
            await client.explain()
        first = await client.execute("What is it?")
        said = await client.explain()
        assert said.startswith("ollama:phi (edge) answered: simple prompt (0.04), tier 1 of 2.\n")
        assert "\n  With a harder prompt (0.50 or above), it would have gone to openai:gpt.\n" in said
        await client.execute("hi", model_id="openai:gpt", request_id="mine")
        assert (await client.explain("mine")).startswith("openai:gpt (cloud) answered: asked for by model_id")
        assert await client.explain("last") == await client.explain("mine")
        assert (await client.explain(first.request_id[:24].lower())).startswith("ollama:phi (edge)")

    run(main())


def test_why_after_a_failure() -> None:
    async def main() -> None:
        client = client_with(edge([Fail("connect", "refused")]), cloud("yes"))
        await client.execute("What is it?")
        said = await client.explain()
        assert said.startswith(
            "openai:gpt answered, after ollama:phi failed (refused). "
            "First choice was ollama:phi: simple prompt (0.04), tier 1 of 2.\n"
        )
        assert "\n  ollama:phi failed at once: refused.\n  openai:gpt answered at once" in said

    run(main())


def test_the_file_is_where_oblix_home_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBLIX_HOME", str(tmp_path / "here"))
    client = OblixClient()
    client.hook(edge())
    run(client.execute("hi"))
    assert len(rows(tmp_path / "here" / "oblix.db", "decision")) == 1


# --- trouble ---


@pytest.mark.parametrize("kind", ["a folder", "no place"])
def test_a_place_that_cannot_be_written_to_costs_no_answer_and_is_told_once(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is asked is known as long as the program runs."""
    file = tmp_path if kind == "a folder" else Path("/proc/no/oblix.db")

    async def main() -> None:
        client = client_with(edge("yes"), store=file)
        replies = await asyncio.gather(*(client.execute("hi") for _ in range(5)))
        assert {reply.response for reply in replies} == {"yes"}
        assert (await client.explain()).startswith("ollama:phi (edge) answered")
        await client.shutdown()

    run(main())
    (warning,) = warnings(caplog)
    assert warning.startswith(
        f"nothing is kept when this program ends: the data file {str(file)!r} cannot be written: "
    )
    assert warning.endswith("Set OBLIX_HOME to a folder that can be written to.")


def test_a_damaged_file_is_put_aside_and_the_log_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "oblix.db"
    file.write_bytes(b"no database at all " * 100)

    async def main() -> None:
        client = client_with(edge("yes"), store=file)
        await asyncio.gather(*(client.execute("hi") for _ in range(5)))
        assert (await client.explain()).startswith("ollama:phi (edge) answered")
        await client.shutdown()

    run(main())
    (error,) = warnings(caplog)
    (aside,) = tmp_path.glob("oblix.db.corrupt-*")
    assert str(file) in error
    assert str(aside) in error
    assert aside.read_bytes() == b"no database at all " * 100
    assert len(rows(file, "decision")) == 5


def test_a_file_of_a_newer_version_costs_no_answer_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at again from time to time."""
    file = tmp_path / "oblix.db"

    def version(number: int) -> None:
        with closing(sqlite3.connect(file)) as db:
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {number}")

    async def main() -> None:
        client = client_with(edge(), store=file)
        for _ in range(3):
            assert (await client.execute("hi")).response == "ok"
        with pytest.raises(InvalidRequest):
            await client.explain()
        await asyncio.to_thread(version, 0)
        await client.execute("hi")
        with pytest.raises(InvalidRequest):
            await client.explain()
        monkeypatch.setattr(client._hall.store, "_refused", None)  # the seconds are over
        await client.execute("hi")
        await client.shutdown()

    version(99)
    run(main())
    (warning,) = warnings(caplog)
    assert warning.startswith(f"decisions are not kept: The data file {str(file)!r} was written by a newer Oblix")
    assert len(rows(file, "decision")) == 1


def test_a_file_that_is_locked_for_long_costs_a_little_and_no_answer(
    file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PATIENCE", 0.01)

    async def main() -> None:
        client = client_with(edge("yes"), store=file)
        await client.execute("hi")
        await client._hall.recorder.find("last")  # what ended is written
        other = apsw.Connection(str(file))
        other.execute("BEGIN IMMEDIATE")
        assert (await client.execute("hi")).response == "yes"
        other.execute("ROLLBACK")
        other.close()
        assert (await client.execute("hi")).response == "yes"
        await client.shutdown()

    run(main())
    (warning,) = warnings(caplog)
    assert "locked" in warning
    assert len(rows(file, "decision")) == 2


def test_a_file_that_is_spoilt_under_our_hands_costs_no_answer(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        client = client_with(edge("yes"), store=file)
        await client.execute("hi")
        for end in ("", "-wal", "-shm"):
            await asyncio.to_thread(Path(f"{file}{end}").write_bytes, b"\x13" * 8192)
        for _ in range(3):
            assert (await client.execute("hi")).response == "yes"
        assert (await client.explain()).startswith("ollama:phi (edge) answered")
        await client.shutdown()

    run(main())
    assert len(warnings(caplog)) <= 2


def test_a_disk_that_is_full_costs_no_answer_and_is_told_once(tmp_path: Path) -> None:
    ran = program(
        """
        import asyncio, logging, resource
        logging.basicConfig(format="%(message)s")
        from oblix import OblixClient
        from oblix.testing import ScriptedModel

        async def main():
            client = OblixClient()
            client.hook(ScriptedModel("ollama:phi", "yes"))
            await client.execute("hi")
            resource.setrlimit(resource.RLIMIT_FSIZE, (65536, resource.RLIM_INFINITY))
            for _ in range(60):
                assert str(await client.execute("hi")) == "yes"
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            await client.execute("hi", request_id="after")
            print(await client.explain("after"))

        asyncio.run(main())
        """,
        tmp_path / "home",
    )
    assert ran.returncode == 0
    assert ran.stdout.startswith("ollama:phi (edge) answered")
    (warning,) = ran.stderr.splitlines()
    assert warning.startswith("a decision could not be written down: ")


def test_a_program_that_asks_for_no_log_gets_none_on_stderr(tmp_path: Path) -> None:
    ran = program(
        """
        import asyncio
        from oblix import OblixClient
        from oblix.agents import BaseAgent
        from oblix.testing import ScriptedModel

        class Broken(BaseAgent):
            async def check(self, **kwargs):
                raise KeyError("slip")

        client = OblixClient(store="/proc/no/oblix.db")
        client.hook(ScriptedModel("ollama:phi", "yes"))
        client.hook_agent(Broken("broken"))
        print(asyncio.run(client.execute("hi")))
        """,
        tmp_path / "home",
    )
    assert (ran.stdout, ran.stderr, ran.returncode) == ("yes\n", "", 0)


def test_two_programs_write_into_one_file(tmp_path: Path) -> None:
    async def one(number: int) -> None:
        ran = await asyncio.to_thread(
            program,
            """
            import asyncio, sys
            from oblix import OblixClient
            from oblix.testing import ScriptedModel

            async def main():
                client = OblixClient(store=sys.argv[1])
                client.hook(ScriptedModel("ollama:phi", "yes"))
                await asyncio.gather(*(client.execute("hi") for _ in range(50)))

            asyncio.run(main())
            """,
            tmp_path / f"home{number}",
            str(tmp_path / "shared.db"),
        )
        assert (ran.returncode, ran.stderr) == (0, ""), number

    async def both() -> None:
        await asyncio.gather(one(1), one(2))

    asyncio.run(both())
    assert len(rows(tmp_path / "shared.db", "decision")) == 100
    assert len(rows(tmp_path / "shared.db", "outcome")) == 100


def test_opening_the_file_is_done_once_for_all_that_wait(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []

    def counting(path: Path | str, **wishes: bool) -> apsw.Connection:
        opened.append(path)
        return sqlite.open_file(path, **wishes)

    monkeypatch.setattr("oblix.storage.opening.open_file", counting)

    async def main() -> None:
        client = client_with(edge([Wait(1.0), "yes"]), store=file)
        first = asyncio.create_task(client.execute("hi"))
        await asyncio.sleep(0)
        rest = [asyncio.create_task(client.execute("hi")) for _ in range(20)]
        await asyncio.sleep(0)
        first.cancel()
        assert {reply.response for reply in await asyncio.gather(*rest)} == {"yes"}
        await client.shutdown()

    run(main())
    assert opened == [file]
    assert len(rows(file, "outcome")) >= 20


def test_what_is_written_with_a_decision_and_whether_it_was(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's message goes in with the decision, or neither does."""
    monkeypatch.setattr(jobs, "PATIENCE", 0.01)
    store = Store(file)
    recorder = Recorder(store)
    thoughts = client_with(edge(), cloud(), store=":memory:")

    def also(db: apsw.Connection) -> None:
        db.execute("INSERT INTO part VALUES ('also', x'7b7d')")

    async def main() -> list[bool]:
        thought = await thoughts.consider("What is it?")
        before = (thought.decision, thought.facts, thought.policy, thought.request)
        said = [await recorder.decided(*before, also=also)]
        said.append(await recorder.decided(*before, also=also))  # the same again is refused, and the decision with it
        said.append(await recorder.decided(*before))
        other = apsw.Connection(str(file))
        other.execute("BEGIN IMMEDIATE")
        said.append(await recorder.decided(*before))
        other.close()
        await recorder.close()
        await store.shut()
        await thoughts.shutdown()
        unusable = Recorder(Store(file))
        with closing(sqlite3.connect(file)) as db:
            db.execute("PRAGMA user_version = 99")
        return [*said, await unusable.decided(*before)]

    assert asyncio.run(main()) == [True, False, True, False, False]
    assert len(rows(file, "decision")) == 2


def test_outcomes_do_not_pile_up_while_the_disk_hangs(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oblix.client.record.MOST_ENDED", 5)
    recorder = Recorder(Store(file))
    thoughts = client_with(edge(), cloud(), store=":memory:")

    async def main() -> None:
        thought = await thoughts.consider("What is it?")
        for n in range(20):
            recorder.ended(thought.decision, [], at=float(n))
        await recorder.close()
        await recorder.store.shut()
        await thoughts.shutdown()

    run(main())
    assert len(rows(file, "outcome")) == 5
