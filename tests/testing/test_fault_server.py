"""The fault server: health, records, bills, ports, and how it ends; seen from a raw socket."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace

import pytest

from oblix.testing.faults import KINDS, Fault, FaultServer, Wire, impossible

from .fault_client import (
    MARKER,
    PATHS,
    PROOFS,
    QUICK,
    WIRES,
    Client,
    Heard,
    ask,
    ask_to_the_end,
    question,
    request,
    run,
    server,
)


@pytest.mark.parametrize("wire", WIRES)
def test_a_healthy_answer_is_whole_and_proved(wire: Wire) -> None:
    async def main() -> None:
        async with server() as played:
            up = played.upstream("calm", wire=wire)
            heard = await ask(up)
            assert heard.text(wire) == up.answer_for(MARKER)
            assert re.search(PROOFS[wire], heard.body)
            assert heard.is_whole
            assert len(up.requests[0].pieces) >= 12

    run(main())


@pytest.mark.parametrize("wire", WIRES)
def test_a_healthy_answer_is_cut_inside_of_a_character(wire: Wire) -> None:
    async def main() -> bytes:
        async with server() as played:
            return (await ask(played.upstream("calm", wire=wire))).raw

    raw = run(main())
    assert re.search(rb"[\xc2-\xf4]\r\n[0-9a-f]+\r\n[\x80-\xbf]", raw), "no chunk ends inside of a character"


@pytest.mark.parametrize("wire", WIRES)
def test_an_answer_without_a_stream_comes_as_one_object(wire: Wire) -> None:
    async def main() -> None:
        async with server() as played:
            up = played.upstream("calm", wire=wire)
            found = json.loads((await ask(up, stream=False)).body)
            said = {
                "openai": lambda: found["choices"][0]["message"]["content"],
                "claude": lambda: found["content"][0]["text"],
                "ollama": lambda: found["message"]["content"],
            }[wire]()
            assert said == up.answer_for(MARKER)

    run(main())


def test_answers_differ_by_marker_and_by_upstream_and_never_by_time() -> None:
    async def main() -> None:
        async with server() as played, server() as later:
            one, two = (played.upstream(name, wire="openai") for name in ("one", "two"))
            texts = {up.answer_for(f"REQ-{number:05d}") for up in (one, two) for number in range(500)}
            assert len(texts) == 1000
            assert later.upstream("one", wire="claude").answer_for(MARKER) == one.answer_for(MARKER)

    run(main())


def test_a_connection_serves_request_after_request() -> None:
    async def main() -> None:
        async with server() as played:
            up = played.upstream("calm", wire="openai")
            client = await Client.to(up)
            for number in range(5):
                client.send(question("openai", f"REQ-{number:05d}"))
                assert (await client.answer()).text("openai") == up.answer_for(f"REQ-{number:05d}")
            await client.close()
            assert [asked.connection for asked in up.requests] == [1] * 5

    run(main())


def test_requests_that_come_in_pieces_or_together_are_taken_apart() -> None:
    async def main() -> None:
        async with server() as played:
            up = played.upstream("calm", wire="ollama")
            client = await Client.to(up)
            both = question("ollama", "REQ-00001") + question("ollama", "REQ-00002")
            for part in (both[:40], both[40:300], both[300:]):
                client.send(part)
                await client.writer.drain()
            heard = [await client.answer(), await client.answer()]
            await client.close()
            assert [each.text("ollama") for each in heard] == [up.answer_for("REQ-00001"), up.answer_for("REQ-00002")]

    run(main())


def test_an_answer_that_was_begun_is_continued() -> None:
    async def main() -> None:
        async with server() as played:
            up = played.upstream("calm", wire="claude")
            whole = up.answer_for(MARKER)
            begun = {"role": "assistant", "content": whole[:17]}
            heard = await ask(up, messages=[{"role": "user", "content": MARKER}, begun])
            assert heard.text("claude") == whole[17:]

    run(main())


def test_every_byte_is_kept_even_of_half_a_request() -> None:
    async def main() -> None:
        async with server() as played:
            up, other = played.upstream("calm", wire="openai"), played.upstream("other", wire="openai")
            await ask(up)
            client = await Client.to(up)
            client.send(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 100\r\n\r\na half secret")
            client.writer.write_eof()
            assert (await client.to_the_end()).raw == b""
            await client.close()
            assert b"a half secret" in up.received
            assert MARKER.encode() in up.received
            assert other.received == b""

    run(main())


def test_a_request_is_recorded_with_its_parts() -> None:
    async def main() -> None:
        async with server() as played:
            up = played.upstream("calm", wire="openai")
            before = asyncio.get_running_loop().time()
            await ask(up)
            (got,) = up.requests
            assert (got.marker, got.method, got.path, got.connection) == (MARKER, "POST", "/v1/chat/completions", 1)
            assert got.headers["authorization"] == "Bearer sk-secret"
            assert got.head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
            assert got.json["model"] == "played"
            assert before <= got.time <= asyncio.get_running_loop().time()
            assert got.fault is None

    run(main())


def test_a_fault_is_played_for_its_marker_alone_and_only_so_often() -> None:
    async def main() -> None:
        async with server() as played:
            up = played.upstream("sick", wire="openai")
            up.play(MARKER, Fault("status_500", "before_headers"), times=2)
            statuses = [(await ask(up, marker)).head[9:12] for marker in ("REQ-00002", MARKER, MARKER, MARKER)]
            assert statuses == [b"200", b"500", b"500", b"200"]
            assert [asked.fault is not None for asked in up.requests] == [False, True, True, False]

    run(main())


def test_the_default_is_played_for_all_others_and_heals() -> None:
    async def main() -> None:
        async with server() as played:
            up = played.upstream("sick", wire="claude")
            up.default = Fault("status_529", "before_headers")
            up.play(MARKER, Fault("status_500", "before_headers"))
            assert (await ask(up, "REQ-00002")).head[9:12] == b"529"
            assert (await ask(up)).head[9:12] == b"500"
            up.default = None
            assert (await ask(up, "REQ-00002")).text("claude") == up.answer_for("REQ-00002")

    run(main())


def test_a_refused_port_opens_again_where_it_was() -> None:
    async def main() -> None:
        async with server() as played:
            up = played.upstream("gone", wire="openai")
            kept = await Client.to(up)
            kept.send(question("openai"))
            await kept.answer()
            up.default = Fault("refuse", "before_headers")
            assert (await kept.to_the_end()).ending == "reset"
            await kept.close()
            with pytest.raises(ConnectionRefusedError):
                await Client.to(up)
            url, up.default = up.url, None
            assert up.url == url
            assert (await ask(up)).is_whole

    run(main())


@pytest.mark.parametrize("kind", ["accept_close", "accept_reset"])
def test_a_connection_may_end_before_any_request(kind: str) -> None:
    async def main() -> None:
        async with server() as played:
            up = played.upstream("sick", wire="openai")
            up.default = Fault(kind, "before_headers")
            client = await Client.to(up)
            heard = await client.to_the_end()
            await client.close()
            assert heard == Heard(b"", "fin" if kind == "accept_close" else "reset")
            assert up.requests == []

    run(main())


def test_what_cannot_be_is_refused_with_the_reason() -> None:
    async def main() -> None:
        async with server() as played:
            up = played.upstream("sick", wire="ollama")
            with pytest.raises(ValueError, match="status line comes before the headers"):
                up.play(MARKER, Fault("status_500", "mid_stream"))
            with pytest.raises(ValueError, match="ollama protocol has no such thing"):
                up.default = Fault("no_finish", "at_end")
            with pytest.raises(ValueError, match="set it as `default`"):
                up.play(MARKER, Fault("refuse", "before_headers"))
            with pytest.raises(ValueError, match="no kind 'nonsense'"):
                up.play(MARKER, Fault("nonsense", "at_end"))
            with pytest.raises(ValueError, match="is no marker"):
                up.play("REQ-1", Fault("reset", "at_end"))
            with pytest.raises(ValueError, match="already"):
                played.upstream("sick", wire="openai")

    run(main())
    assert impossible("status_500", "before_headers", "ollama") is None


@pytest.mark.parametrize(
    ("path", "has"),
    [("version", "version"), ("tags", "models"), ("ps", "models"), ("show", "model_info"), ("generate", "done_reason")],
)
def test_side_questions_are_answered(path: str, has: str) -> None:
    async def main() -> None:
        async with server() as played:
            up = played.upstream("calm", wire="ollama")
            up.default = Fault("reset", "mid_stream")  # is about streams, which this is none of
            client = await Client.to(up)
            client.send(request("POST", f"/api/{path}", b'{"model":"phi"}'))
            assert has in json.loads((await client.answer()).body)
            await client.close()
            assert up.bill == []

    run(main())


def test_a_server_that_is_down_is_down_for_side_questions_too() -> None:
    async def main() -> None:
        async with server() as played:
            up = played.upstream("sick", wire="ollama")
            up.default = Fault("status_503", "before_headers")
            client = await Client.to(up)
            client.send(request("GET", "/api/tags"))
            assert (await client.answer()).head[9:12] == b"503"
            await client.close()

    run(main())


def test_an_unknown_address_is_404_and_no_chat() -> None:
    async def main() -> None:
        async with server() as played:
            up = played.upstream("calm", wire="openai")
            client = await Client.to(up)
            client.send(request("POST", "/api/chat", b"{}"))
            assert (await client.answer()).head[9:12] == b"404"
            await client.close()

    run(main())


@pytest.mark.parametrize("wire", WIRES)
def test_a_redirect_leads_to_the_trap_which_notes_the_key(wire: Wire) -> None:
    async def main() -> None:
        async with server() as played:
            up = played.upstream("sick", wire=wire)
            up.play(MARKER, Fault("redirect_307", "before_headers"))
            heard = await ask(up)
            found = re.search(rb"location: http://127\.0\.0\.1:(\d+)(\S+)", heard.head)
            assert found
            assert (int(found[1]), found[2].decode()) == (played.trap(wire).port, PATHS[wire])
            assert played.trapped == []
            await ask(played.trap(wire))
            assert [asked.headers["authorization"] for asked in played.trapped] == ["Bearer sk-secret"]

    run(main())


BILLS = [
    ("status_500", "before_headers", None),
    ("limit_bare", "before_headers", None),
    ("reset", "before_headers", None),
    ("stall", "before_headers", 0),
    ("reset", "before_first_token", 0),
    ("error_server", "before_first_token", None),
    ("error_server", "mid_stream", "half"),
    ("reset", "mid_stream", "half"),
    ("bad_json", "mid_stream", "all"),  # generated, not delivered
    ("clean_end", "at_end", "all"),
    ("late_headers", "before_headers", "all"),
]


@pytest.mark.parametrize(("kind", "moment", "output"), BILLS, ids=[f"{kind}-{moment}" for kind, moment, _ in BILLS])
def test_the_bill_is_the_providers(kind: str, moment: str, output: str | int | None) -> None:
    async def main() -> None:
        async with server() as played:
            up = played.upstream("billed", wire="openai")
            await ask(up, "REQ-00002")
            whole = up.bill.pop()
            up.default = fault = Fault(kind, moment)  # type: ignore[arg-type]
            client = await Client.to(up)
            client.send(question("openai", "REQ-00002"))
            if (
                KINDS[fault.kind].harmless
                or "error" in kind
                or "status" in kind
                or "limit" in kind
                or kind in ("bad_json", "clean_end")
            ):
                await client.answer()
            else:
                await client.to_the_end()
            await client.close()
            if output is None:
                assert up.bill == []
                return
            (row,) = up.bill
            tokens = {"half": whole.output_tokens // 2, "all": whole.output_tokens, 0: 0}[output]
            assert row == replace(whole, output_tokens=tokens)
            assert row.usd == pytest.approx((whole.input_tokens + 5 * tokens) / 1e6)

    run(main())


def test_the_bill_is_what_the_answer_tells() -> None:
    async def main() -> None:
        async with server() as played:
            up = played.upstream("calm", wire="openai")
            found = re.search(rb'"prompt_tokens":(\d+),"completion_tokens":(\d+)', (await ask(up)).body)
            assert found
            assert (int(found[1]), int(found[2])) == (up.bill[0].input_tokens, up.bill[0].output_tokens)

    run(main())


def test_what_was_sent_is_told_for_each_attempt() -> None:
    async def main() -> None:
        async with server() as played:
            up = played.upstream("sick", wire="ollama")
            up.play(MARKER, Fault("reset", "mid_stream"), times=1)
            first = await ask_to_the_end(up)
            await ask(up)
            assert up.sent_text(MARKER, 1) == first.text("ollama")
            assert up.sent_text(MARKER, 2) == up.answer_for(MARKER)
            assert up.sent_text(MARKER, 3) == up.sent_text("REQ-00009") == ""

    run(main())


@pytest.mark.parametrize("kind", ["stall", "comments_for_ever", "trickle", "half_close", "long_line"])
def test_no_task_and_no_connection_outlives_the_server(kind: str) -> None:
    async def main() -> None:
        async with FaultServer(replace(QUICK, cap=30.0, bomb=64 << 20)) as played:
            up = played.upstream("sick", wire="openai")
            up.play(MARKER, Fault(kind, "mid_stream" if kind != "trickle" else "before_headers"))
            client = await Client.to(up)
            client.send(question("openai"))
            await client.reader.readuntil(b"HTTP/1.1 ")
        await client.to_the_end()
        await client.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert up.open_connections == 0

    asyncio.run(main())


def test_a_fault_without_end_ends_at_the_cap() -> None:
    async def main() -> None:
        async with server() as played:
            up = played.upstream("sick", wire="openai")
            up.play(MARKER, Fault("stall", "mid_stream"))
            assert (await ask_to_the_end(up)).ending == "reset"

    run(main())


@pytest.mark.parametrize("kind", ["comments_for_ever", "endless_silence", "stall"])
def test_a_fault_ends_when_the_peer_leaves(kind: str) -> None:
    async def main() -> None:
        async with FaultServer(replace(QUICK, cap=30.0, bomb=1 << 30)) as played:
            up = played.upstream("sick", wire="claude")
            up.play(MARKER, Fault(kind, "mid_stream"))
            client = await Client.to(up)
            client.send(question("claude"))
            await client.reader.readuntil(b"HTTP/1.1 ")
            await client.close()
            while up.open_connections:
                await asyncio.sleep(0)

    run(main())


def test_the_error_of_a_kind_comes_out_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def slip(*_: object) -> None:
        raise RuntimeError("a slip in a kind")

    async def main() -> None:
        async with server() as played:
            up = played.upstream("sick", wire="openai")
            up.play(MARKER, Fault("clean_end", "mid_stream"))
            monkeypatch.setattr("oblix.testing.faults.exchange.Exchange.say", slip)
            await ask_to_the_end(up)

    with pytest.raises(ExceptionGroup) as caught:
        run(main())
    assert [str(error) for error in caught.value.exceptions] == ["a slip in a kind"]
