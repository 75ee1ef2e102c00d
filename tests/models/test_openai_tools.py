"""Tool calls in OpenAI's streams: in pieces, side by side, and as other servers send them."""

from __future__ import annotations

from typing import Any

import pytest

from oblix.errors import FailureKind
from oblix.types.messages import Message, Thought, ToolCall

from .asking import ask, hear
from .test_openai import DONE, says, stream


def tool(index: int | None, call: str | None = None, name: str | None = None, arguments: str = "") -> dict[str, Any]:
    """A piece of a tool call."""
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return {"function": function} | ({} if index is None else {"index": index}) | ({"id": call} if call else {})


def test_tool_calls_in_pieces_are_delivered_whole() -> None:
    """Interleaved, by index; the pieces themselves are signs of life and no text."""
    heard = hear(
        "openai",
        stream(
            says("Let me look. "),
            says(tool_calls=[tool(0, "call_a", "get_weather")]),
            says(tool_calls=[tool(0, arguments='{"city": '), tool(1, "call_b", "now")]),
            says(tool_calls=[tool(1, arguments="{}")]),
            says(tool_calls=[tool(0, arguments='"Bonn"}')]),
            says(finish="tool_calls"),
            DONE,
        ),
    )
    assert heard.end.tool_calls == (
        ToolCall("call_a", "get_weather", '{"city": "Bonn"}'),
        ToolCall("call_b", "now", "{}"),
    )
    assert heard.end.finish_reason == "tool_calls"
    assert heard.text == "Let me look. "
    assert heard.progress == 4


@pytest.mark.parametrize("index", [0, None], ids=["all have index 0", "none has an index"])
def test_parallel_calls_that_share_an_index_stay_apart(index: int | None) -> None:
    """As Gemini's compatible endpoint sends them (https://github.com/NousResearch/hermes-agent/issues/62937)."""
    heard = hear(
        "openai",
        stream(
            says(tool_calls=[tool(index, "a", "get_weather", '{"city": "Bonn"}')]),
            says(tool_calls=[tool(index, "b", "get_weather", '{"city": ')]),
            says(tool_calls=[tool(index, arguments='"Ulm"}')]),
            says(finish="stop"),
            DONE,
        ),
    )
    assert heard.end.tool_calls == (
        ToolCall("a", "get_weather", '{"city": "Bonn"}'),
        ToolCall("b", "get_weather", '{"city": "Ulm"}'),
    )
    assert heard.end.finish_reason == "tool_calls"


@pytest.mark.parametrize("again", ["call_a", "call_x", ""], ids=["the same id", "another id", "an empty id"])
def test_an_id_that_is_told_again_starts_no_second_call(again: str) -> None:
    """Some servers put an id on every piece, older vLLM even a new one; only a name starts a call."""
    heard = hear(
        "openai",
        stream(
            says(tool_calls=[tool(0, "call_a", "now", "{")]),
            says(tool_calls=[{**tool(0, arguments="}"), "id": again}]),
            says(finish="tool_calls"),
            DONE,
        ),
    )
    (call,) = heard.end.tool_calls
    assert (call.name, call.arguments) == ("now", "{}")


@pytest.mark.parametrize("indices", [(0, 1), (None, None)], ids=["with indices", "without"])
def test_a_call_without_id_gets_one(indices: tuple[int | None, ...]) -> None:
    pieces = [tool(index, None, "now", "{}") for index in indices]
    heard = hear("openai", stream(says(tool_calls=pieces), says(finish="tool_calls"), DONE))
    assert [call.arguments for call in heard.end.tool_calls] == ["{}", "{}"]
    assert [call.id for call in heard.end.tool_calls] == ["call_0", "call_1"]


def test_a_call_that_a_limit_cut_off_is_not_delivered() -> None:
    """The one that was whole before it is; the finish reason tells of the rest."""
    heard = hear(
        "openai",
        stream(
            says(tool_calls=[tool(0, "a", "now", "{}"), tool(1, "b", "get_weather", '{"city": "Bo')]),
            says(finish="length"),
            DONE,
        ),
    )
    assert heard.end.tool_calls == (ToolCall("a", "now", "{}"),)
    assert heard.end.finish_reason == "length"


def test_half_a_call_that_ends_as_if_it_were_whole_is_no_answer() -> None:
    heard = hear(
        "openai",
        stream(says(tool_calls=[tool(0, "a", "get_weather", '{"city": "Bo')]), says(finish="tool_calls"), DONE),
    )
    assert heard.failed.kind is FailureKind.PROTOCOL


def test_what_openrouter_streams_of_a_thought_goes_back_whole_with_its_calls() -> None:
    """It asks many models, and wants the blocks of each as they were."""

    def detail(kind: str, index: int, **more: Any) -> dict[str, Any]:
        return {"reasoning_details": [{"type": kind, "index": index, "format": "anthropic-claude-v1", **more}]}

    script = stream(
        says(reasoning="Let", **detail("reasoning.text", 0, text="Let")),
        says(**detail("reasoning.text", 0, text=" me look.", signature=None)),
        says(**detail("reasoning.text", 0, text="", signature="sig")),
        says(**detail("reasoning.encrypted", 1, data="AAAA", id="rs_1")),
        says(tool_calls=[tool(0, "call_a", "now", "{}")]),
        says(finish="tool_calls"),
        DONE,
    )
    end = hear("openai", script, name="google/gemini-3.8-flash", provider="openrouter").end
    (thought,) = end.thoughts
    blocks = [
        {
            "type": "reasoning.text",
            "index": 0,
            "format": "anthropic-claude-v1",
            "text": "Let me look.",
            "signature": "sig",
        },
        {"type": "reasoning.encrypted", "index": 1, "format": "anthropic-claude-v1", "data": "AAAA", "id": "rs_1"},
    ]
    assert thought == Thought("openrouter", {"reasoning_details": blocks}, model="google/gemini-3.8-flash")
    talk = (
        Message("user", "How late?"),
        Message("assistant", "", end.tool_calls, thoughts=end.thoughts),
        Message("tool", "noon", tool_call_id="call_a"),
    )
    heard = hear("openai", script, request=ask(messages=talk), name="google/gemini-3.8-flash", provider="openrouter")
    assert heard.asked[0].json["messages"][1]["reasoning_details"] == blocks
    heard = hear("openai", script, request=ask(messages=talk), name="another", provider="openrouter")
    assert "reasoning_details" not in heard.asked[0].json["messages"][1]
