"""OpenAI's chat completions: the body as it goes out, the stream as it comes in, and what counts as a whole answer."""

from __future__ import annotations

from typing import Any

import pytest

from oblix.errors import FailureKind
from oblix.models.openai import OpenAIModel
from oblix.models.openai_body import body
from oblix.models.transport import Transport
from oblix.types.chunk import Delta, Usage
from oblix.types.messages import Image, Message, ResponseFormat, Text, Tool, ToolCall
from oblix.types.spec import ModelSpec

from .asking import KEY, ask, hear, run, spec_of
from .upstream import LAST, Script, chunk, head, sse, whole

DONE = b"[DONE]"
WEATHER = Tool("get_weather", "Looks outside", {"type": "object", "properties": {"city": {"type": "string"}}})
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}


def says(text: str | None = None, *, finish: str | None = None, **said: Any) -> dict[str, Any]:
    """One chunk with one choice."""
    delta = {**({"content": text} if text is not None else {}), **said}
    return {"id": "c1", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}  # fmt: skip


def usage(prompt: int, answer: int, **more: Any) -> dict[str, Any]:
    """The closing chunk."""
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": answer, **more}}


def stream(*events: dict[str, Any] | bytes, last: bytes = LAST) -> Script:
    return [head(), *sse(*events), last]


GOOD = stream(says("", role="assistant"), says("Hel"), says("lo"), says(finish="stop"), usage(9, 2), DONE)


def body_of(**wishes: Any) -> dict[str, Any]:
    """What goes over the wire for these wishes."""
    return hear("openai", GOOD, request=ask(**wishes), capabilities=frozenset({"vision"})).asked[0].json


def test_a_happy_stream() -> None:
    heard = hear("openai", GOOD)
    assert [piece.text for piece in heard.chunks if isinstance(piece, Delta)] == ["Hel", "lo"]
    assert heard.end.finish_reason == "stop"
    assert heard.end.usage == Usage(9, 2)
    assert heard.end.tool_calls == ()
    asked = heard.asked[0]
    assert asked.line == "POST /v1/chat/completions HTTP/1.1"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["accept-encoding"] == "identity"
    assert asked.headers["user-agent"].startswith("oblix/")


def test_no_key_no_header() -> None:
    assert "authorization" not in hear("openai", GOOD, settings={"key": None}).asked[0].headers


def test_the_smallest_body() -> None:
    """What was not wished for is not sent."""
    assert body_of() == {
        "model": "tried",
        "messages": [{"role": "user", "content": "Say hello."}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_every_wish_has_its_place() -> None:
    body = body_of(
        temperature=0.0,
        top_p=0.9,
        max_tokens=7,
        seed=0,
        stop=("END", "\n"),
        logprobs=3,
        tools=(WEATHER, Tool("now")),
        tool_choice="required",
        response_format=ResponseFormat("json_schema", SCHEMA, "count"),
        provider_options={"user": "u1", "top_p": 0.5},
    )
    assert (body["temperature"], body["seed"], body["stop"]) == (0.0, 0, ["END", "\n"])
    assert (body["max_tokens"], body["logprobs"], body["top_logprobs"]) == (7, True, 3)
    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "get_weather", "description": "Looks outside", "parameters": WEATHER.parameters},
        },
        {
            "type": "function",
            "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}},
        },
    ]
    assert body["tool_choice"] == "required"
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "count", "schema": SCHEMA, "strict": True},
    }
    assert (body["user"], body["top_p"]) == ("u1", 0.5)


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("get_weather", {"type": "function", "function": {"name": "get_weather"}}),
    ],
)
def test_tool_choice(choice: str, sent: object) -> None:
    assert body_of(tools=(WEATHER,), tool_choice=choice)["tool_choice"] == sent


def test_a_tool_choice_without_tools_is_not_sent() -> None:
    assert "tool_choice" not in body_of(tool_choice="auto")


def test_json_without_schema() -> None:
    assert body_of(response_format=ResponseFormat("json_object"))["response_format"] == {"type": "json_object"}


def test_a_conversation() -> None:
    """Roles, images, tool calls and tool results, each in its shape."""
    body = body_of(
        messages=(
            Message("system", "Be brief."),
            Message("user", (Text("What is this?"), Image("image/jpeg", "AAAA"), Image(url="https://x.example/a.png"))),
            Message("assistant", "", (ToolCall("call_1", "get_weather", '{"city": "Bonn"}'),)),
            Message("tool", "12 °C", tool_call_id="call_1"),
            Message("assistant", "Cold.", (ToolCall("call_2", "now", ""),)),
            Message("tool", "noon", tool_call_id="call_2"),
        )
    )
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,AAAA"}},
                {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"city": "Bonn"}'},
                }
            ],
        },
        {"role": "tool", "content": "12 °C", "tool_call_id": "call_1"},
        {
            "role": "assistant",
            "content": "Cold.",
            "tool_calls": [{"id": "call_2", "type": "function", "function": {"name": "now", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "noon", "tool_call_id": "call_2"},
    ]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_is_progress_and_no_text(field: str) -> None:
    heard = hear("openai", stream(says(**{field: "hmm"}), says("42", **{field: None}), says(finish="stop"), DONE))
    assert heard.text == "42"
    assert heard.progress == 1


def test_comments_and_empty_pieces_are_no_progress() -> None:
    """OpenRouter's `: OPENROUTER PROCESSING` keeps the line open, and says nothing of the model."""
    comments = [chunk(b": OPENROUTER PROCESSING\n\n")] * 3
    heard = hear("openai", [head(), *comments, *sse(says(""), says("hi"), says(finish="stop"), DONE), LAST])
    assert heard.progress == 0
    assert len(heard.chunks) == 2


def test_usage_with_cached_tokens() -> None:
    end = hear(
        "openai", stream(says("a", finish="stop"), usage(90, 2, prompt_tokens_details={"cached_tokens": 64}), DONE)
    ).end
    assert end.usage == Usage(90, 2, 64)


def test_usage_may_come_with_every_chunk() -> None:
    """The last counts."""
    first = {**says("a"), "usage": {"prompt_tokens": 5, "completion_tokens": 1}}
    last = {**says("b", finish="length"), "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
    heard = hear("openai", stream(first, last, DONE))
    assert heard.end.usage == Usage(5, 2)
    assert heard.end.finish_reason == "length"


def test_no_usage_is_no_invention() -> None:
    assert hear("openai", stream(says("a", finish="stop"), DONE)).end.usage == Usage(None, None, None)


def test_logprobs_are_gathered() -> None:
    token = {"token": "a", "logprob": -0.1, "top_logprobs": []}
    event = says("a", finish="stop")
    event["choices"][0]["logprobs"] = {"content": [token]}
    assert hear("openai", stream(event, DONE), request=ask(logprobs=1)).end.logprobs == (token,)


def test_other_choices_are_not_mixed_in() -> None:
    event = says("first")
    event["choices"].append({"index": 1, "delta": {"content": "second"}})
    assert hear("openai", stream(event, says(finish="stop"), DONE)).text == "first"


def test_what_we_do_not_know_is_skipped() -> None:
    event = {**says("a", refusal=None, annotations=[], audio={"x": 1}), "x_groq": {"id": 1}, "provider": "p"}
    assert hear("openai", stream(event, says(finish="stop"), DONE)).text == "a"


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("function_call", "tool_calls")],
)
def test_finish_reasons(finish: str, reason: str) -> None:
    assert hear("openai", stream(says("a", finish=finish), DONE)).end.finish_reason == reason


@pytest.mark.parametrize(
    "script",
    [
        stream(says("a", finish="stop"), usage(1, 1)),
        stream(says("a", finish="stop"), usage(1, 1), DONE, b"not even JSON"),
        stream(says("a", finish="stop"), usage(1, 1), DONE, last=b""),
        [
            head(),
            *[
                piece
                for event in sse(says("a", finish="stop"), usage(1, 1), DONE)
                for piece in (event[:9], event[9:20], event[20:])
            ],
            LAST,
        ],
    ],
    ids=["a clean end after the usage", "nonsense after the end", "no end of the body", "in small pieces"],
)
def test_whole_answers(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oblix.models.transport.END_GRACE", 0.05)
    heard = hear("openai", script)
    assert (heard.text, heard.end.finish_reason) == ("a", "stop")


@pytest.mark.parametrize(
    "script",
    [
        stream(says("a"), DONE),
        stream(says("a", finish="stop")),
        stream(says("a"), usage(1, 1)),
        stream(says("a")),
        stream(),
        stream(DONE),
        stream(usage(1, 1), DONE),
    ],
    ids=[
        "no finish_reason",
        "no [DONE], no usage",
        "usage without finish_reason",
        "only text",
        "nothing",
        "only [DONE]",
        "no choice at all",
    ],
)
def test_an_answer_without_proof_is_truncated(script: Script) -> None:
    """The official SDKs take all of these for whole answers."""
    assert hear("openai", script).failed.kind is FailureKind.TRUNCATED


def answer(message: dict[str, Any] | None, finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    return {
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4},
        **more,
    }


def test_a_server_that_does_not_stream() -> None:
    calls = [{"id": "a", "type": "function", "function": {"name": "now", "arguments": "{}"}}]
    heard = hear("openai", [whole(answer({"role": "assistant", "content": "hi", "tool_calls": [*calls, *calls]}))])
    assert heard.text == "hi"
    assert heard.end.usage == Usage(3, 4)
    assert heard.end.tool_calls == (ToolCall("a", "now", "{}"),) * 2


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"choices": []}, FailureKind.PROTOCOL),
        ({}, FailureKind.PROTOCOL),
        (b"{", FailureKind.PROTOCOL),
        (b"", FailureKind.PROTOCOL),
        (answer({"content": "half"}, None), FailureKind.TRUNCATED),
        ({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, FailureKind.RATE_LIMITED),
        ({"error": "plain words"}, FailureKind.SERVER_ERROR),
    ],
    ids=["no choice", "empty object", "half an object", "nothing", "no finish_reason", "an error", "an error in words"],
)
def test_a_bad_answer_in_one_piece(body: bytes | dict[str, Any], kind: FailureKind) -> None:
    assert hear("openai", [whole(body)]).failed.kind is kind


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"error": {"message": "boom", "type": "server_error"}}, FailureKind.SERVER_ERROR),
        ({"error": {"code": 429, "message": "upstream"}, "choices": []}, FailureKind.RATE_LIMITED),
        ({"error": {"code": "insufficient_quota", "message": "no"}}, FailureKind.QUOTA_EXHAUSTED),
        ({"error": "CUDA out of memory"}, FailureKind.SERVER_ERROR),
        ({"error": {"type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 5}}, FailureKind.CONTEXT_OVERFLOW),
    ],
)  # fmt: skip
def test_an_error_in_the_middle_of_the_stream(event: dict[str, Any], kind: FailureKind) -> None:
    heard = hear("openai", stream(says("half an ans"), event, DONE))
    assert heard.text == "half an ans"
    assert heard.failed.kind is kind


@pytest.mark.parametrize(
    "event",
    [
        b"{",
        b"",
        b"[]",
        b"null",
        b'"text"',
        b'{"choices": 5}',
        b'{"choices": [{"delta": {"content": 5}}]}',
        b'{"choices": [{"delta": {"content": "\xff"}}]}',
        b'{"choices": [{"delta": {"content": "\\ud800"}}]}',
        b'{"x": ' + b"[" * 50_000,
    ],
    ids=["half", "empty", "list", "null", "text", "choices", "content", "UTF-8", "a lone surrogate", "deep"],
)
def test_a_malformed_event(event: bytes) -> None:
    """Whatever comes, it is a failure of ours: no decoder's exception gets out."""
    heard = hear("openai", stream(says("a"), event, says(finish="stop"), DONE))
    assert heard.failed.kind is FailureKind.PROTOCOL
    assert heard.text == "a"


def test_openais_own_service_has_another_name_for_the_limit() -> None:
    """Its newer models refuse `max_tokens`; the compatible servers know nothing else."""
    spec = ModelSpec("openai:gpt", "openai", "gpt", "cloud", endpoint="https://api.openai.com/v1")
    found = body(ask(max_tokens=5), spec, None)
    assert found["max_completion_tokens"] == 5
    assert "max_tokens" not in found


def test_state_and_close_touch_nothing() -> None:
    model = OpenAIModel(spec_of("openai", "http://127.0.0.1:9", window=8), Transport())
    assert (model.state().loaded, model.state().window) == (True, 8)
    run(model.close())


def test_a_choice_that_says_nothing_but_its_end() -> None:
    """Some servers send `null` where the others send an empty delta."""
    last = {"choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]}
    heard = hear("openai", stream(says("Hi"), last, usage(9, 2), DONE))
    assert (heard.text, heard.end.finish_reason) == ("Hi", "stop")


def test_mistral_is_told_of_an_answer_that_the_caller_began() -> None:
    """Else it refuses a last turn of its own."""
    talk = (Message("user", "Count."), Message("assistant", "One, two, "))
    body = hear("openai", GOOD, request=ask(messages=talk), provider="mistral").asked[0].json
    assert body["messages"][-1] == {"role": "assistant", "content": "One, two, ", "prefix": True}
