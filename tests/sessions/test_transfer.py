"""Sessions as files: ours, the original's, and hostile ones."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.errors import InvalidRequest
from oblix.sessions import store as session_store
from oblix.sessions import transfer
from oblix.sessions.store import Sessions
from oblix.storage.store import Store
from oblix.types.messages import Image, Message, Text, Thought, ToolCall

# As ~/.oblix/sessions/<uuid>.json of the original 0.1.3 is.
ORIGINAL = {
    "id": "0f8e2a52-6f0e-4a53-9d5f-0f1f6c1b2f3a",
    "created_at": "2025-04-02T10:11:12.123456",
    "updated_at": "2025-04-02T10:12:13.123456",
    "title": "Capitals",
    "messages": [
        {"id": "m1", "role": "user", "content": "France?", "timestamp": "2025-04-02T10:11:13.000000"},
        {"id": "m2", "role": "assistant", "content": "Paris.", "timestamp": "2025-04-02T10:11:14.000000"},
    ],
    "context": {"topic": "geography"},
    "metadata": {"project": "atlas"},
    "imported_at": "2025-04-03T00:00:00",
}
TALK = [
    Message("user", (Text("What is this? \ud800"), Image("image/png", "QUJD"))),
    Message(
        "assistant", "", (ToolCall("c1", "look", '{"a": 1}'),), thoughts=(Thought("claude", {"x": "y"}, model="m"),)
    ),
    Message("tool", "a cat\0", tool_call_id="c1"),
    Message("assistant", "A cat.", private=True, pinned=True),
]


@pytest.fixture
def sessions() -> Iterator[Sessions]:
    store = Store(":memory:")
    store.open()
    times = iter(range(1_795_000_000, 1_796_000_000))
    yield Sessions(store, lambda: float(next(times)))
    store.close()


def loaded(sessions: Sessions, session_id: str) -> list[dict[str, Any]]:
    found = sessions.load(session_id)
    assert found is not None
    messages: list[dict[str, Any]] = found["messages"]
    return messages


def texts(sessions: Sessions, session_id: str | None) -> list[str]:
    assert session_id is not None
    found = sessions.load(session_id)
    assert found is not None
    return [message["content"] for message in found["messages"]]


def said(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [{key: value for key, value in message.items() if key != "id"} for message in found["messages"]]


def test_what_is_exported_comes_back_the_same(sessions: Sessions, tmp_path: Path) -> None:
    session = asyncio.run(sessions.create("Mine", {"system": "Be brief."}, {"a": [1]}))
    asyncio.run(sessions.append(session, TALK))
    file = tmp_path / "mine.json"
    assert asyncio.run(sessions.export_to(session, file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["mine.json"]
    before, again = sessions.load(session), sessions.load(asyncio.run(sessions.import_from(file)) or "")
    assert before is not None
    assert again is not None
    assert said(again) == said(before)
    for name in ("title", "created_at", "updated_at", "context", "metadata"):
        assert again[name] == before[name], name
    assert asyncio.run(sessions.import_from(file, new_id=False)) is None  # it is here already
    sessions.delete(session)
    assert asyncio.run(sessions.import_from(file, new_id=False)) == session
    assert not asyncio.run(sessions.export_to("nowhere", file))


def test_a_session_of_the_original(sessions: Sessions, tmp_path: Path) -> None:
    file = tmp_path / "original.json"
    file.write_text(json.dumps(ORIGINAL))
    session = asyncio.run(sessions.import_from(file, new_id=False))
    assert session == ORIGINAL["id"]
    found = sessions.load(session)
    assert found is not None
    assert (found["title"], found["context"], found["metadata"]) == (
        "Capitals",
        {"topic": "geography"},
        {"project": "atlas"},
    )
    assert found["created_at"] == "2025-04-02T10:11:12.123456+00:00"
    assert [(each["role"], each["content"], each["timestamp"][:19], each["state"]) for each in found["messages"]] == [
        ("user", "France?", "2025-04-02T10:11:13", "whole"),
        ("assistant", "Paris.", "2025-04-02T10:11:14", "whole"),
    ]


@pytest.mark.parametrize("text", [
    "", "{", "[]", "3", "null", '"x"', "{}", '{"messages": 3}', '{"messages": [3]}', '{"messages": [{}]}',
    '{"messages": [{"role": "wizard", "content": "x"}]}', '{"messages": [{"role": "user", "content": 3}]}',
    '{"messages": [], "context": [1]}', '{"messages": [], "title": {"a": 1}}', '{"messages": [], "created_at": "yesterday"}',
    '{"messages": [{"role": "user", "content": "x", "timestamp": "2025"}]}', '{"messages": [], "id": 7}',
    '{"messages": [{"role": "user", "content": "x", "tool_calls": [{"evil": 1}]}]}',
    '{"messages": [{"role": "user", "content": "x", "parts": [{"b": 1}]}]}',
    '{"messages": [{"role": "user", "content": "x", "parts": [{"text": 3}]}]}',
    '{"messages": [{"role": "user", "content": "x", "parts": [{"url": ["x"]}]}]}',
    '{"messages": [{"role": "user", "content": "x", "parts": {"text": "x"}}]}',
    '{"messages": [{"role": "user", "content": "x", "tool_calls": [{"id": 1, "name": "f", "arguments": "{}"}]}]}',
    '{"messages": [{"role": "user", "content": "x", "tool_call_id": 1}]}',
    '{"messages": [{"role": "user", "content": "x", "thoughts": [{"provider": "claude", "body": 3}]}]}',
    '{"format": "oblix-session", "version": 99, "messages": []}', "[" * 100_000, '{"messages": [], "metadata": ' + "[" * 50_000,
    '{"messages": [], "created_at": "9999-12-31T23:59:59-23:59"}', "\xff\xfe",
])  # fmt: skip
def test_a_file_that_is_none_is_a_clear_error_and_leaves_nothing(text: str, sessions: Sessions, tmp_path: Path) -> None:
    file = tmp_path / "strange.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidRequest, match=r"strange\.json holds no session"):
        asyncio.run(sessions.import_from(file))
    assert sessions.latest() == []


def test_files_that_cannot_be_read_or_written(
    sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidRequest, match="cannot be read"):
        asyncio.run(sessions.import_from(tmp_path / "nothing.json"))
    with pytest.raises(InvalidRequest, match="cannot be read"):
        asyncio.run(sessions.import_from(tmp_path))
    session = asyncio.run(sessions.create())
    with pytest.raises(InvalidRequest, match="cannot be written"):
        asyncio.run(sessions.export_to(session, tmp_path / "no" / "folder.json"))
    (tmp_path / "large.json").write_text("{}" + " " * 100)
    monkeypatch.setattr(transfer, "LARGEST", 50)
    with pytest.raises(InvalidRequest, match="has more than"):
        asyncio.run(sessions.import_from(tmp_path / "large.json"))


def test_an_export_replaces_files_only_and_follows_no_link(sessions: Sessions, tmp_path: Path) -> None:
    """In a folder that others may write to nothing of theirs is written through, and nobody else reads what was written."""
    session = asyncio.run(sessions.create("Mine"))
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path):
        with pytest.raises(InvalidRequest, match="is no regular file"):
            asyncio.run(sessions.export_to(session, place))
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    victim, file = tmp_path / "victim", tmp_path / "mine.json"
    victim.write_text("theirs")
    for prepared in (file, tmp_path / f".mine.json.{os.getpid()}"):
        prepared.symlink_to(victim)
    assert asyncio.run(sessions.export_to(session, file))
    assert victim.read_text() == "theirs"
    assert (file.is_symlink(), stat.S_IMODE(file.stat().st_mode)) == (False, 0o600)
    assert not [each for each in tmp_path.iterdir() if each.name.startswith(".mine.json.") and not each.is_symlink()]


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no endless file here")
def test_a_file_without_an_end_is_too_large(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "LARGEST", 1 << 20)
    with pytest.raises(InvalidRequest, match="has more than 1 MiB"):
        asyncio.run(sessions.import_from(Path("/dev/zero")))


def test_what_would_hold_up_others_for_long_is_refused_and_leaves_nothing(
    sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (asyncio.run(sessions.create(title)) for title in ("One", "Two"))
    for each in (first, second):
        asyncio.run(sessions.append(each, TALK))
    third = asyncio.run(sessions.create("Three"))
    asyncio.run(sessions.append(third, TALK * 2))
    (tmp_path / "large.json").write_text(json.dumps({"messages": [{"role": "user", "content": "x"}] * 7}))
    for limit, most in (("MOST_MESSAGES", 5), ("MOST_BYTES", 80)):
        monkeypatch.setattr(session_store, limit, most)
        for work in (
            sessions.import_from(tmp_path / "large.json"),
            sessions.merge([first, second]),
            sessions.copy(third),
        ):
            with pytest.raises(InvalidRequest, match="are too much for one step"):
                asyncio.run(work)
        monkeypatch.undo()
    assert len(sessions.latest()) == 3
    monkeypatch.setattr(session_store, "MOST_MESSAGES", 5)
    asyncio.run(sessions.append(first, TALK * 3))  # in several steps
    assert [each["content"] for each in loaded(sessions, first)] == [message.text for message in TALK * 4]


def test_what_is_wrong_with_a_file_is_told_in_plain_words(sessions: Sessions, tmp_path: Path) -> None:
    file = tmp_path / "strange.json"
    for text, told in {
        "{}": "holds no session: 'messages' is missing",
        "[]": "holds no session: an object is something else",
        '{"messages": [{"role": "wizard", "content": "x"}]}': "holds no session: a message has role 'wizard'",
        '{"messages": [{"role": "user", "content": 3}]}': "holds no session: a text is of type int",
    }.items():
        file.write_text(text)
        with pytest.raises(InvalidRequest, match=told):
            asyncio.run(sessions.import_from(file))


NAMES = [*ORIGINAL, "role", "content", "parts", "tool_calls"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


@given(JSON)
def test_any_json_is_a_session_or_a_clear_error(found: Any) -> None:
    store = Store(":memory:")
    try:
        read = transfer.parsed(found, 0.0)
    except transfer.WRONG:
        return
    finally:
        store.close()
    assert isinstance(read.title, str)


def test_merge_by_time_with_where_each_came_from(sessions: Sessions) -> None:
    first, second = (asyncio.run(sessions.create(title)) for title in ("One", "Two"))
    for text, session in (("a", first), ("b", second), ("c", first)):
        asyncio.run(sessions.append(session, [Message("user", text), Message("assistant", text.upper())]))
    merged = asyncio.run(sessions.merge([first, second, first]))
    assert texts(sessions, merged) == ["a", "A", "b", "B", "c", "C"]
    found = sessions.load(merged or "")
    assert found is not None
    assert found["title"] == "One + Two"
    assert [each["source_session_id"] for each in found["messages"]] == [first, first, second, second, first, first]
    again = asyncio.run(sessions.merge([merged or "", second], "Again"))
    found = sessions.load(again or "")
    assert found is not None
    assert {each["source_session_id"] for each in found["messages"]} == {merged, second}
    assert asyncio.run(sessions.merge([first, "nowhere"])) is None


def test_copy_and_fork(sessions: Sessions) -> None:
    session = asyncio.run(sessions.create("One", {"a": 1}, {"b": 2}))
    asyncio.run(sessions.append(session, TALK))
    copied = sessions.load(asyncio.run(sessions.copy(session)) or "")
    original = sessions.load(session)
    assert copied is not None
    assert original is not None
    assert said(copied) == said(original)
    assert (copied["title"], copied["context"], copied["metadata"]) == ("One", {"a": 1}, {"b": 2})
    assert len(texts(sessions, asyncio.run(sessions.fork(session, original["messages"][1]["id"], "Fork")))) == 2
    assert asyncio.run(sessions.fork(session, "nowhere")) is None
    assert asyncio.run(sessions.copy("nowhere")) is None
    assert asyncio.run(sessions.fork("nowhere", "1")) is None
