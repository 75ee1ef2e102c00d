"""Claude's Messages API: the body as it goes out, the stream as it comes in, and what counts as a whole answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from oblix.errors import FailureKind
from oblix.models.claude import DEFAULT_MAX_TOKENS
from oblix.types.chunk import Delta, Usage
from oblix.types.messages import Image, Message, ResponseFormat, Text, Tool, ToolCall

from .asking import KEY, ask, hear
from .upstream import LAST, Script, chunk, head, whole

WEATHER = Tool("get_weather", "Looks outside", {"type": "object", "properties": {"city": {"type": "string"}}})
STOP = {"type": "message_stop"}
PING = {"type": "ping"}


def start(tokens: int = 9, **more: int) -> dict[str, Any]:
    return {"type": "message_start", "message": {"usage": {"input_tokens": tokens, "output_tokens": 1, **more}}}


def opens(index: int = 0, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": "", **block}}


def piece(index: int = 0, **delta: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def text(said: str, index: int = 0) -> dict[str, Any]:
    return piece(index, type="text_delta", text=said)


def closes(index: int = 0) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def ends(reason: str | None = "end_turn", tokens: int = 2, **more: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": tokens, **more}}


def events(*found: dict[str, Any]) -> list[bytes]:
    """Named events, as the API sends them."""
    return [chunk(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode()) for e in found]


def stream(*found: dict[str, Any], last: bytes = LAST) -> Script:
    return [head("text/event-stream; charset=utf-8"), *events(*found), last]


GOOD = stream(start(), opens(), PING, text("Hel"), text("lo"), closes(), ends(), STOP)


def body_of(**wishes: Any) -> dict[str, Any]:
    return hear("claude", GOOD, request=ask(**wishes), capabilities=frozenset({"vision"})).asked[0].json


def test_a_happy_stream() -> None:
    heard = hear("claude", GOOD)
    assert [found.text for found in heard.chunks if isinstance(found, Delta)] == ["Hel", "lo"]
    assert heard.progress == 0
    assert heard.end.finish_reason == "stop"
    assert heard.end.usage == Usage(9, 2)
    asked = heard.asked[0]
    assert asked.line == "POST /v1/messages HTTP/1.1"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.headers["anthropic-version"] == "2026-10-21"
    assert asked.headers["accept-encoding"] == "identity"


def test_no_key_no_header() -> None:
    headers = hear("claude", GOOD, settings={"key": None}).asked[0].headers
    assert "authorization" not in headers
    assert "anthropic-version" in headers


def test_an_address_that_ends_in_v1_is_the_same() -> None:
    """OpenAI's users are used to it."""
    from .asking import gather, lanes, model_of, run, spec_of
    from .upstream import Upstream

    async def main() -> str:
        async with Upstream(GOOD) as upstream, lanes() as transport:
            await gather(model_of("claude", spec_of("claude", f"{upstream.url}/v1"), transport), ask())
            return upstream.requests[0].path

    assert run(main()) == "/v1/messages"


def test_the_smallest_body() -> None:
    """The API demands a limit."""
    assert body_of() == {
        "model": "tried",
        "max_tokens": DEFAULT_MAX_TOKENS,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Say hello."}]}],
        "stream": True,
    }


def test_the_limit_can_be_set_at_the_hook() -> None:
    heard = hear("claude", GOOD, settings={"max_tokens": 77})
    assert heard.asked[0].json["max_tokens"] == 77


def test_every_wish_has_its_place() -> None:
    """Sampling parameters do not exist any more in this version of the API; who needs them passes them on as they are."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    body = body_of(
        temperature=0.3,
        top_p=0.9,
        seed=1,
        logprobs=2,
        max_tokens=7,
        stop=("END",),
        tools=(WEATHER, Tool("now")),
        tool_choice="required",
        response_format=ResponseFormat("json_schema", schema),
        provider_options={"top_k": 5},
    )
    assert not {"temperature", "top_p", "seed", "logprobs", "stop"} & body.keys()
    assert (body["max_tokens"], body["stop_sequences"], body["top_k"]) == (7, ["END"], 5)
    assert body["tools"] == [
        {"name": "get_weather", "description": "Looks outside", "input_schema": WEATHER.parameters},
        {"name": "now", "description": "", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert body["tool_choice"] == {"type": "any"}
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": schema}}
    assert body_of(provider_options={"temperature": 0.3})["temperature"] == 0.3


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("get_weather", {"type": "tool", "name": "get_weather"}),
    ],
)
def test_tool_choice(choice: str, sent: object) -> None:
    assert body_of(tools=(WEATHER,), tool_choice=choice)["tool_choice"] == sent


def test_the_system_prompt_stands_apart() -> None:
    """Wherever it stood; several become one."""
    body = body_of(messages=(Message("system", "Be brief."), Message("user", "Hi"), Message("system", "Be kind.")))
    assert body["system"] == "Be brief.\n\nBe kind."
    assert [message["role"] for message in body["messages"]] == ["user"]


def test_a_conversation() -> None:
    """Turns alternate: neighbours of one role are joined, tool results are the user's."""
    body = body_of(
        messages=(
            Message("user", "Look."),
            Message("user", (Text("What is this?"), Image("image/jpeg", "AAAA"), Image(url="https://x.example/a.png"))),
            Message("assistant", "I look.", (ToolCall("t1", "get_weather", '{"city": "Bonn"}'),)),
            Message("assistant", "", (ToolCall("t2", "now", ""),)),
            Message("tool", "12 °C", tool_call_id="t1"),
            Message("tool", "noon", tool_call_id="t2"),
            Message("user", "And?"),
        )
    )
    assert body["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}},
                {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}},
                {"type": "text", "text": "Look.\nWhat is this?"},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"city": "Bonn"}},
                {"type": "tool_use", "id": "t2", "name": "now", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "12 °C"},
                {"type": "tool_result", "tool_use_id": "t2", "content": "noon"},
                {"type": "text", "text": "And?"},
            ],
        },
    ]


def test_tool_calls_in_pieces_are_delivered_whole() -> None:
    heard = hear(
        "claude",
        stream(
            start(),
            opens(0),
            text("Let me look. "),
            closes(0),
            opens(1, type="tool_use", id="t1", name="get_weather", input={}),
            piece(1, type="input_json_delta", partial_json=""),
            piece(1, type="input_json_delta", partial_json='{"city": '),
            piece(1, type="input_json_delta", partial_json='"Bonn"}'),
            closes(1),
            opens(2, type="tool_use", id="t2", name="now", input={}),
            closes(2),
            ends("tool_use"),
            STOP,
        ),
    )
    assert heard.end.tool_calls == (ToolCall("t1", "get_weather", '{"city": "Bonn"}'), ToolCall("t2", "now", "{}"))
    assert heard.end.finish_reason == "tool_calls"
    assert heard.text == "Let me look. "
    assert heard.progress == 3


def test_a_tool_call_that_comes_whole_keeps_its_input() -> None:
    """Servers that do not stream arguments put them where the block opens."""
    heard = hear(
        "claude",
        stream(
            start(),
            opens(0, type="tool_use", id="t1", name="get_weather", input={"city": "Bonn"}),
            closes(0),
            ends("tool_use"),
            STOP,
        ),
    )
    (call,) = heard.end.tool_calls
    assert json.loads(call.arguments) == {"city": "Bonn"}


def test_thinking_is_progress_and_no_text() -> None:
    heard = hear(
        "claude",
        stream(
            start(),
            opens(0, type="thinking", thinking="", signature=""),
            piece(0, type="thinking_delta", thinking="hmm"),
            piece(0, type="signature_delta", signature="Eq=="),
            closes(0),
            opens(1, type="redacted_thinking", data="xx"),
            closes(1),
            opens(2),
            text("42", 2),
            closes(2),
            ends(),
            STOP,
        ),
    )
    assert heard.text == "42"
    assert heard.progress == 2


def test_pings_and_unknown_events_are_no_progress() -> None:
    heard = hear("claude", stream(PING, start(), {"type": "brand_new", "x": [1]}, PING, opens(text="a"), ends(), STOP))
    assert heard.progress == 0
    assert heard.text == "a"


def test_usage_counts_what_was_read_from_and_written_to_the_cache() -> None:
    """`input_tokens` leaves both out; what was paid for is the sum."""
    script = stream(start(10, cache_read_input_tokens=64, cache_creation_input_tokens=32), text("a"), ends(), STOP)
    assert hear("claude", script).end.usage == Usage(106, 2, 64, 32)


def test_the_closing_usage_counts() -> None:
    """llama.cpp and the newer API repeat the input there."""
    assert hear("claude", stream(start(1), text("a"), ends(tokens=5, input_tokens=12), STOP)).end.usage == Usage(12, 5)


def test_no_usage_is_no_invention() -> None:
    last = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    assert hear("claude", stream(text("a"), last, STOP)).end.usage == Usage(None, None, None)


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("brand_new", "brand_new"),
    ],
)
def test_finish_reasons(reason: str, finish: str) -> None:
    assert hear("claude", stream(start(), text("a"), ends(reason), STOP)).end.finish_reason == finish


@pytest.mark.parametrize(
    "script",
    [
        stream(start(), text("a"), ends()),
        stream(start(), text("a"), STOP),
        stream(start(), text("a"), ends(None), STOP),
        stream(start(), text("a")),
        stream(),
    ],
    ids=["no message_stop", "no stop_reason", "stop_reason null", "only text", "nothing"],
)
def test_an_answer_without_proof_is_truncated(script: Script) -> None:
    """The official SDK takes all of these for whole answers."""
    assert hear("claude", script).failed.kind is FailureKind.TRUNCATED


def test_what_follows_the_end_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oblix.models.transport.END_GRACE", 0.05)
    heard = hear("claude", stream(start(), text("a"), ends(), STOP, text("b"), last=b""))
    assert heard.text == "a"
    assert heard.end.finish_reason == "stop"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("overloaded_error", FailureKind.OVERLOADED),
        ("api_error", FailureKind.SERVER_ERROR),
        ("rate_limit_error", FailureKind.RATE_LIMITED),
        ("authentication_error", FailureKind.AUTH),
        ("brand_new_error", FailureKind.SERVER_ERROR),
    ],
)
def test_an_error_in_the_middle_of_the_stream(error: str, kind: FailureKind) -> None:
    event = {"type": "error", "error": {"type": error, "message": "said"}}
    heard = hear("claude", stream(start(), text("half an ans"), event, STOP))
    assert heard.text == "half an ans"
    assert heard.failed.kind is kind


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"",
        b"[]",
        b"null",
        b'{"no": "type"}',
        b'{"type": 5}',
        b'{"type": "content_block_delta", "delta": {"type": "text_delta", "text": "\xff"}}',
        b'{"type": "x", "y": ' + b"[" * 50_000,
    ],
    ids=["half", "empty", "list", "null", "no type", "bad type", "UTF-8", "deep"],
)
def test_a_malformed_event(raw: bytes) -> None:
    script = [head(), *events(start(), text("a")), chunk(b"data: " + raw + b"\n\n"), *events(ends(), STOP), LAST]
    heard = hear("claude", script)
    assert heard.failed.kind is FailureKind.PROTOCOL
    assert heard.text == "a"


@pytest.mark.parametrize("content_type", ["application/json", "text/html", "text/plain", "application/octet-stream"])
def test_an_answer_that_is_no_stream(content_type: str) -> None:
    failed = hear("claude", [whole(b"{}", content_type)]).failed
    assert failed.kind is FailureKind.PROTOCOL
    assert content_type in failed.message


@pytest.mark.parametrize("written", ["", '{"city": "Bo'], ids=["before its arguments", "in the middle of them"])
def test_a_call_that_a_limit_cut_off_is_not_delivered(written: str) -> None:
    """Its block is closed in order all the same."""
    heard = hear(
        "claude",
        stream(
            start(),
            opens(type="tool_use", id="t1", name="get_weather", input={}),
            piece(type="input_json_delta", partial_json=written),
            closes(),
            ends("max_tokens"),
            STOP,
        ),
    )
    assert heard.end.tool_calls == ()
    assert heard.end.finish_reason == "length"


def test_half_a_call_that_ends_as_if_it_were_whole_is_no_answer() -> None:
    call = opens(type="tool_use", id="t1", name="get_weather", input={})
    half = piece(type="input_json_delta", partial_json='{"city": "Bo')
    assert (
        hear("claude", stream(start(), call, half, closes(), ends("tool_use"), STOP)).failed.kind
        is FailureKind.PROTOCOL
    )


def test_thoughts_are_kept_as_they_came_and_unsigned_ones_are_not() -> None:
    """They go back with the next request; without a signature they would be refused."""
    heard = hear(
        "claude",
        stream(
            start(),
            opens(0, type="thinking", thinking="", signature=""),
            piece(0, type="thinking_delta", thinking="Let "),
            piece(0, type="thinking_delta", thinking="me see."),
            piece(0, type="signature_delta", signature="EqQB"),
            closes(0),
            opens(1, type="redacted_thinking", data="EmwK"),
            closes(1),
            opens(2, type="thinking", thinking="unsigned"),
            closes(2),
            opens(3, type="redacted_thinking"),
            piece(9, type="signature_delta", signature="of nothing"),
            opens(4),
            text("Yes.", 4),
            ends(),
            STOP,
        ),
    )
    assert [thought.body for thought in heard.end.thoughts] == [
        {"type": "thinking", "thinking": "Let me see.", "signature": "EqQB"},
        {"type": "redacted_thinking", "data": "EmwK"},
    ]
    assert {(thought.provider, thought.model) for thought in heard.end.thoughts} == {("claude", "tried")}
    assert (heard.text, heard.progress) == ("Yes.", 5)
