"""Poison: two crashes of one engine keep the same request away from it, and nobody else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.execution.quarantine import (
    EMPTY,
    LASTS,
    MOST,
    cleared,
    crashed,
    current,
    fingerprint,
    is_quarantined,
    released,
)
from oblix.types.messages import Image, Message, Text, Tool
from oblix.types.request import Request

SALT = b"of this process"


def asked(*texts: str, tools: tuple[str, ...] = (), request_id: str = "r1") -> Request:
    return Request(request_id, tuple(Message("user", text) for text in texts), tools=tuple(map(Tool, tools)))


def pictured(**image: str) -> Request:
    return Request("r1", (Message("user", (Text("What is it?"), Image(**image))),))


def test_one_crash_may_be_chance_and_two_are_not() -> None:
    once = crashed(EMPTY, "ollama", b"x", 0.0)
    twice = crashed(once, "ollama", b"x", 1.0)
    assert not is_quarantined(once, "ollama", b"x", 0.0)
    assert is_quarantined(twice, "ollama", b"x", 1.0)


def test_a_quarantine_is_for_one_request_on_one_engine() -> None:
    state = crashed(crashed(EMPTY, "ollama", b"x", 0.0), "ollama", b"x", 1.0)
    assert not is_quarantined(state, "ollama", b"y", 1.0)
    assert not is_quarantined(state, "embedded:phi", b"x", 1.0)


def test_it_ends_an_hour_after_the_last_crash() -> None:
    state = crashed(crashed(EMPTY, "ollama", b"x", 0.0), "ollama", b"x", 1000.0)
    assert is_quarantined(state, "ollama", b"x", 1000.0 + LASTS - 0.1)
    assert not is_quarantined(state, "ollama", b"x", 1000.0 + LASTS)
    assert current(state, 1000.0 + LASTS) == EMPTY


def test_crashes_an_hour_apart_do_not_add_up() -> None:
    state = crashed(crashed(EMPTY, "ollama", b"x", 0.0), "ollama", b"x", LASTS)
    assert not is_quarantined(state, "ollama", b"x", LASTS)


def test_an_answer_clears_it() -> None:
    state = crashed(crashed(EMPTY, "ollama", b"x", 0.0), "ollama", b"x", 1.0)
    assert cleared(state, "ollama", b"x") == EMPTY
    assert cleared(state, "ollama", b"y") is state


def test_new_settings_release_all_requests_of_an_engine() -> None:
    state = crashed(crashed(EMPTY, "a", b"x", 0.0), "b", b"x", 1.0)
    assert released(state, "a") == crashed(EMPTY, "b", b"x", 1.0)


def test_a_flood_forgets_the_oldest() -> None:
    state = crashed(EMPTY, "ollama", b"first", 0.0)
    for number in range(MOST + 5):
        state = crashed(state, "ollama", number.to_bytes(2, "big"), 1.0)
    assert len(state.entries) == MOST
    assert ("ollama", b"first") not in state.entries


def test_a_crash_makes_an_entry_the_newest() -> None:
    state = crashed(crashed(EMPTY, "a", b"x", 0.0), "b", b"x", 1.0)
    assert list(crashed(state, "a", b"x", 2.0).entries) == [("b", b"x"), ("a", b"x")]


def test_the_same_request_asked_again_has_the_same_fingerprint() -> None:
    assert fingerprint(asked("Hi", request_id="r1"), SALT) == fingerprint(asked("Hi", request_id="r2"), SALT)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (asked("Hi"), asked("Hi!")),
        (asked("a", "b"), asked("auserb")),
        (asked("Hi"), Request("r1", (Message("system", "Hi"),))),
        (asked("Hi", tools=("search",)), asked("Hi", tools=("find",))),
        (pictured(data="AAAA"), pictured(data="BBBB")),
        (pictured(url="http://a/"), pictured(url="http://b/")),
    ],
    ids=["text", "boundaries", "role", "tools", "picture", "address"],
)
def test_different_requests_have_different_fingerprints(one: Request, other: Request) -> None:
    assert fingerprint(one, SALT) != fingerprint(other, SALT)


def test_a_fingerprint_means_nothing_without_the_salt() -> None:
    assert fingerprint(asked("Hi"), SALT) != fingerprint(asked("Hi"), b"of another")


@given(st.text(st.characters()))
def test_any_text_has_a_fingerprint_of_one_size(text: str) -> None:
    assert len(fingerprint(asked(text + "\ud800"), SALT)) == 16
