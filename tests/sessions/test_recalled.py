"""What of a conversation is read for a prompt, and when it need not be read again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from oblix.sessions.recalled import Recalled
from oblix.sessions.store import Sessions
from oblix.storage.store import Store
from oblix.types.messages import Message, ToolCall

LONG = "word " * 200
DAMAGED = (b'{"text": \xff}', b"", b"[]", b"{}", b'{"text": 3}', b"[" * 100_000)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "d.db")
    store.open()
    yield store
    store.close()


@pytest.fixture
def sessions(store: Store) -> Sessions:
    return Sessions(store, lambda: 1_795_000_000.0)


def read(store: Store, sessions: Sessions, tokens: int, known: Recalled | None = None, *, on: bool = False) -> Recalled:
    found = store.read(sessions.recent("s", tokens, known, goes_on=on))
    assert found is not None
    return found


def test_a_turn_that_goes_on_is_read_whole_however_long_it_is(store: Store, sessions: Sessions) -> None:
    loop = [Message("user", "q"), Message("assistant", "", (ToolCall("c1", "read", "{}"),))]
    loop += [Message("tool", LONG, tool_call_id="c1"), Message("assistant", "", (ToolCall("c2", "read", "{}"),))]
    asyncio.run(sessions.append("s", [Message("user", "before"), Message("assistant", "a"), *loop]))
    assert read(store, sessions, 100).messages == ()
    found = read(store, sessions, 100, on=True)
    assert (found.messages, found.left_out) == (tuple(loop), 2)
    assert len(read(store, sessions, 10_000, on=True).messages) == 6


def test_what_is_known_stands_for_no_more_room_than_it_was_read_for(store: Store, sessions: Sessions) -> None:
    talk = [Message(role, LONG) for _ in range(10) for role in ("user", "assistant")]
    asyncio.run(sessions.append("s", talk))
    known = read(store, sessions, 1000)
    assert 0 < len(known.messages) < 20
    assert read(store, sessions, 1000, known) is known
    assert read(store, sessions, known.tokens, known) is known
    assert len(read(store, sessions, known.tokens - 1, known).messages) < len(known.messages)
    assert len(read(store, sessions, 100_000, known).messages) == 20
    assert read(store, sessions, 1000, known, on=True) is not known  # its newest turn may not be whole
    all_of_it = read(store, sessions, 100_000, known)
    assert read(store, sessions, 1 << 30, all_of_it, on=True) is all_of_it


@pytest.mark.parametrize("body", [*DAMAGED, b'{"text":"","parts":[{"x":1}]}'])
def test_a_message_that_cannot_be_read_any_more_is_left_out(body: bytes, store: Store, sessions: Sessions) -> None:
    asyncio.run(sessions.append("s", [Message("user", "q"), Message("assistant", "a"), Message("user", "q2")]))
    store.write_now(lambda db: db.execute("UPDATE message SET body = ? WHERE seq = 2", (body,)).fetchall())
    found = read(store, sessions, 1000)
    assert ([message.text for message in found.messages], found.left_out) == (["q", "q2"], 1)


@pytest.mark.parametrize("body", DAMAGED)
def test_what_cannot_be_read_any_more_spoils_nothing_else(
    body: bytes, store: Store, sessions: Sessions, tmp_path: Path
) -> None:
    """Overwritten within a text, which SQLite does not see: one session must not take the list of all with it."""
    asyncio.run(sessions.append("s", [Message("user", "needle"), Message("assistant", "a needle")]))
    asyncio.run(sessions.append("other", [Message("user", "needle")]))
    assert len(asyncio.run(sessions.search("needle"))) == 3
    store.write_now(lambda db: db.execute("UPDATE message SET body = ? WHERE role = 'assistant'", (body,)).fetchall())
    for column in ("metadata", "context"):
        store.write_now(lambda db: db.execute(f"UPDATE session SET {column} = ? WHERE id = 's'", (body,)).fetchall())  # noqa: B023
    assert len(sessions.latest()) == 2
    assert len(asyncio.run(sessions.search("needle"))) == 3
    asyncio.run(sessions.append("other", [Message("user", "needle")]))
    assert len(asyncio.run(sessions.search("needle"))) == 4
    found = sessions.load("s")
    assert found is not None
    assert [each["state"] for each in found["messages"]] == ["whole", "unreadable"]
    assert found["messages"][1]["content"] == ""
    merged = asyncio.run(sessions.merge(["s", "other"]))
    assert merged is not None
    assert asyncio.run(sessions.export_to("s", tmp_path / "s.json"))
    again = sessions.load(asyncio.run(sessions.import_from(tmp_path / "s.json")) or "")
    assert again is not None
    assert again["messages"][1]["state"] == "incomplete"
    assert sessions.update_metadata("s", {"a": 1})
    assert sessions.metadata("s") is not None
