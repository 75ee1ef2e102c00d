"""A cloud model that sees placeholders: what leaves, what the user reads, and what is not sent at all. On real sockets."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from oblix.errors import FailureKind
from oblix.execution.attempt import Try
from oblix.execution.hands import Hands
from oblix.execution.journey import Journey
from oblix.models.base import Call, Loadable
from oblix.models.redacted import Redaction, redacting
from oblix.models.transport import Transport
from oblix.testing import ScriptedModel
from oblix.testing import run as simulate
from oblix.testing.faults import Fault, FaultServer
from oblix.types.chunk import Delta, End, Progress
from oblix.types.messages import Message, ResponseFormat, Tool, ToolCall
from oblix.types.privacy import Finding
from oblix.types.request import Request

from .asking import Heard, Wire, ask, gather, lanes, model_of, run, spec_of
from .upstream import LAST, Script, Upstream, chunk, head, sse, whole

ADA, BOB, CARD = "ada@example.org", "bob@example.net", "4111 1111 1111 1111"
KEY = '-----BEGIN KEY-----\nabc"\\\n-----END KEY-----'
PROMPT = f"I am {ADA}, my friend is {BOB}, my card is {CARD}, my key {KEY}."
SAID = r"Dear <EMAIL_1>, pay with <card_1>; tell \<EMAIL\_2\> of &lt;PEM_1&gt;, <EMAIL_9> and 1 < 2 <"
READ = f"Dear {ADA}, pay with {CARD}; tell {BOB} of {KEY}, <EMAIL_9> and 1 < 2 <"
_SHAPES = re.compile(
    r"(?P<email>[a-z.]+@[a-z]+\.[a-z]+)|(?P<card>[0-9]{4}(?: [0-9]{4}){3})|(?P<pem>-----BEGIN KEY-----[^-]*-----END KEY-----)"
)
CALL = '{"to": "<EMAIL_1>", "key": "<PEM_1>"}'


def find(text: str) -> tuple[Finding, ...]:
    """A detector for what stands in `PROMPT`."""
    return tuple(Finding(str(found.lastgroup), *found.span()) for found in _SHAPES.finditer(text))


def openai(pieces: Sequence[str], *, call: str | None = None) -> Script:
    """An answer of OpenAI's, piece by piece, maybe with a call of a tool."""

    def event(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    calls = [
        event({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "mail", "arguments": call}}]})
        for call in [call]
        if call is not None
    ]
    ends = [
        event({}, "tool_calls" if call else "stop"),
        {"choices": [], "usage": {"prompt_tokens": 40, "completion_tokens": 30}},
    ]
    return [head(), *sse(*(event({"content": piece}) for piece in pieces), *calls, *ends, b"[DONE]"), LAST]


def claude(pieces: Sequence[str], *, call: str | None = None) -> Script:
    """The same in Claude's words."""
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"usage": {"input_tokens": 40, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
            for piece in pieces
        ),
    ]
    if call is not None:
        block = {"type": "tool_use", "id": "c1", "name": "mail", "input": {}}
        events.append({"type": "content_block_start", "index": 1, "content_block": block})
        events += [
            {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": sign}}
            for sign in call
        ]
    reason = "tool_use" if call else "end_turn"
    events += [
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 30}},
        {"type": "message_stop"},
    ]
    return [head(), *(chunk(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode()) for e in events), LAST]


ANSWERS: dict[Wire, Callable[..., Script]] = {"openai": openai, "claude": claude}
wires = pytest.mark.parametrize("wire", ANSWERS)


def hear(
    wire: Wire, *scripts: Script, request: Request | None = None, said: str = "", scan: Any = find, **facts: Any
) -> Heard:
    """One attempt of a redacted model against a real server."""

    async def main() -> Heard:
        async with Upstream(*scripts) as upstream, lanes() as transport:
            model = redacting(
                model_of(wire, spec_of(wire, upstream.url, place="cloud", **facts), transport), Redaction(scan)
            )
            heard = await gather(model, request or ask(PROMPT), said)
            heard.asked, heard.received = upstream.requests, upstream.received
            return heard

    return run(main())


def assert_clean(received: bytes) -> None:
    """No byte of what is private."""
    assert received
    for secret in (ADA, BOB, CARD, "abc"):
        assert secret.encode() not in received


@wires
@pytest.mark.parametrize("size", [1, 2, 3, 7, len(SAID)])
def test_the_cloud_sees_placeholders_and_the_user_originals(wire: Wire, size: int) -> None:
    pieces = [SAID[at : at + size] for at in range(0, len(SAID), size)]
    heard = hear(wire, ANSWERS[wire](pieces))
    assert heard.text == READ
    assert heard.end.finish_reason == "stop"
    assert (heard.end.usage.input_tokens, heard.end.usage.output_tokens) == (40, 30)
    assert all(piece.text for piece in heard.chunks if isinstance(piece, Delta))
    assert len(heard.chunks) >= len(pieces)  # each was a sign of life
    assert_clean(heard.received)
    assert b"I am <EMAIL_1>, my friend is <EMAIL_2>, my card is <CARD_1>, my key <PEM_1>." in heard.received


@wires
def test_tool_calls_get_originals_as_json(wire: Wire) -> None:
    """And those of earlier turns are redacted, with the results of the tools."""
    request = ask(
        messages=(
            Message("user", PROMPT),
            Message("assistant", "", (ToolCall("c0", "mail", json.dumps({"to": ADA, "key": KEY})),)),
            Message("tool", f"sent to {ADA}", tool_call_id="c0"),
        ),
        tools=(Tool("mail", f"as {ADA}", {"type": "object", "properties": {"to": {"enum": [ADA, BOB]}}}),),
    )
    heard = hear(wire, ANSWERS[wire](["Sen", "ding"], call=CALL), request=request)
    (made,) = heard.end.tool_calls
    assert json.loads(made.arguments) == {"to": ADA, "key": KEY}
    assert (heard.text, made.name, heard.end.finish_reason) == ("Sending", "mail", "tool_calls")
    assert_clean(heard.received)


@wires
def test_an_answer_that_is_json_stays_json(wire: Wire) -> None:
    request = ask(PROMPT, response_format=ResponseFormat("json_object"))
    assert json.loads(hear(wire, ANSWERS[wire](list(CALL)), request=request).text) == {"to": ADA, "key": KEY}


def test_what_is_held_back_counts_as_work_and_not_as_text() -> None:
    """So that its timers see that it is alive."""
    heard = hear("openai", openai(list("<EMAIL_1>")))
    assert [type(piece) for piece in heard.chunks] == [*[Progress] * 8, Delta, End]
    assert heard.chunks[8] == Delta(ADA)


def test_going_on_with_an_answer_of_an_edge_model() -> None:
    """What it said holds originals; they leave as placeholders, and a new value gets one of its own."""
    new = "eve@example.com"
    said = f"Dear {ADA}, I wrote to {new} and"
    heard = hear("openai", openai([" to ", "<EMAIL_2>", " <EMAIL_3>"]), said=said, capabilities=frozenset({"prefill"}))
    assert heard.text == f" to {BOB} {new}"
    assert heard.asked[0].json["messages"][-1] == {
        "role": "assistant",
        "content": "Dear <EMAIL_1>, I wrote to <EMAIL_3> and",
    }
    assert_clean(heard.received)
    assert new.encode() not in heard.received


@pytest.mark.parametrize(
    ("request_", "said", "why"),
    [
        (ask(PROMPT), "Dear ada@exam", "in the middle"),
        (ask(messages=(Message("user", PROMPT), Message("assistant", "It is eve@"))), "example.com", "email"),
        (ask(PROMPT, private=True), "", "label"),
        (ask(PROMPT, stop=(">",)), "", "stop sequence"),
        (ask(PROMPT, provider_options={"x": object()}), "", "not JSON"),
        (ask(messages=(Message("tool", "ok", tool_call_id=ADA),)), "", "name or an id"),
    ],
    ids=["half a value", "a value over two turns", "labelled", "stop", "options", "id"],
)
def test_what_cannot_be_redacted_is_not_sent(request_: Request, said: str, why: str) -> None:
    heard = hear("openai", openai(["x"]), request=request_, said=said, capabilities=frozenset({"prefill"}))
    assert heard.failed.kind is FailureKind.POLICY
    assert why in heard.failed.message
    assert not heard.received


def test_what_is_still_found_after_redaction_is_not_sent() -> None:
    """A detector that sees in the placeholders' surroundings what it did not see before is not argued with."""

    def stubborn(text: str) -> tuple[Finding, ...]:
        at = text.rfind("my ")
        return (*find(text), Finding("word", at, at + 2)) if at >= 0 and "<" in text else find(text)

    heard = hear("openai", openai(["x"]), request=ask(PROMPT + " my" * 9), scan=stubborn)
    assert heard.failed.kind is FailureKind.POLICY
    assert "word" in heard.failed.message
    assert not heard.received


@wires
def test_a_failure_tells_placeholders_only(wire: Wire) -> None:
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "cannot read <EMAIL_1>"}}
    heard = hear(wire, [whole(error, status=400)])
    assert heard.failed.kind is FailureKind.BAD_REQUEST
    assert "<EMAIL_1>" in heard.failed.message
    assert ADA not in str(heard.failed)


def test_what_is_held_back_when_an_answer_breaks_is_not_shown() -> None:
    """So that another model can go on from whole values."""
    script = openai(["Dear ", "<EMAIL_1>", " and <EMA"])
    heard = hear("openai", [*list(script)[:4], LAST])
    assert heard.failed.kind is FailureKind.TRUNCATED
    assert heard.text == f"Dear {ADA} and "


def test_a_second_attempt_uses_the_same_placeholders() -> None:
    """Nothing is scanned twice."""
    scanned: list[str] = []

    def scan(text: str) -> tuple[Finding, ...]:
        scanned.append(text)
        return find(text)

    async def main() -> None:
        async with Upstream(openai(["<EMAIL_1>"])) as upstream, lanes() as transport:
            model = redacting(model_of("openai", spec_of("openai", upstream.url), transport), Redaction(scan))
            request = ask(PROMPT)
            assert (await gather(model, request)).text == ADA
            assert (await gather(model, request)).text == ADA
            assert upstream.requests[0].body == upstream.requests[1].body

    run(main())
    assert len(scanned) == len(set(scanned))


@wires
@pytest.mark.parametrize("kind", ["reset", "close", "clean_end"])
def test_no_fault_brings_an_original_out(wire: Wire, kind: str) -> None:
    """A real fault server records every byte, whatever it does to the answer."""

    async def main() -> None:
        async with FaultServer() as server, lanes() as transport:
            cloud = server.upstream("cloud", wire=wire)
            cloud.play("REQ-00001", Fault(kind, "mid_stream"))
            model = redacting(model_of(wire, spec_of(wire, cloud.root), transport), Redaction(find))
            for marker in ("REQ-00001", "REQ-00002"):
                heard = await gather(model, ask(f"{PROMPT} {marker}"))
                assert (heard.failure is None) is (marker == "REQ-00002")
            assert len(cloud.requests) >= 2
            assert_clean(cloud.received)

    run(main())


def test_an_attempt_through_the_hands() -> None:
    """The hands see a model like any other: its text is the user's, its signs of work are counted."""

    async def main() -> None:
        async with Upstream(openai(list(SAID))) as upstream, lanes() as transport:
            model = redacting(model_of("openai", spec_of("openai", upstream.url), transport), Redaction(find))
            attempt = Try(model, Journey(ask(PROMPT)), Hands())
            chunks = [piece async for piece in attempt.chunks()]
            assert "".join(attempt.pieces) == READ
            assert isinstance(chunks[-1], End)
            assert attempt.journey.attempts[0].outcome == "ok"

    run(main())


def test_leaving_early_frees_the_model() -> None:
    """The connection is dropped, as without redaction."""

    async def main() -> None:
        async with Upstream(openai(["Dear ", *["on and "] * 1000])) as upstream, lanes() as transport:
            model = redacting(model_of("openai", spec_of("openai", upstream.url), transport), Redaction(find))
            stream = model.stream(ask(PROMPT), Call(_Phases()))
            assert await anext(stream) == Delta("Dear ")
            await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
            await upstream.connections[0].left.wait()

    run(main())


class _Phases:
    def reached(self, phase: str) -> None:
        """No clock runs here."""


def test_a_model_is_loadable_if_it_was_before() -> None:
    """Such as one that an Ollama server runs in its cloud."""

    async def main() -> None:
        cold = redacting(ScriptedModel("ollama:x", "<EMAIL_1>", place="cloud", load_seconds=2.0), Redaction(find))
        assert isinstance(cold, Loadable)
        assert cold.state().loaded is False
        await cold.load(ask(PROMPT))
        assert cold.state().loaded is True
        assert (await gather(cold, ask(PROMPT))).text == ADA

    simulate(main())
    ready = model_of("openai", spec_of("openai", "http://127.0.0.1:9"), Transport())
    assert not isinstance(redacting(ready, Redaction(find)), Loadable)
