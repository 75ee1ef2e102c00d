"""What can go wrong behind any of the three protocols: always a failure of a named kind, never a foreign exception, never a key."""

from __future__ import annotations

import asyncio
import gzip
import json
import traceback
import zlib
from typing import Any

import pytest

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.transport import Transport
from oblix.types.chunk import Delta

from .asking import KEY, WIRES, Heard, Wire, ask, call, gather, hear, lanes, model_of, run, spec_of
from .test_resolver import names
from .upstream import HANGUP, LAST, RESET, Hold, Script, Upstream, chunk, head, ndjson, sse, whole

K = FailureKind
every_wire = pytest.mark.parametrize("wire", WIRES)

_TYPE = {"openai": "text/event-stream", "claude": "text/event-stream", "ollama": "application/x-ndjson"}
_PIECE = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "half an ans"}}


def opening(wire: Wire) -> list[bytes]:
    """Headers and a first piece of text."""
    first = {
        "openai": sse({"choices": [{"delta": {"content": "half an ans"}}]}),
        "claude": sse(_PIECE),
        "ollama": ndjson({"message": {"content": "half an ans"}, "done": False}),
    }
    return [head(_TYPE[wire]), *first[wire]]


def closing(wire: Wire) -> list[bytes]:
    """The proof, and the end of the body."""
    last = {
        "openai": sse({"choices": [{"delta": {}, "finish_reason": "stop"}]}, b"[DONE]"),
        "claude": sse({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"}),
        "ollama": ndjson({"done": True, "done_reason": "stop"}),
    }
    return [*last[wire], LAST]


def failed(wire: Wire, *scripts: Script, **how: Any) -> AttemptFailed:
    """The failure; the key is nowhere in it."""
    failure = hear(wire, *scripts, **how).failed
    told = "".join(traceback.format_exception(failure)) + repr(failure)
    assert KEY not in told
    return failure


@every_wire
def test_a_whole_answer_for_comparison(wire: Wire) -> None:
    assert hear(wire, [*opening(wire), *closing(wire)]).end.finish_reason == "stop"


@every_wire
@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": {"message": "Invalid value", "type": "invalid_request_error"}}, K.BAD_REQUEST),
        (401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}, K.AUTH),
        (401, f"<html>{KEY}</html>", K.AUTH),
        (402, {"error": {"message": "Payment required"}}, K.QUOTA_EXHAUSTED),
        (403, {"error": {"message": "Country not supported"}}, K.AUTH),
        (404, {"error": {"message": "model 'tried' not found"}}, K.MODEL_MISSING),
        (413, "Request Entity Too Large", K.CONTEXT_OVERFLOW),
        (429, {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}, K.RATE_LIMITED),
        (429, {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}, K.QUOTA_EXHAUSTED),
        (500, {"error": {"message": "The server had an error"}}, K.SERVER_ERROR),
        (502, "<html>Bad gateway</html>", K.SERVER_ERROR),
        (503, {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}, K.OVERLOADED),
        (529, {"error": {"type": "overloaded_error", "message": "Overloaded"}}, K.OVERLOADED),
    ],
)
def test_an_error_status(wire: Wire, status: int, body: dict[str, Any] | str, kind: FailureKind) -> None:
    text = body.encode() if isinstance(body, str) else body
    failure = failed(wire, [whole(text, status=status)])
    assert failure.kind is kind
    assert failure.status == status
    assert f"HTTP {status}" in failure.message
    assert f"{wire}:tried" in failure.message


@every_wire
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"Retry-After-Ms": "250", "Retry-After": "1"}, 0.25),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, 86_400.0),
        ({"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, 360.0),
        ({}, None),
    ],
)
def test_how_long_to_wait(wire: Wire, headers: dict[str, str], seconds: float | None) -> None:
    failure = failed(wire, [whole({"error": {"message": "slow down"}}, status=429, **headers)])
    assert failure.kind is K.RATE_LIMITED
    assert failure.retry_after == seconds


@every_wire
@pytest.mark.parametrize(
    ("kind", "code", "meant"),
    [
        ("overloaded_error", None, K.OVERLOADED),
        ("rate_limit_error", None, K.RATE_LIMITED),
        ("e", 402, K.QUOTA_EXHAUSTED),
    ],
)
def test_an_error_with_status_200(wire: Wire, kind: str, code: int | None, meant: FailureKind) -> None:
    """In one piece of JSON instead of the answer."""
    told = {"type": "error", "error": {"type": kind, "code": code, "message": "sorry"}}
    assert failed(wire, [whole(told)]).kind is meant


@every_wire
def test_an_endless_error_is_told_in_short(wire: Wire) -> None:
    body = json.dumps({"error": {"message": "so sorry " * 100_000}}).encode()
    failure = failed(wire, [whole(body, status=500)])
    assert failure.kind is K.SERVER_ERROR
    assert len(failure.message) < 500


@every_wire
@pytest.mark.parametrize("content_type", ["text/html", "text/html; charset=utf-8", "text/plain", "image/png"])
def test_a_captive_portal(wire: Wire, content_type: str) -> None:
    """A page with status 200 is no answer."""
    failure = failed(wire, [whole(b"<html>Please log in</html>", content_type)])
    assert failure.kind is K.PROTOCOL
    assert content_type.partition(";")[0] in failure.message


@every_wire
def test_an_answer_without_a_type(wire: Wire) -> None:
    failure = failed(wire, [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"])
    assert failure.kind is K.PROTOCOL


@every_wire
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(wire: Wire, status: int) -> None:
    """Neither the prompt nor the key ever reach the second server."""

    async def main() -> None:
        async with Upstream([*opening(wire), *closing(wire)]) as second, lanes() as transport:
            async with Upstream([whole(b"", status=status, location=second.url)]) as first:
                heard = await gather(model_of(wire, spec_of(wire, first.url), transport), ask())
            assert heard.failed.kind is K.PROTOCOL
            assert heard.failed.status == status
            assert second.connections == []

    run(main())


@every_wire
@pytest.mark.parametrize(
    ("tail", "kind"),
    [
        ([HANGUP], K.TRUNCATED),
        ([LAST], K.TRUNCATED),
        ([RESET], K.TRUNCATED),
        ([b"5\r\nhalf", HANGUP], K.TRUNCATED),
    ],
    ids=["hangs up", "ends in order", "resets", "hangs up in a chunk"],
)
def test_an_answer_that_breaks_off(wire: Wire, tail: Script, kind: FailureKind) -> None:
    """The text so far is kept, and it is no answer."""

    heard = heard_until(wire, [*opening(wire), Hold("tail"), *tail])
    assert heard.text == "half an ans"
    assert heard.failed.kind is kind


def heard_until(wire: Wire, script: Script) -> Heard:
    """One attempt on an upstream that goes on behind `Hold("tail")` when the first text has arrived."""

    async def main() -> Heard:
        async with Upstream(script) as upstream, lanes() as transport:
            heard, model = Heard(), model_of(wire, spec_of(wire, upstream.url), transport)
            try:
                async for piece in model.stream(ask(), call()):
                    heard.chunks.append(piece)
                    upstream.release("tail")
            except AttemptFailed as failure:
                heard.failure = failure
            return heard

    return run(main())


@every_wire
def test_an_answer_that_is_shorter_than_it_said(wire: Wire) -> None:
    """Not even when all that should be in it was in it: a proxy may have cut it."""
    body = {
        "openai": b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n',
        "claude": b'data: {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}\n\n',
        "ollama": b'{"message": {"content": "a"}}\n',
    }[wire]
    opened = f"HTTP/1.1 200 OK\r\ncontent-type: {_TYPE[wire]}\r\ncontent-length: 9999\r\n\r\n".encode()
    assert failed(wire, [opened, body, HANGUP]).kind is K.TRUNCATED


@every_wire
@pytest.mark.parametrize("script", [[HANGUP], [RESET]], ids=["hangs up", "resets"])
def test_a_peer_that_never_answers(wire: Wire, script: Script) -> None:
    assert failed(wire, script).kind is K.CONNECT


@every_wire
def test_a_closed_port(wire: Wire) -> None:
    async def main() -> AttemptFailed:
        async with Upstream() as upstream:
            url = upstream.url
        async with lanes() as transport:
            return (await gather(model_of(wire, spec_of(wire, url), transport), ask())).failed

    failure = run(main())
    assert failure.kind is K.CONNECT
    assert "connection refused" in failure.message
    assert ("ollama serve" in str(failure.hint)) is (wire == "ollama")


@every_wire
def test_a_line_without_end(wire: Wire) -> None:
    """It is cut off after 4 MiB, long before the peer is done."""
    endless = [head(_TYPE[wire]), *[chunk(b"data: " + b"x" * (1 << 20))], *[chunk(b"x" * (1 << 20))] * 63, LAST]
    failure = failed(wire, endless)
    assert failure.kind is K.PROTOCOL
    assert "4 MiB" in failure.message


@every_wire
def test_a_compression_bomb_does_not_go_off(wire: Wire) -> None:
    """Compressed answers are refused unread; nobody asked for them."""
    bomb = gzip.compress(b"data: " + b"x" * (64 << 20))
    assert len(bomb) < 1 << 20
    for coding, packed in (("gzip", bomb), ("deflate", zlib.compress(b"x" * 1000))):
        failure = failed(wire, [whole(packed, _TYPE[wire], content_encoding=coding)])
        assert failure.kind is K.PROTOCOL
        assert "compresses" in failure.message


@every_wire
def test_a_stream_of_something_else(wire: Wire) -> None:
    """The right type, the wrong words."""
    failure = failed(wire, [head(_TYPE[wire]), chunk(b"data: Hello!\n\nHello!\n\n"), LAST])
    assert failure.kind is K.PROTOCOL


@every_wire
def test_an_echoed_key_is_masked(wire: Wire) -> None:
    """In a status, in a JSON answer with status 200, and in the middle of a stream."""
    told = {"type": "error", "error": {"type": "api_error", "message": f"cannot use {KEY} here"}}
    scripts = [
        [whole(told, status=500)],
        [whole(f"oh {KEY}".encode(), "text/plain", status=400)],
        [*opening(wire), *(ndjson(told) if wire == "ollama" else sse(told)), LAST],
    ]
    for script in scripts:
        failure = failed(wire, script)
        assert "***" in failure.message
    assert "***" in failed(wire, [whole(told)]).message


@every_wire
def test_a_key_with_a_line_break_is_not_told(wire: Wire) -> None:
    """As when a file was read with its ending; nothing is sent."""
    secret = "sk-one\nsk-two"
    heard = hear(wire, [*opening(wire), *closing(wire)], settings={"key": secret})
    assert heard.failed.kind is K.BAD_REQUEST
    assert "sk-one" not in str(heard.failed)
    assert "sk-two" not in str(heard.failed)
    assert "key" in (heard.failed.hint or "")
    assert heard.asked == []


@every_wire
def test_a_private_prompt_never_reaches_a_cloud(wire: Wire) -> None:
    """No connection is even opened."""
    heard = hear(wire, [*opening(wire), *closing(wire)], request=ask("secret words", private=True), place="cloud")
    assert heard.failed.kind is K.POLICY
    assert heard.connections == 0


@every_wire
def test_a_private_prompt_reaches_the_edge(wire: Wire) -> None:
    shown = [[whole({"details": {}})]] if wire == "ollama" else []
    heard = hear(wire, *shown, [*opening(wire), *closing(wire)], request=ask("own words", private=True), place="edge")
    assert heard.text == "half an ans"
    assert heard.end


@every_wire
def test_an_edge_whose_name_leads_away_gets_nothing(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that was moved after it was declared."""
    names(monkeypatch, box_lan=("8.8.8.8",))

    async def main() -> None:
        async with Upstream([*opening(wire), *closing(wire)]) as upstream, lanes() as transport:
            spec = spec_of(wire, f"http://box.lan:{upstream.port}", place="edge")
            heard = await gather(model_of(wire, spec, transport), ask(private=True))
            assert heard.failed.kind is K.POLICY
            assert upstream.connections == []

    run(main())


@every_wire
def test_leaving_early_frees_the_model(wire: Wire) -> None:
    """Closing the iterator drops the connection while the model is still talking."""

    async def main() -> None:
        async with Upstream([*opening(wire), Hold("never")]) as upstream, lanes() as transport:
            stream = model_of(wire, spec_of(wire, upstream.url), transport).stream(ask(), call())
            assert isinstance(await anext(stream), Delta)
            await stream.aclose()  # type: ignore[attr-defined]  # every provider's is a generator
            await asyncio.wait_for(upstream.connections[0].left.wait(), 5)

    run(main())


@every_wire
@pytest.mark.parametrize("when", ["before the headers", "before the text", "in the middle"])
def test_cancelling_frees_the_model_and_travels_on(wire: Wire, when: str) -> None:
    script: dict[str, Script] = {
        "before the headers": [Hold("never")],
        "before the text": [head(_TYPE[wire]), Hold("never")],
        "in the middle": [*opening(wire), Hold("never")],
    }

    async def main() -> None:
        async with Upstream(script[when]) as upstream, lanes() as transport:
            task = asyncio.create_task(gather(model_of(wire, spec_of(wire, upstream.url), transport), ask()))
            while not upstream.requests:
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(upstream.connections[0].left.wait(), 5)

    run(main())


@every_wire
def test_a_connection_is_used_again(wire: Wire) -> None:
    async def main() -> None:
        async with Upstream([*opening(wire), *closing(wire)]) as upstream, lanes() as transport:
            model = model_of(wire, spec_of(wire, upstream.url), transport)
            for _ in range(3):
                assert (await gather(model, ask())).end
            assert len(upstream.connections) == 1

    run(main())


@every_wire
def test_a_failed_answer_does_not_spoil_the_next(wire: Wire) -> None:
    async def main() -> None:
        scripts: list[Script] = [[*opening(wire), RESET], [whole({}, status=500)], [*opening(wire), *closing(wire)]]
        async with Upstream(*scripts) as upstream, lanes() as transport:
            model = model_of(wire, spec_of(wire, upstream.url), transport)
            assert (await gather(model, ask())).failed.kind in (K.TRUNCATED, K.CONNECT)
            assert (await gather(model, ask())).failed.kind is K.SERVER_ERROR
            assert (await gather(model, ask())).end

    run(main())


@every_wire
def test_making_a_model_touches_nothing(wire: Wire) -> None:
    """No socket, no file, not even the aiohttp session."""
    transport = Transport()
    model = model_of(wire, spec_of(wire, "http://127.0.0.1:9"), transport)
    assert model.state().processes == frozenset()
    assert transport._lanes == {}


@every_wire
@pytest.mark.parametrize(
    "garbage", [b"zz\r\n", b"5\r\nhalf of it and more\r\n", b"-1\r\n\r\n"], ids=["size", "end", "minus"]
)
@pytest.mark.timeout(10)
def test_a_chunked_body_that_turns_to_garbage(wire: Wire, garbage: bytes) -> None:
    """It is noticed when it comes, not when a timer ends: the connection stays open, and nothing more is sent."""
    heard = heard_until(wire, [*opening(wire), Hold("tail"), garbage, Hold("never")])
    assert heard.text == "half an ans"
    assert heard.failed.kind is K.PROTOCOL
