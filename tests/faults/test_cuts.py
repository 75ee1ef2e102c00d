"""The line is cut at every byte of an answer, one after the other: whatever the client takes for an answer is whole."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Literal, Self

import pytest

from oblix.errors import StreamBroken
from oblix.testing.proxy import Line, TcpProxy
from oblix.types.reply import Reply

from .cells import SEATS, Seat
from .play import PATIENT
from .world import World, world

MARKER = "REQ-000001"
PROMPT = f"Please write about {MARKER}."
STRIDE = 29  # bytes between two cuts; a prime, so that cuts meet every part of events of one length
CLOSELY = 160  # bytes before the end, which are all tried: there lies the proof
How = Literal["cut", "reset"]


class Wired:
    """A world whose first model is reached through a proxy; the other one directly."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.world: World = await self.stack.enter_async_context(world())
        self.first = self.world.add(self.seat, "played")
        upstream = self.world.upstreams[self.first]
        self.proxy = await self.stack.enter_async_context(TcpProxy("127.0.0.1", upstream.port))
        self.world.hook(self.seat, "played", upstream.url.replace(str(upstream.port), str(self.proxy.port)))
        other = SEATS[0] if self.seat.place == "cloud" else SEATS[2]
        self.other = self.world.add(other, "calm")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stack.aclose()

    def text_of(self, model_id: str) -> str:
        return self.world.upstreams[model_id].answer_for(MARKER)


async def length_of(seat: Seat) -> int:
    """Bytes of the whole answer on the wire, with what was asked on its connection before (whether the model is loaded)."""
    async with Wired(seat) as wired:
        await wired.world.client.execute(PROMPT, wired.first, fallback=True)
        return max(passage.passed_down for passage in wired.proxy.passages)


def at(count: int, how: How) -> Line:
    return Line(cut_after=count) if how == "cut" else Line(reset_after=count)


@pytest.mark.parametrize("how", ["cut", "reset"])
@pytest.mark.parametrize("seat", SEATS, ids=lambda seat: seat.provider)
def test_wherever_the_line_is_cut_the_answer_is_whole(seat: Seat, how: How) -> None:
    async def main() -> None:
        length = await length_of(seat)
        offsets = sorted({*range(0, length, STRIDE), *range(length - CLOSELY, length, 3), length})
        answered = Counter[str]()
        for count in offsets:
            async with Wired(seat) as wired:
                wired.proxy.down = at(count, how)
                reply = await wired.world.client.execute(PROMPT, wired.first, fallback=True, deadline=PATIENT)
                assert reply.response == wired.text_of(reply.model_id), count
                answered[reply.model_id] += 1
        assert answered[f"{seat.provider}:played"] >= 1  # the last one, at the least
        assert answered.total() - answered[f"{seat.provider}:played"] > len(offsets) / 2

    asyncio.run(main())


async def listen(wired: Wired) -> tuple[str, Reply | StreamBroken]:
    """What a stream delivered, and how it ended."""
    text = ""
    try:
        async with wired.world.client.stream(PROMPT, wired.first, fallback=True, deadline=PATIENT) as stream:
            async for piece in stream:
                text += str(piece)
            return text, await stream.reply()
    except StreamBroken as broken:
        return text, broken


@pytest.mark.parametrize("seat", SEATS, ids=lambda seat: seat.provider)
def test_wherever_a_stream_is_cut_its_text_is_the_beginning_of_one_answer(seat: Seat) -> None:
    async def main() -> None:
        length = await length_of(seat)
        ends = Counter[type]()
        for count in range(0, length, STRIDE):
            async with Wired(seat) as wired:
                wired.proxy.down = at(count, "cut")
                text, end = await listen(wired)
                ends[type(end)] += 1
                if isinstance(end, StreamBroken):
                    assert text, count
                    assert end.text == text
                    assert wired.text_of(wired.first).startswith(text)
                else:
                    assert text == end.response == wired.text_of(end.model_id), count
        assert set(ends) == {Reply, StreamBroken}

    asyncio.run(main())


def test_a_kept_connection_that_falls_silent_is_left_in_time() -> None:
    async def main() -> None:
        async with Wired(SEATS[2]) as wired:
            client = wired.world.client
            first = await client.execute(PROMPT, wired.first, fallback=True)
            wired.proxy.is_black_hole = True
            second = await client.execute(PROMPT, wired.first, fallback=True, deadline=PATIENT)
            assert [first.model_id, second.model_id] == [wired.first, wired.other]
            assert second.attempts[0].kind in ("timeout_first_token", "timeout_connect")
            assert second.response == wired.text_of(wired.other)

    asyncio.run(main())


def test_a_turned_over_byte_is_never_an_error_that_is_not_ours() -> None:
    async def main() -> None:
        for seat in SEATS:
            length = await length_of(seat)
            for offset in range(0, length, 3 * STRIDE):
                async with Wired(seat) as wired:
                    wired.proxy.down = Line(corrupt_at=offset)
                    reply = await wired.world.client.execute(PROMPT, wired.first, fallback=True, deadline=PATIENT)
                    # HTTP has no checksum: inside of a text the turned byte may go unseen, everything else is noticed.
                    assert reply.model_id == wired.first or reply.response == wired.text_of(wired.other)
                    assert "internal" not in {attempt.kind for attempt in reply.attempts}

    asyncio.run(main())
