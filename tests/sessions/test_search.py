"""Search: any text is a query, and finds what holds its words."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oblix.sessions import search
from oblix.sessions.store import Sessions
from oblix.storage.store import Store
from oblix.types.messages import Message


@pytest.fixture(scope="module")
def sessions() -> Iterator[Sessions]:
    store = Store(":memory:")
    store.open()
    found = Sessions(store, lambda: 1_795_000_000.0)
    asyncio.run(found.create("Capitals", metadata={"project": "atlas"}, session_id="s1"))
    asyncio.run(found.append("s1", [
        Message("user", "What is the capital of España? " + "word " * 100),
        Message("assistant", "word " * 100 + "Madrid, of course; AND NOT \"Barcelona\"." + " word" * 100),
    ]))  # fmt: skip
    asyncio.run(found.append("s2", [Message("user", "Madrid in spring \ud800\0 is warm", private=True)]))
    yield found
    store.close()


def ids(sessions: Sessions, query: str, **wanted: object) -> list[tuple[str, str]]:
    found = asyncio.run(sessions.search(query, **wanted))  # type: ignore[arg-type]
    return [(each["session_id"], each["role"]) for each in found]


def test_words_whatever_their_case_and_accents(sessions: Sessions) -> None:
    assert set(ids(sessions, "MADRID")) == {("s1", "assistant"), ("s2", "user")}
    assert ids(sessions, "espana capital") == [("s1", "user")]
    assert ids(sessions, "madrid course") == [("s1", "assistant")]
    assert ids(sessions, "lisbon") == []
    assert ids(sessions, "spring warm") == [("s2", "user")]


def test_signs_mean_nothing(sessions: Sessions) -> None:
    assert ids(sessions, 'NOT "Barcelona') == [("s1", "assistant")]
    assert ids(sessions, '"*" ( ^ - : {') == []
    assert ids(sessions, "") == []


def test_many_messages_are_indexed_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no other process waits long for the file; and none is left out."""
    monkeypatch.setattr(search, "AT_ONCE", 10)
    store = Store(":memory:")
    store.open()
    sessions = Sessions(store, lambda: 1_795_000_000.0)
    asyncio.run(sessions.append("s1", [Message("user", f"number n{each}") for each in range(30)]))
    assert store.write_now(search.index)
    assert store.read(lambda db: db.execute("SELECT count(*) FROM message_text").fetchall()) == [(10,)]
    assert len(asyncio.run(sessions.search("number", limit=100))) == 30
    store.close()


def test_filters(sessions: Sessions) -> None:
    assert ids(sessions, "madrid", session_id="s2") == [("s2", "user")]
    assert ids(sessions, "madrid", session_id="\ud800") == []
    assert ids(sessions, "madrid", role="assistant") == [("s1", "assistant")]
    assert ids(sessions, "madrid", filter_metadata={"project": "atlas"}) == [("s1", "assistant")]
    assert len(ids(sessions, "madrid", limit=1)) == 1


def test_a_snippet_shows_the_place(sessions: Sessions) -> None:
    (found,) = asyncio.run(sessions.search("barcelona"))
    assert "Barcelona" in found["snippet"]
    assert found["snippet"].startswith("…")
    assert found["snippet"].endswith("…")
    (start,) = asyncio.run(sessions.search("capital"))
    assert start["snippet"].startswith("What is the capital")
    (private,) = asyncio.run(sessions.search("spring"))
    assert private["private"]


@given(st.text())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_is_a_query(sessions: Sessions, query: str) -> None:
    asyncio.run(sessions.search(query))
