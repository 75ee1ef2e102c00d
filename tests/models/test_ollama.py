"""Ollama's chat endpoint: the body as it goes out, the lines as they come in, and models that are not run here."""

from __future__ import annotations

import json
from typing import Any

import pytest

from oblix.errors import ConfigurationError, FailureKind
from oblix.models.ollama import MAX_WINDOW, MIN_WINDOW
from oblix.models.portable import NO_RESULT
from oblix.types.chunk import Delta, Usage
from oblix.types.messages import Image, Message, ResponseFormat, Text, Tool, ToolCall

from .asking import KEY, ask, gather, hear, lanes, model_of, run, spec_of
from .upstream import LAST, Script, Upstream, chunk, head, ndjson, whole

KIND = "application/x-ndjson"
WEATHER = Tool("get_weather", "Looks outside", {"type": "object", "properties": {"city": {"type": "string"}}})
LOCAL = [whole({"details": {}, "model_info": {}})]


def says(text: str = "", **more: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": text, **{k: v for k, v in more.items() if k in ("thinking", "tool_calls")}}
    rest = {key: value for key, value in more.items() if key not in said}
    return {"model": "tried", "created_at": "2026-11-22T00:00:00Z", "message": said, "done": False, **rest}


def ends(reason: str = "stop", **more: Any) -> dict[str, Any]:
    counts = {"prompt_eval_count": 9, "eval_count": 2, "total_duration": 5}
    return {**says(""), "done": True, "done_reason": reason, **counts, **more}


def stream(*lines: dict[str, Any], last: bytes = LAST) -> Script:
    return [head(KIND), *ndjson(*lines), last]


GOOD = stream(says("Hel"), says("lo"), ends())


def body_of(settings: dict[str, Any] | None = None, *, window: int | None = None, **wishes: Any) -> dict[str, Any]:
    vision = frozenset({"vision"})
    heard = hear("ollama", GOOD, request=ask(**wishes), settings=settings, window=window, capabilities=vision)
    return heard.asked[0].json


def test_a_happy_stream() -> None:
    heard = hear("ollama", GOOD)
    assert [piece.text for piece in heard.chunks if isinstance(piece, Delta)] == ["Hel", "lo"]
    assert heard.end.finish_reason == "stop"
    assert heard.end.usage == Usage(9, 2)
    (asked,) = heard.asked
    assert asked.line == "POST /api/chat HTTP/1.1"
    assert asked.headers["authorization"] == f"Bearer {KEY}"


def test_no_key_no_header() -> None:
    assert "authorization" not in hear("ollama", GOOD, settings={"key": None}).asked[0].headers


def test_the_smallest_body() -> None:
    """The window is always said: Ollama's own default cuts a longer prompt without a word."""
    assert body_of() == {
        "model": "tried",
        "messages": [{"role": "user", "content": "Say hello."}],
        "stream": True,
        "keep_alive": "5m",
        "truncate": False,
        "shift": False,
        "options": {"num_ctx": MIN_WINDOW},
    }


def test_every_wish_has_its_place() -> None:
    """What steers the sampling belongs into `options`; on the top level Ollama ignores it silently."""
    schema = {"type": "object"}
    body = body_of(
        {"keep_alive": -1},
        temperature=0.0,
        top_p=0.9,
        max_tokens=7,
        seed=0,
        stop=("END", "\n"),
        logprobs=3,
        tools=(WEATHER,),
        response_format=ResponseFormat("json_schema", schema),
        provider_options={"think": False, "options": {"top_k": 5, "num_ctx": 777}},
    )
    assert body["options"] == {
        "num_ctx": 777,
        "temperature": 0.0,
        "top_p": 0.9,
        "num_predict": 7,
        "seed": 0,
        "stop": ["END", "\n"],
        "top_k": 5,
    }
    assert not {"temperature", "top_p", "seed", "stop", "num_predict", "max_tokens", "num_ctx"} & body.keys()
    assert (body["keep_alive"], body["truncate"], body["shift"], body["think"]) == (-1, False, False, False)
    assert (body["logprobs"], body["top_logprobs"], body["format"]) == (True, 3, schema)
    assert body["tools"][0]["function"]["name"] == "get_weather"


def test_json_without_schema() -> None:
    assert body_of(response_format=ResponseFormat("json_object"))["format"] == "json"


def test_no_tools_are_offered_where_none_may_be_called() -> None:
    """Ollama has no `tool_choice`; leaving the tools out is the same as `none`."""
    assert "tools" not in body_of(tools=(WEATHER,), tool_choice="none")
    assert "tools" in body_of(tools=(WEATHER,), tool_choice="auto")


def test_provider_options_are_left_as_they_were() -> None:
    """A request may be asked again, elsewhere."""
    given = {"options": {"top_k": 5}}
    body_of(provider_options=given)
    assert given == {"options": {"top_k": 5}}


def test_a_conversation() -> None:
    """Images are bare base64, arguments objects, and a result names the tool that it comes from."""
    body = body_of(
        messages=(
            Message("system", "Be brief."),
            Message("user", (Text("What is this?"), Image("image/jpeg", "AAAA"))),
            Message("assistant", "", (ToolCall("c1", "get_weather", '{"city": "Bonn"}'), ToolCall("c2", "now", "{"))),
            Message("tool", "12 °C", tool_call_id="c1"),
            Message("tool", "lost", tool_call_id="gone"),
        )
    )
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is this?", "images": ["AAAA"]},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "c1", "function": {"name": "get_weather", "arguments": {"city": "Bonn"}}},
                {"id": "c2", "function": {"name": "now", "arguments": {"input": "{"}}},
            ],
        },
        {"role": "tool", "content": "12 °C", "tool_call_id": "c1", "tool_name": "get_weather"},
        {"role": "tool", "content": NO_RESULT, "tool_call_id": "c2", "tool_name": "now"},
    ]


def test_an_image_at_an_address_is_refused_before_anything_is_sent() -> None:
    image = Message("user", (Text("?"), Image(url="https://x.example/a.png")))
    heard = hear("ollama", GOOD, request=ask(messages=(image,)))
    assert heard.failed.kind is FailureKind.BAD_REQUEST
    assert heard.connections == 0


@pytest.mark.parametrize(
    ("words", "max_tokens", "window"),
    [(10, None, 4096), (1000, None, 4096), (6000, None, 16384), (10, 6000, 8192), (30_000, None, 32768)],
)
def test_the_window_fits_prompt_and_answer(words: int, max_tokens: int | None, window: int) -> None:
    """A power of two, so that growing prompts do not load the model anew each time; never above our own limit."""
    body = body_of(prompt="word " * words, max_tokens=max_tokens)
    assert body["options"]["num_ctx"] == window
    assert MIN_WINDOW <= window <= MAX_WINDOW


def test_a_declared_window_is_used_as_it_is() -> None:
    assert body_of(window=2048, prompt="word " * 2000)["options"]["num_ctx"] == 2048


def test_the_window_never_shrinks() -> None:
    """Each change would make Ollama load the model anew; where one has to be, it is waited for as a load."""
    loaded = [whole({"model": "tried", "response": "", "done": True, "done_reason": "load"})]

    async def main() -> list[tuple[str, int]]:
        async with Upstream(GOOD, [whole({"models": []})], loaded, GOOD) as upstream, lanes() as transport:
            model = model_of("ollama", spec_of("ollama", upstream.url), transport)
            for prompt in ("short", "word " * 6000, "short"):
                await gather(model, ask(prompt))
            assert model.state().window == 16384
            await model.close()
            posts = [asked for asked in upstream.requests if asked.body]
            return [(asked.path, asked.json["options"]["num_ctx"]) for asked in posts]

    chat, load = "/api/chat", "/api/generate"
    assert run(main()) == [(chat, 4096), (load, 16384), (chat, 16384), (chat, 16384)]


def test_a_prompt_that_cannot_fit_leaves_the_window_as_it_was() -> None:
    """Nothing was read with a wider one, which costs memory and a load."""

    async def main() -> None:
        async with Upstream(GOOD) as upstream, lanes() as transport:
            model = model_of("ollama", spec_of("ollama", upstream.url), transport)
            assert (await gather(model, ask("word " * 40_000))).failed.kind is FailureKind.CONTEXT_OVERFLOW
            assert (await gather(model, ask())).end
            assert [asked.json["options"]["num_ctx"] for asked in upstream.requests] == [MIN_WINDOW]

    run(main())


def test_tool_calls_are_delivered_whole() -> None:
    """Over several lines; without ids of their own they get ids that differ."""

    def tool(name: str, arguments: Any, **more: Any) -> dict[str, Any]:
        return {"function": {"name": name, "arguments": arguments}, **more}

    heard = hear(
        "ollama",
        stream(
            says(tool_calls=[tool("a", {"x": 1}), tool("b", {}), tool("c", None)]),
            says(tool_calls=[tool("d", "{}"), tool("e", {}, id="own")]),
            says(tool_calls=[tool("f", {})]),
            ends(),
        ),
    )
    calls = heard.end.tool_calls
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [
        ("a", {"x": 1}),
        ("b", {}),
        ("c", {}),
        ("d", {}),
        ("e", {}),
        ("f", {}),
    ]
    assert [call.id for call in calls] == ["call_0", "call_1", "call_2", "call_3", "own", "call_5"]
    assert heard.end.finish_reason == "tool_calls"


def test_thinking_is_progress_and_no_text() -> None:
    heard = hear("ollama", stream(says(thinking="hmm"), says("42"), ends()))
    assert heard.text == "42"
    assert heard.progress == 1


def test_logprobs_are_gathered() -> None:
    one, two = {"token": "a", "logprob": -0.1}, {"token": "b", "logprob": -0.2}
    heard = hear("ollama", stream(says("a", logprobs=[one]), says("b", logprobs=[two]), ends()))
    assert heard.end.logprobs == (one, two)


@pytest.mark.parametrize(
    ("line", "finish"), [(ends("stop"), "stop"), (ends("length"), "length"), (ends(done_reason=None), "stop")]
)
def test_finish_reasons(line: dict[str, Any], finish: str) -> None:
    assert hear("ollama", stream(says("a"), line)).end.finish_reason == finish


def test_no_counts_are_no_invention() -> None:
    assert hear("ollama", stream(says("a"), {"done": True})).end.usage == Usage(None, None, None)


@pytest.mark.parametrize(
    "script",
    [
        [head(KIND), *ndjson(says("a")), chunk(json.dumps(ends()).encode()), LAST],
        stream(says("a"), ends(), says("b")),
        [whole(json.dumps(ends() | {"message": {"content": "a"}}).encode(), "application/json; charset=utf-8")],
        [head(KIND), chunk(b"\r\n".join(json.dumps(line).encode() for line in (says("a"), ends())) + b"\r\n"), LAST],
    ],
    ids=["no last line ending", "more after the end", "not streamed", "CRLF"],
)
def test_whole_answers(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oblix.models.transport.END_GRACE", 0.05)
    heard = hear("ollama", script)
    assert (heard.text, heard.end.finish_reason) == ("a", "stop")


@pytest.mark.parametrize(
    "script",
    [stream(says("a")), stream(), stream(says("a"), says("", done_reason="stop"))],
    ids=["only text", "nothing", "a reason, but not done"],
)
def test_an_answer_without_proof_is_truncated(script: Script) -> None:
    """As when the runner dies: Ollama ends the body in order, without `done`."""
    assert hear("ollama", script).failed.kind is FailureKind.TRUNCATED


def test_half_a_last_line_is_no_answer() -> None:
    script = [head(KIND), *ndjson(says("a")), chunk(json.dumps(ends()).encode()[:-9]), LAST]
    assert hear("ollama", script).failed.kind is FailureKind.PROTOCOL


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("an error was encountered while running the model: CUDA error", FailureKind.SERVER_ERROR),
        ("an error was encountered while running the model: signal: killed", FailureKind.ENGINE_CRASH),
        ("an error was encountered while running the model: unexpected EOF", FailureKind.ENGINE_CRASH),
        ("llama runner process no longer running: 1", FailureKind.ENGINE_CRASH),
        ("model requires more system memory (5.5 GiB) than is available (3 GiB)", FailureKind.MODEL_UNLOADABLE),
        ("the input length exceeds the context length", FailureKind.CONTEXT_OVERFLOW),
        ("model 'tried' not found", FailureKind.MODEL_MISSING),
    ],
)
def test_an_error_in_the_middle_of_the_stream(said: str, kind: FailureKind) -> None:
    heard = hear("ollama", stream(says("half an ans"), {"error": said}))
    assert heard.text == "half an ans"
    assert heard.failed.kind is kind
    if kind is FailureKind.MODEL_MISSING:
        assert heard.failed.hint == "ollama pull tried"


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[]",
        b"null",
        b"text",
        b'{"message": 5}',
        b'{"message": {"content": "\xff"}}',
        b'{"x": ' + b"[" * 50_000,
    ],
    ids=["half", "list", "null", "text", "bad message", "UTF-8", "deep"],
)
def test_a_malformed_line(raw: bytes) -> None:
    heard = hear("ollama", [head(KIND), *ndjson(says("a")), chunk(raw + b"\n"), *ndjson(ends()), LAST])
    assert heard.failed.kind is FailureKind.PROTOCOL
    assert heard.text == "a"


@pytest.mark.parametrize("name", ["tried", "tried:7b"])
def test_a_missing_model_comes_with_the_line_that_fetches_it(name: str) -> None:
    failed = hear("ollama", [whole({"error": f"model '{name}' not found"}, status=404)], name=name).failed
    assert failed.kind is FailureKind.MODEL_MISSING
    assert failed.hint == f"ollama pull {name}"


def test_another_server_at_ollamas_port_is_no_missing_model() -> None:
    """`ollama pull` would not help."""
    failed = hear("ollama", [whole(b"404 page not found", "text/plain", status=404)]).failed
    assert failed.kind is FailureKind.PROTOCOL
    assert "Is it an Ollama server" in (failed.hint or "")


def test_a_beginning_is_the_last_turn() -> None:
    heard = hear("ollama", GOOD, request=ask("Count."), said="One, ", capabilities=frozenset({"prefill"}))
    assert heard.text == "Hello"
    assert heard.asked[0].json["messages"][1:] == [{"role": "assistant", "content": "One, "}]


def test_a_prompt_that_cannot_fit_is_not_sent() -> None:
    """Into the widest window that we ask for, with every word as one token."""
    heard = hear("ollama", GOOD, request=ask("word " * 40_000))
    assert heard.failed.kind is FailureKind.CONTEXT_OVERFLOW
    assert (heard.failed.tokens, heard.failed.window) == (40_000, MAX_WINDOW)
    assert heard.connections == 0


def test_a_prompt_that_was_cut_has_no_answer() -> None:
    """Older servers do not know `truncate`: they leave the beginning out and answer with status 200."""
    heard = hear("ollama", stream(says("I invent"), ends(prompt_eval_count=2048)), request=ask("word " * 9000))
    assert heard.text == "I invent"
    assert heard.failed.kind is FailureKind.CONTEXT_OVERFLOW
    assert (heard.failed.tokens, heard.failed.window) == (9000, 2048)


def test_who_asks_for_a_cut_gets_the_answer() -> None:
    """`truncate` is Ollama's own wish for it."""
    cut = stream(says("Hello"), ends(prompt_eval_count=2048))
    request = ask("word " * 9000, provider_options={"truncate": True})
    assert hear("ollama", cut, request=request).text == "Hello"


def test_options_that_are_no_mapping_are_refused() -> None:
    heard = hear("ollama", GOOD, request=ask(provider_options={"options": 5}))
    assert heard.failed.kind is FailureKind.BAD_REQUEST
    assert heard.connections == 0


def test_arguments_that_are_no_object_are_no_call() -> None:
    call = says(tool_calls=[{"function": {"name": "now", "arguments": "soon"}}])
    assert hear("ollama", stream(call, ends())).failed.kind is FailureKind.PROTOCOL


def test_a_call_that_a_limit_cut_off_is_not_delivered() -> None:
    heard = hear("ollama", stream(says(tool_calls=[{"function": {"name": "now", "arguments": "{"}}]), ends("length")))
    assert heard.end.tool_calls == ()
    assert heard.end.finish_reason == "length"


def test_a_keep_alive_that_ollama_would_refuse_is_refused_when_it_is_given() -> None:
    with pytest.raises(ConfigurationError, match="keep_alive='soon'"):
        hear("ollama", GOOD, settings={"keep_alive": "soon"})
