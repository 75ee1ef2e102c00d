"""Ollama's JSON to the engine's and back: what the real engine is too small to show."""

from __future__ import annotations

import pytest

from oblix.testing.ollama_wire import BadRequestError, Outcome, canonical, chat_request


@pytest.mark.parametrize(
    ("name", "full"),
    [("phi", "phi:latest"), ("phi:3", "phi:3"), ("host:5000/me/phi", "host:5000/me/phi:latest")],
)
def test_names(name: str, full: str) -> None:
    assert canonical(name) == full


def test_tool_calls_arrive_whole_with_arguments_as_an_object() -> None:
    outcome = Outcome()
    for piece in ({"name": "add", "arguments": '{"a":'}, {"arguments": " 1}"}):
        outcome.take({"choices": [{"delta": {"tool_calls": [{"index": 0, "function": piece}]}}]})
    assert outcome.tool_calls() == [{"function": {"name": "add", "arguments": {"a": 1}}}]


def test_the_turns_of_a_tool_are_written_as_the_engine_reads_them() -> None:
    turn = {"role": "assistant", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]}
    written = chat_request({"messages": [turn]}, None)["messages"][0]
    assert written["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 1}'}


@pytest.mark.parametrize(("wished", "limit"), [(3, 3), (99, 24), (-1, 24), (None, 24)])
def test_the_servers_cap_holds(wished: int | None, limit: int) -> None:
    options = {} if wished is None else {"num_predict": wished}
    assert chat_request({"messages": [], "options": options}, 24)["max_tokens"] == limit


def test_images_and_unknown_formats_are_refused() -> None:
    with pytest.raises(BadRequestError, match="image"):
        chat_request({"messages": [{"role": "user", "content": "?", "images": ["aGk="]}]}, None)
    with pytest.raises(BadRequestError, match="format"):
        chat_request({"messages": [], "format": "xml"}, None)
