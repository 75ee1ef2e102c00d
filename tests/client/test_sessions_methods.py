"""Sessions across clients and processes: private ones, broken files, and all that can be done with them."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest

from oblix import (
    InvalidRequest,
    OblixClient,
    Reply,
    Screening,
    StreamBroken,
)
from oblix.client import memory
from oblix.testing import Cut, ScriptedModel, Wait, run
from oblix.types.request import Request

from .hooked import client_with, cloud, edge
from .outside import program
from .talks import asked, kept

OPEN = Path("/proc/self/fd")

# --- private ones ---


def test_a_private_turn_keeps_later_ones_at_home_in_any_client(tmp_path: Path) -> None:
    async def main() -> None:
        def made() -> tuple[OblixClient, ScriptedModel]:
            away = cloud("away")
            return client_with(edge("home"), away, store=tmp_path / "d.db", policy="best"), away

        client, away = made()
        async with client:
            assert str(await client.execute("My ward is 12.", session_id="s1", private=True)) == "home"
        client, away = made()
        async with client:
            reply = await client.execute("And what now?", session_id="s1")
            assert (reply.response, reply.decision.privacy.label) == ("home", "private")
            assert not away.requests
            assert str(await client.execute("And what now?", session_id="s2")) == "away"

    asyncio.run(main())


def test_a_private_turn_that_fails_is_kept_as_private(tmp_path: Path) -> None:
    async def main() -> None:
        client = client_with(edge(["My", Cut()]), store=tmp_path / "d.db")
        with pytest.raises(StreamBroken):
            async with client.stream("secret", session_id="s1", private=True) as stream:
                await stream.reply()
        found = client.load_session("s1")
        assert found is not None
        assert [each["private"] for each in found["messages"]] == [True, True]
        assert found["title"] == ""  # a list of sessions is no place for it
        await client.shutdown()

    asyncio.run(main())


# --- what can be done with them ---


def test_the_documented_shapes(tmp_path: Path) -> None:
    async def main() -> Any:
        client = client_with(edge("Paris."), store=tmp_path / "d.db")
        session = await client.create_session("Capitals", {"topic": "geography"}, {"project": "atlas"})
        await client.execute("France?", session_id=session)
        listed = client.list_sessions(limit=10, filter_metadata={"project": "atlas"})
        assert [
            set(each) >= {"id", "title", "created_at", "updated_at", "message_count", "metadata"} for each in listed
        ] == [True]
        assert (listed[0]["id"], listed[0]["title"], listed[0]["message_count"]) == (session, "Capitals", 2)
        assert client.list_sessions(filter_metadata={"project": "other"}) == []
        loaded = client.load_session(session)
        assert loaded is not None
        assert set(loaded) >= {"id", "created_at", "updated_at", "title", "messages", "context", "metadata"}
        assert loaded["context"] == {"topic": "geography"}
        assert set(loaded["messages"][0]) >= {"id", "role", "content", "timestamp"}
        assert client.update_session_metadata(session, {"done": True})
        assert client.get_session_metadata(session) == {"project": "atlas", "done": True}
        assert client.rename_session(session, "Cities")
        found = await client.search_sessions("paris")
        assert [(each["session_id"], each["role"]) for each in found] == [(session, "assistant")]
        assert client.find_session(session[:8]) == session

        file = tmp_path / "session.json"
        assert await client.export_session(session, file_path=file)
        again = await client.import_session(file, use_immediately=True)
        assert again not in (None, session)
        assert client.current_session_id == again
        merged = await client.merge_sessions(session_ids=[session, str(again)], title="Both")
        assert merged is not None
        assert [text for _, text, _ in kept(client, merged)] == ["France?", "France?", "Paris.", "Paris."]
        copied = await client.copy_session(session, new_title="Copy")
        assert copied is not None
        assert kept(client, copied) == kept(client, session)
        forked = await client.fork_session(session, loaded["messages"][0]["id"])
        assert forked is not None
        assert [text for _, text, _ in kept(client, forked)] == ["France?"]
        assert client.delete_session(session)
        assert not client.delete_session(session)
        assert client.load_session(session) is None
        await client.shutdown()

    asyncio.run(main())


def test_a_session_that_is_not_there() -> None:
    async def main() -> None:
        client = client_with(edge())
        assert client.load_session("x") is None
        assert client.get_session_metadata("x") is None
        assert not client.update_session_metadata("x", {})
        assert not client.use_session("x")
        assert not client.delete_session("x")
        assert not client.rename_session("x", "y")
        assert not client.pin_message("x", "y")
        assert not await client.export_session("x", "never.json")
        assert await client.copy_session("x") is None
        assert await client.fork_session("x", "y") is None
        assert await client.merge_sessions(["x", "y"]) is None
        assert await client.search_sessions('"*(') == []

    run(main())


def test_plain_methods_work_without_a_loop(tmp_path: Path) -> None:
    async def talk() -> Reply:
        async with client_with(edge("ok"), store=tmp_path / "d.db") as client:
            return await client.execute("hi", session_id="s1")

    asyncio.run(talk())
    client = OblixClient(store=tmp_path / "d.db")
    assert [each["id"] for each in client.list_sessions()] == ["s1"]
    assert client.use_session("s1")
    assert client.update_session_metadata("s1", {"a": 1})
    assert client.get_session_metadata("s1") == {"a": 1}
    assert client.delete_session("s1")
    assert client.current_session_id is None
    assert client.list_sessions() == []


def test_chat_once_goes_on_with_the_same_session() -> None:
    async def main() -> None:
        model = edge("one", "two")
        client = client_with(model)
        first = await client.chat_once("hello")
        second = await client.chat_once("again")
        assert first["session_id"] == second["session_id"] == client.current_session_id
        assert asked(model) == ["user: hello", "assistant: one", "user: again"]
        assert (await client.chat_once("elsewhere", session_id="other")).session_id == "other"

    run(main())


def test_route_looks_at_the_conversation_and_writes_nothing() -> None:
    async def main() -> None:
        client = client_with(edge("home"), cloud("away"))
        await client.execute("secret", session_id="s1", private=True)
        decision = await client.route("And now?", session_id="s1")
        assert decision.privacy.label == "private"
        assert len(kept(client, "s1")) == 2
        assert await client.route("And now?", session_id="new")
        assert client.load_session("new") is None

    run(main())


def test_a_question_of_a_process_that_was_killed_is_given_up(tmp_path: Path) -> None:
    ran = program(
        """
        import asyncio, os, signal
        from oblix import OblixClient
        from oblix.testing import ScriptedModel

        client = OblixClient()
        client.hook(ScriptedModel("ollama:phi", [lambda request: os.kill(os.getpid(), signal.SIGKILL)]))
        asyncio.run(client.execute("one", session_id="s1"))
        """,
        tmp_path,
    )
    assert ran.returncode == -9

    async def main() -> None:
        model = edge("whole")
        client = client_with(model, store=tmp_path / "oblix.db")
        await client.execute("two", session_id="s1")
        assert asked(model) == ["user: two"]
        assert kept(client, "s1")[0] == ("user", "one", "incomplete")
        await client.shutdown()

    asyncio.run(main())


def test_another_process_that_spoke_meanwhile_is_heard(tmp_path: Path) -> None:
    """What a client has in mind of a session holds only as long as nobody else changes it."""

    async def main() -> None:
        mine, theirs = edge("one", "three", "five", "seven"), edge("two")
        client, other = client_with(mine, store=tmp_path / "d.db"), client_with(theirs, store=tmp_path / "d.db")
        for each, prompt in ((client, "1"), (client, "3"), (other, "2"), (client, "5")):
            await each.execute(prompt, session_id="s1")
        assert [text.partition(": ")[2] for text in asked(mine)] == ["1", "one", "3", "three", "2", "two", "5"]
        other.delete_session("s1")
        await client.execute("7", session_id="s1")
        assert asked(mine) == ["user: 7"]
        await client.shutdown()
        await other.shutdown()

    asyncio.run(main())


def test_two_clients_that_give_their_requests_one_name_both_keep_their_answers(tmp_path: Path) -> None:
    async def main() -> None:
        is_answered = asyncio.Event()

        async def wait(_: Request) -> None:
            await is_answered.wait()

        slow, quick = edge([wait, "answer of a"], "ok"), edge("answer of b")
        client, other = (client_with(model, store=tmp_path / "d.db") for model in (slow, quick))
        first = asyncio.create_task(client.execute("question of a", session_id="s1", request_id="same"))
        while not slow.requests:
            await asyncio.sleep(0)
        await other.execute("question of b", session_id="s1", request_id="same")
        is_answered.set()
        await first
        assert {text: state for _, text, state in kept(client, "s1")} == {
            f"{what} of {who}": "whole" for what in ("question", "answer") for who in "ab"
        }
        await client.execute("And now?", session_id="s1")
        assert [text.partition(": ")[2] for text in asked(slow)] == [
            "question of a", "answer of a", "question of b", "answer of b", "And now?",
        ]  # fmt: skip
        await client.shutdown()
        await other.shutdown()

    asyncio.run(main())


def test_where_the_file_cannot_be_used_the_call_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    db = apsw.Connection(str(tmp_path / "d.db"))
    db.execute("PRAGMA user_version = 9999")  # of a version that is yet to come
    db.close()

    async def main() -> None:
        model = edge("ok")
        client = client_with(model, store=tmp_path / "d.db")
        for _ in range(3):
            assert str(await client.execute("hi", session_id="s1")) == "ok"
            assert asked(model) == ["user: hi"]
        await client.shutdown()

    asyncio.run(main())
    told = [record.getMessage() for record in caplog.records if record.name == "oblix.sessions"]
    assert len(told) == 1
    assert told[0].startswith("a conversation is not kept as it should be: ")


def test_a_conversation_goes_on_in_another_loop(tmp_path: Path) -> None:
    model = edge("one", [Wait(0.0), "two"])
    client = client_with(model, store=tmp_path / "d.db")
    for prompt in ("1", "2"):
        asyncio.run(client.execute(prompt, session_id="s1"))
    assert asked(model) == ["user: 1", "assistant: one", "user: 2"]


def test_what_was_read_for_a_small_window_is_read_again_for_a_large_one() -> None:
    async def main() -> None:
        small, large = edge("ok", window=600), edge("ok", name="ollama:large", window=100_000)
        client = client_with(small)
        talk = [{"role": role, "content": "word " * 50} for _ in range(30) for role in ("user", "assistant")]
        await client.add_messages("s1", talk)
        await client.execute("hello", session_id="s1")
        assert len(small.requests[-1].messages) < 20
        client.hook(large)
        for number in (63, 65):
            reply = await client.execute("and now?", session_id="s1", model_id="ollama:large")
            assert (len(large.requests[-1].messages), reply.metrics["cut_messages"]) == (number, 0)

    run(main())


def test_only_so_many_conversations_are_kept_in_mind() -> None:
    async def main() -> None:
        model = edge("ok")
        client = client_with(model)
        for _ in range(3):
            for number in range(memory.KNOWN + 3):
                await client.execute("hi", session_id=f"s{number}")
        assert len(client._hall.memory._known) == memory.KNOWN
        assert len(model.requests[-1].messages) == 5

    run(main())


def test_what_was_sent_with_placeholders_does_not_go_out_without_them_later(tmp_path: Path) -> None:
    async def main() -> None:
        away = cloud("noted", "again")
        async with client_with(away, store=tmp_path / "d.db") as client:
            client.screening = Screening(mode="redact")
            await client.execute("My card is 4111 1111 1111 1111.", session_id="s1")
            assert "4111" not in asked(away)[0]
            await client.execute("And now?", session_id="s1")
            assert "4111" not in asked(away)[0]
        async with client_with(edge("home"), away, store=tmp_path / "d.db", policy="best") as client:
            client.screening = Screening(is_on=False)
            reply = await client.execute("And now?", session_id="s1")
            assert (reply.response, reply.decision.privacy.label) == ("home", "private")
            found = client.load_session("s1")
            assert found is not None
            assert found["messages"][0]["content"] == "My card is 4111 1111 1111 1111."

    asyncio.run(main())


def test_old_sessions_are_deleted_where_that_is_wished(tmp_path: Path) -> None:
    async def main() -> None:
        day = 86_400.0
        for wall, days in ((0.0, None), (10 * day, 20), (20 * day, 15)):
            client = client_with(edge("ok"), store=tmp_path / "d.db")
            client._hall.wall = partial(float, 1_795_000_000.0 + wall)
            client._hall.memory.retain_days = days
            await client.execute("hi", session_id=f"at {wall / day:g}")
            ids = {each["id"] for each in client.list_sessions()}
            await client.shutdown()
        assert ids == {"at 10", "at 20"}

    asyncio.run(main())


def test_a_service_forgets_every_day(tmp_path: Path) -> None:
    async def main() -> None:
        day, wall = 86_400.0, 1_795_000_000.0
        client = client_with(edge("ok"), store=tmp_path / "d.db")
        client._hall.wall = lambda: wall
        client._hall.memory.retain_days = 3
        for number in range(6):
            await client.execute("hi", session_id=f"s{number}")
            wall += day
        assert sorted(each["id"] for each in client.list_sessions()) == ["s2", "s3", "s4", "s5"]
        await client.shutdown()

    asyncio.run(main())


def test_a_session_that_is_being_spoken_in_is_not_forgotten(tmp_path: Path) -> None:
    """However old it is, also where it is the first request of the day."""

    async def main() -> None:
        wall = 1_795_000_000.0
        model = edge("ok")
        client = client_with(model, store=tmp_path / "d.db")
        client._hall.wall = lambda: wall
        for session in ("old", "older"):
            await client.execute("hi", session_id=session)
        wall += 10 * 86_400
        client._hall.memory.retain_days = 3
        await client.execute("And now?", session_id="old")
        assert [each["id"] for each in client.list_sessions()] == ["old"]
        assert asked(model) == ["user: hi", "assistant: ok", "user: And now?"]
        await client.shutdown()

    asyncio.run(main())


def test_shutdown_closes_what_only_sessions_used(tmp_path: Path) -> None:
    def descriptors() -> int:
        return sum(tmp_path in each.resolve().parents for each in OPEN.iterdir())

    async def main() -> None:
        for _ in range(2):
            async with OblixClient(store=tmp_path / "d.db") as client:
                await client.create_session("x")
                assert client._hall.store.is_open
            assert not client._hall.store.is_open
        assert not OPEN.is_dir() or descriptors() == 0

    asyncio.run(main())
    client = client_with(edge("ok"), store=tmp_path / "d.db")
    asyncio.run(client.execute("hi"))  # tied, and let go again with its loop
    assert len(client.list_sessions()) == 2
    asyncio.run(client.shutdown())
    assert not client._hall.store.is_open


@pytest.mark.parametrize("wrong", ["", None, 5, b"x"])
def test_what_is_no_id_is_a_clear_error(wrong: Any) -> None:
    """An empty one begins every id: a variable that was never set would mean the only session there is."""

    async def main() -> None:
        client = client_with(edge("ok"))
        await client.create_session("the only one")
        plain = (client.find_session, client.load_session, client.delete_session, client.get_session_metadata)
        for method in plain:
            with pytest.raises(InvalidRequest, match="The id of a session is"):
                method(wrong)
        with pytest.raises(InvalidRequest, match="The id of a message is"):
            client.pin_message("s1", wrong)
        with pytest.raises(InvalidRequest, match="The id of a session is"):
            await client.export_session(wrong, "never.json")
        with pytest.raises(InvalidRequest, match="The id of a session is"):
            await client.merge_sessions([wrong])
        if wrong is not None:
            for ask in (client.execute, client.chat_once):
                with pytest.raises(InvalidRequest, match="The id of a session is"):
                    await ask("hi", session_id=wrong)
            with pytest.raises(InvalidRequest, match="The id of a session is"):
                client.use_session(wrong)
        assert len(client.list_sessions()) == 1

    run(main())


def test_many_tasks_and_many_sessions_lose_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        client = client_with(edge("ok"), store=tmp_path / "d.db")
        await asyncio.gather(*(client.execute(f"{n}", session_id=f"s{n % 7}") for n in range(140)))
        for number in range(7):
            said = kept(client, f"s{number}")
            assert [text for role, text, _ in said if role == "user"] == [f"{n}" for n in range(number, 140, 7)]
            assert [role for role, _, _ in said] == ["user", "assistant"] * 20
        await client.shutdown()

    asyncio.run(main())


def test_what_is_missing_is_a_clear_error() -> None:
    async def main() -> None:
        client = client_with(edge())
        with pytest.raises(InvalidRequest, match="No sessions are named"):
            await client.merge_sessions()
        with pytest.raises(InvalidRequest, match="No sessions are named"):
            await client.merge_sessions("abc")
        with pytest.raises(InvalidRequest, match="No file is named"):
            await client.export_session("abc")
        with pytest.raises(InvalidRequest, match="No file is named"):
            await client.import_session()
        for session in ("abc1", "abc2"):
            await client.add_messages(session, [{"role": "user", "content": "hi"}])
        with pytest.raises(InvalidRequest, match="Several sessions begin with 'abc'"):
            client.find_session("abc")
        with pytest.raises(InvalidRequest, match="has role 'wizard'"):
            await client.add_messages("abc1", [{"role": "wizard", "content": "hi"}])

    run(main())


def test_looking_makes_no_file(tmp_path: Path) -> None:
    client = client_with(edge("ok"), store=tmp_path / "d.db")
    assert client.list_sessions() == []
    assert client.load_session("s1") is None
    assert not client.use_session("s1")
    asyncio.run(client.route("hi", session_id="s1"))
    assert list(tmp_path.iterdir()) == []


def test_a_client_that_was_shut_down_goes_on_with_its_sessions(tmp_path: Path) -> None:
    async def main() -> None:
        model = edge("one", "two")
        client = client_with(model, store=tmp_path / "d.db")
        await client.execute("1", session_id="s1")
        await client.shutdown()
        await asyncio.gather(*(client.execute(each, session_id="s1") for each in "23"))
        assert asked(model)[:2] == ["user: 1", "assistant: one"]
        await client.shutdown()

    asyncio.run(main())
