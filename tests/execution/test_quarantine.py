"""Poison: two crashes of its own keep a request away from a model, and nobody else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.execution.quarantine import (
    EMPTY,
    LASTS,
    MOST,
    SAME,
    Quarantine,
    Suspect,
    cleared,
    crashed,
    current,
    fingerprint,
    is_suspect,
    reason,
    released,
)
from oblix.types.messages import Image, Message, ResponseFormat, Text, Tool, ToolCall
from oblix.types.request import Request

SALT = b"of this process"
X = ("ollama:phi", b"x")


def after(*times: float, suspect: Suspect = X) -> Quarantine:
    """After crashes at these moments."""
    state = EMPTY
    for now in times:
        state = crashed(state, suspect, now=now)
    return state


def asked(*texts: str, tools: tuple[str, ...] = (), request_id: str = "r1") -> Request:
    return Request(request_id, tuple(Message("user", text) for text in texts), tools=tuple(map(Tool, tools)))


def request(**given: Any) -> Request:
    return Request(**{"id": "r1", "messages": (Message("user", "Hi"),), **given})


def pictured(**image: str) -> Request:
    return Request("r1", (Message("user", (Text("What is it?"), Image(**image))),))


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ((0.0,), None),
        ((0.0, 1.0), "this very request crashed its engine twice"),
        ((0.0, 1.0, 2.0), "this very request crashed its engine 3 times"),
        ((0.0, 0.0), None),
        ((0.0, SAME / 2), None),
    ],
    ids=["once", "twice", "three times", "the same crash, told twice", "the same crash, told a little later"],
)
def test_two_crashes_keep_a_request_away(times: tuple[float, ...], said: str | None) -> None:
    assert reason(after(*times), X, now=2.0) == said


def test_one_crash_makes_a_suspect_of_it() -> None:
    assert is_suspect(after(0.0), X)
    assert not is_suspect(cleared(after(0.0), X), X)


@pytest.mark.parametrize("other", [("ollama:phi", b"y"), ("ollama:llama2", b"x")], ids=["request", "model"])
def test_a_quarantine_is_for_one_request_on_one_model(other: Suspect) -> None:
    assert reason(after(0.0, 1.0), other, now=1.0) is None


def test_it_ends_an_hour_after_the_last_crash() -> None:
    state = after(0.0, 1000.0)
    assert reason(state, X, now=1000.0 + LASTS - 0.1) is not None
    assert reason(state, X, now=1000.0 + LASTS) is None
    assert current(state, 1000.0 + LASTS) == EMPTY


def test_crashes_an_hour_apart_do_not_add_up() -> None:
    assert reason(after(0.0, LASTS), X, now=LASTS) is None


def test_an_answer_clears_it() -> None:
    state = after(0.0, 1.0)
    assert cleared(state, X) == EMPTY
    assert cleared(state, ("ollama:phi", b"y")) is state


def test_new_settings_release_all_requests_of_a_model() -> None:
    state = crashed(after(0.0, suspect=("a", b"x")), ("b", b"x"), now=1.0)
    assert released(state, "a") == after(1.0, suspect=("b", b"x"))


def test_a_flood_forgets_the_oldest() -> None:
    state = after(0.0, suspect=("a", b"first"))
    for number in range(MOST + 5):
        state = crashed(state, ("a", number.to_bytes(2, "big")), now=1.0)
    assert len(state.entries) == MOST
    assert ("a", b"first") not in state.entries


def test_a_crash_makes_an_entry_the_newest() -> None:
    state = crashed(after(0.0, suspect=("a", b"x")), ("b", b"x"), now=1.0)
    assert list(crashed(state, ("a", b"x"), now=2.0).entries) == [("b", b"x"), ("a", b"x")]


def test_the_same_request_asked_again_has_the_same_fingerprint() -> None:
    assert fingerprint(asked("Hi", request_id="r1"), SALT) == fingerprint(asked("Hi", request_id="r2"), SALT)


def test_a_request_that_was_sealed_meanwhile_has_the_same_fingerprint() -> None:
    """Found by the simulation: the decision saw it open, the attempts sealed, and a poison went back a third time."""
    sealed = replace(asked("Hi"), private=True, messages=(Message("user", "Hi", private=True),))
    assert fingerprint(sealed, SALT) == fingerprint(asked("Hi"), SALT)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (asked("Hi"), asked("Hi!")),
        (asked("a", "b"), asked("auserb")),
        (asked("Hi"), Request("r1", (Message("system", "Hi"),))),
        (asked("Hi", tools=("search",)), asked("Hi", tools=("find",))),
        (pictured(data="AAAA"), pictured(data="BBBB")),
        (pictured(url="http://a/"), pictured(url="http://b/")),
        (pictured(url="http://a/"), pictured(data="http://a/")),
    ],
    ids=["text", "boundaries", "role", "tools", "picture", "address", "address or data"],
)
def test_different_requests_have_different_fingerprints(one: Request, other: Request) -> None:
    assert fingerprint(one, SALT) != fingerprint(other, SALT)


def said(**given: Any) -> tuple[Message, ...]:
    return (Message("user", "Hi"), Message(**{"role": "assistant", **given}))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"tools": (Tool("t", "finds"),)}, {"tools": (Tool("t", "seeks"),)}),
        ({"tools": (Tool("t", parameters={"a": 1}),)}, {"tools": (Tool("t", parameters={"a": 2}),)}),
        ({"tool_choice": "auto"}, {"tool_choice": "none"}),
        ({"response_format": ResponseFormat("json_object")}, {"response_format": None}),
        (
            {"response_format": ResponseFormat("json_schema", {"type": "object"})},
            {"response_format": ResponseFormat("json_schema", {"type": "array"})},
        ),
        ({"stop": ("a", "b")}, {"stop": ("ab",)}),
        ({"seed": 1}, {"seed": 2}),
        ({"temperature": 0.0}, {"temperature": None}),
        ({"top_p": 0.5}, {"top_p": 1.0}),
        ({"max_tokens": 1}, {"max_tokens": 10**6}),
        ({"logprobs": 1}, {"logprobs": 0}),
        ({"provider_options": {"num_ctx": 1}}, {"provider_options": {"num_ctx": 2}}),
        ({"messages": said(tool_calls=(ToolCall("c", "t", "{}"),))}, {"messages": said()}),
        (
            {"messages": said(tool_calls=(ToolCall("c", "t", "{}"),))},
            {"messages": said(tool_calls=(ToolCall("c", "t", "[]"),))},
        ),
        ({"messages": said(role="tool", tool_call_id="a")}, {"messages": said(role="tool", tool_call_id="b")}),
        ({"messages": said(content=(Text("a"), Text("b")))}, {"messages": said(content="a\nb")}),
    ],
    ids=lambda given: next(iter(given)),
)
def test_whatever_is_sent_makes_a_request_another_one(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert fingerprint(request(**one), SALT) != fingerprint(request(**other), SALT)


def test_the_order_of_options_makes_no_other_request() -> None:
    one, other = {"a": {"b": 1, "c": 2}, "d": 3}, {"d": 3, "a": {"c": 2, "b": 1}}
    assert fingerprint(request(provider_options=one), SALT) == fingerprint(request(provider_options=other), SALT)


def nested(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(levels):
        inner = {"a": inner}
    return inner


@pytest.mark.parametrize("options", [{1: 2, "a": 3}, {"a": object}, nested(5000)], ids=["keys", "object", "deep"])
def test_what_cannot_be_sent_has_a_fingerprint_all_the_same(options: dict[str, Any]) -> None:
    assert len(fingerprint(request(provider_options=options), SALT)) == 16


def test_lone_surrogates_are_told_apart() -> None:
    assert fingerprint(asked("\ud800"), SALT) != fingerprint(asked("\ud801"), SALT)


def test_a_fingerprint_means_nothing_without_the_salt() -> None:
    assert fingerprint(asked("Hi"), SALT) != fingerprint(asked("Hi"), b"of another")


@given(st.text(st.characters()))
def test_any_text_has_a_fingerprint_of_one_size(text: str) -> None:
    assert len(fingerprint(asked(text + "\ud800"), SALT)) == 16
