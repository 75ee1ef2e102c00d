"""The engine's chunks as ours, also those that a small model never makes."""

from __future__ import annotations

from typing import Any

import pytest

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.embedded.wire import Reader, body, failure
from oblix.types.chunk import Chunk, Delta, End, Progress, Usage
from oblix.types.messages import Message, Tool, ToolCall
from oblix.types.request import Request
from oblix.types.spec import ModelSpec

SPEC = ModelSpec("embedded:smollm2", "embedded", "smollm2", "edge")


def delta(finish: str | None = None, **content: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": content, "finish_reason": finish}]}


def read(*chunks: dict[str, Any], forced: bool = False) -> tuple[list[Chunk], End]:
    reader = Reader(forced, "call_r")
    return [chunk for raw in chunks for chunk in reader.read(raw)], reader.end()


def test_streamed_tool_calls_become_whole() -> None:
    chunks, end = read(
        delta(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "get_weather", "arguments": ""}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": '{"city":'}}]),
        delta(tool_calls=[{"index": 1, "function": {"name": "now"}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": ' "Paris"}'}}]),
        delta("tool_calls"),
        {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}},
    )
    assert [chunk.what for chunk in chunks if isinstance(chunk, Progress)] == ["tool_call"] * 4
    assert sum(chunk.tokens for chunk in chunks if isinstance(chunk, Progress)) > 6  # they are billed as text is
    assert end.tool_calls == (ToolCall("c1", "get_weather", '{"city": "Paris"}'), ToolCall("call_r_1", "now", "{}"))
    assert end.finish_reason == "tool_calls"
    assert end.usage == Usage(9, 4, None)


@pytest.mark.parametrize(
    "function", [{"name": "now", "arguments": '{"zone": "U'}, {"arguments": "{}"}], ids=["half", "no name"]
)
def test_half_a_call_is_never_delivered(function: dict[str, str]) -> None:
    """It might be carried out. What a limit cut off is left out, and the finish reason tells of it."""
    whole = {"index": 0, "function": {"name": "now", "arguments": "{}"}}
    calls = [whole, {"index": 1, "function": function}]
    with pytest.raises(AttemptFailed) as failed:
        read(delta(tool_calls=calls), delta("tool_calls"))
    assert failed.value.kind is FailureKind.PROTOCOL
    _, end = read(delta(tool_calls=calls), delta("length"))
    names = [call.name for call in end.tool_calls]
    assert names[:1] == ["now"]
    assert end.finish_reason == "length"


def test_thinking_is_progress_and_no_text() -> None:
    chunks, _ = read(delta(reasoning_content="hm"), delta(content="Yes."), delta("stop"))
    assert chunks == [Progress("thinking"), Delta("Yes.")]


def test_a_stream_without_a_finish_reason_was_cut_off() -> None:
    with pytest.raises(AttemptFailed) as failed:
        read(delta(content="Ye"))
    assert failed.value.kind is FailureKind.TRUNCATED


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 400, "message": "no", "type": "invalid_request_error"}, FailureKind.BAD_REQUEST),
        ({"code": 503, "message": "busy", "type": "unavailable_error"}, FailureKind.OVERLOADED),
        ({"code": 500, "message": "oops", "type": "server_error"}, FailureKind.INTERNAL),
        ({"message": "?"}, FailureKind.INTERNAL),
        ("only words", FailureKind.INTERNAL),
        ({"type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 4}, FailureKind.CONTEXT_OVERFLOW),
        ({"type": "exceed_context_size_error"}, FailureKind.CONTEXT_OVERFLOW),
    ],
)
def test_errors_in_the_stream_are_told_by_kind(error: object, kind: FailureKind) -> None:
    assert failure(error).kind is kind
    with pytest.raises(AttemptFailed):
        read({"error": error})


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": 3},
        {"choices": [3]},
        {"choices": [{"delta": "x"}]},
        {"usage": {"a": 1}},
        delta(tool_calls=[{"index": "x"}]),
    ],
)
def test_chunks_of_an_unknown_form_are_a_matter_of_protocol(chunk: dict[str, Any]) -> None:
    with pytest.raises(AttemptFailed) as failed:
        read(chunk)
    assert failed.value.kind is FailureKind.PROTOCOL


def test_a_forced_call_that_is_no_json_is_a_matter_of_protocol() -> None:
    with pytest.raises(AttemptFailed) as failed:
        read(delta(content="{oops"), delta("stop"), forced=True)
    assert failed.value.kind is FailureKind.PROTOCOL


def test_the_callers_options_pass_but_cannot_stop_the_stream() -> None:
    options = {"min_p": 0.1, "stream": False, "return_progress": False, "n": 3, "messages": []}
    found = body(Request("r", (Message("user", "Hi"),), provider_options=options), SPEC)
    assert found["min_p"] == 0.1
    assert found["stream"] is True
    assert found["return_progress"] is True
    assert found["n"] == 1
    assert found["messages"] == [{"role": "user", "content": "Hi"}]


def test_tools_are_offered_unless_forbidden() -> None:
    tools = (Tool("f"),)
    offered = body(Request("r", (Message("user", "Hi"),), tools=tools), SPEC)
    assert offered["tools"][0]["function"] == {"name": "f", "description": "", "parameters": {"type": "object"}}
    assert "tools" not in body(Request("r", (Message("user", "Hi"),), tools=tools, tool_choice="none"), SPEC)
