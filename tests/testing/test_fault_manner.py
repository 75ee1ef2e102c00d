"""How a healthy upstream answers, and what it bills: long, slow, cut by the caller's limit, with hidden thoughts, from a cache."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oblix.testing.faults import FaultServer, Manner, Wire
from oblix.testing.faults.wires import ErrorWords
from oblix.types.spec import Price

from .fault_client import MARKER, WIRES, Client, question, run

LONG = Manner(lengths=(60, 400))
LIMITS: dict[Wire, dict[str, Any]] = {
    "openai": {"max_completion_tokens": 30},
    "claude": {"max_tokens": 30},
    "ollama": {"options": {"num_predict": 30}},
}
CUT = {"openai": b'"finish_reason":"length"', "claude": b'"max_tokens"', "ollama": b'"done_reason":"length"'}


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("pause", [None, 0.0], ids=["at once", "token by token"])
@pytest.mark.parametrize("thoughts", [0, 12, 40])
def test_the_limit_of_the_caller_is_kept_and_billed(wire: Wire, pause: float | None, thoughts: int) -> None:
    """Thoughts come first and count; the answer gets what they leave, be it nothing."""

    async def main() -> None:
        async with FaultServer() as server:
            up = server.upstream("cloud", wire=wire)
            up.manner = Manner(lengths=(60, 400), thoughts=thoughts, pause=pause)
            client = await Client.to(up)
            client.send(question(wire, MARKER, **LIMITS[wire]))
            answer = await client.answer()
            await client.close()
            (row,) = up.bill
            assert row.output_tokens == 30
            assert len(up.requests[0].pieces) == max(0, 30 - thoughts)
            assert up.answer_for(MARKER).startswith(up.requests[0].text)
            assert CUT[wire] in answer.body
            assert row == up.would_bill(up.requests[0].body)

    run(main())


def test_answers_are_as_long_as_they_are_told_to_be() -> None:
    async def main() -> None:
        async with FaultServer() as server:
            up = server.upstream("cloud", wire="openai")
            up.manner = LONG
            client = await Client.to(up)
            for number in range(20):
                client.send(question("openai", f"REQ-{number:05d}"))
                await client.answer()
            await client.close()
            lengths = [row.output_tokens for row in up.bill]
            assert all(60 <= length <= 400 for length in lengths)
            assert len(set(lengths)) > 10
            assert [len(asked.pieces) for asked in up.requests] == lengths

    run(main())


def test_who_leaves_is_billed_for_what_was_written() -> None:
    """And the writing stops."""

    async def main() -> None:
        async with FaultServer() as server:
            up = server.upstream("cloud", wire="openai")
            up.manner = Manner(lengths=(5000, 5000), thoughts=7, pause=0.001)
            client = await Client.to(up)
            client.send(question("openai", MARKER))
            await client.reader.readuntil(b"content")
            await client.close()
            while up.open_connections:
                await asyncio.sleep(0)
            (row,) = up.bill
            assert row.output_tokens == 7 + len(up.requests[0].pieces)
            assert row.output_tokens < 5000

    run(main())


@pytest.mark.parametrize("wire", WIRES)
def test_what_is_not_told_is_billed_all_the_same(wire: Wire) -> None:
    async def main() -> None:
        async with FaultServer() as server:
            up = server.upstream("cloud", wire=wire)
            up.manner = Manner(tells_usage=False)
            client = await Client.to(up)
            client.send(question(wire, MARKER))
            answer = await client.answer()
            await client.close()
            assert b"usage" not in answer.body
            assert b"_count" not in answer.body
            assert up.bill[0].output_tokens == len(up.requests[0].pieces)

    run(main())


def test_a_cached_prompt_costs_less() -> None:
    async def main() -> None:
        async with FaultServer() as server:
            up = server.upstream("cloud", wire="openai", price=Price(1.0, 5.0, "test", cached_input_per_mtok=0.1))
            up.manner = Manner(cached=0.5)
            client = await Client.to(up)
            client.send(question("openai", MARKER))
            answer = await client.answer()
            await client.close()
            (row,) = up.bill
            assert row.cached_tokens == row.input_tokens // 2
            assert b'"cached_tokens":%d' % row.cached_tokens in answer.body
            plain = row.input_tokens - row.cached_tokens
            assert row.usd == pytest.approx((plain + 0.1 * row.cached_tokens + 5 * row.output_tokens) / 1e6)

    run(main())


@pytest.mark.parametrize("wire", WIRES)
def test_what_its_rules_refuse_is_refused_and_not_billed(wire: Wire) -> None:
    async def main() -> None:
        async with FaultServer() as server:
            up = server.upstream("cloud", wire=wire)
            words = ErrorWords(("invalid_request_error", None, "not so"), ("invalid_request_error", "not so"), "not so")
            up.rules = lambda body: words if body["model"] != "wanted" else None
            client = await Client.to(up)
            client.send(question(wire, MARKER))
            answer = await client.answer()
            await client.close()
            assert answer.raw.startswith(b"HTTP/1.1 400 ")
            assert up.bill == []
            assert b"not so" in answer.body

    run(main())


@pytest.mark.parametrize("wire", WIRES)
def test_an_answer_in_one_piece_takes_its_time_as_well(wire: Wire) -> None:
    async def main() -> None:
        async with FaultServer() as server:
            up = server.upstream("cloud", wire=wire)
            up.manner = Manner(pause=0.0, thoughts=3)
            client = await Client.to(up)
            client.send(question(wire, MARKER, stream=False))
            answer = await client.answer()
            await client.close()
            (row,) = up.bill
            assert row.output_tokens == 3 + len(up.requests[0].pieces)
            assert up.answer_for(MARKER)[:5].encode() in answer.body

    run(main())
