"""A streamed answer, and every way to leave it."""

from __future__ import annotations

import asyncio

import pytest

from oblix import (
    AllModelsFailed,
    DeadlineExceeded,
    InvalidRequest,
    OblixError,
    Reset,
    Stream,
    StreamBroken,
    UnknownModel,
    Vetoed,
)
from oblix.testing import Block, Cut, Fail, Wait, run

from .hooked import Says, client_with, cloud, edge, now


async def listen(stream: Stream) -> list[str | Reset]:
    return [piece async for piece in stream]


def test_pieces_come_as_they_are_said_and_the_reply_at_the_end() -> None:
    async def main() -> None:
        async with client_with(edge([Wait(1.0), "Par", Wait(1.0), "is", Wait(0.5)])).stream("hi", session_id="s1") as s:
            heard = [(now(), piece) async for piece in s]
            reply = await s.reply()
        assert heard == [(1.0, "Par"), (2.0, "is")]
        assert reply.response == "Paris"
        assert reply.session_id == "s1"
        assert (reply.metrics["time_to_first_token"], reply.metrics["total_latency"]) == (1.0, 2.5)
        assert await s.reply() is reply

    run(main())


def test_the_reply_reads_what_is_left() -> None:
    async def main() -> None:
        async with client_with(edge(["a", "b", "c"])).stream("hi") as s:
            assert await anext(s) == "a"
            assert (await s.reply()).response == "abc"
            with pytest.raises(StopAsyncIteration):
                await anext(s)

    run(main())


def test_leaving_early_stops_the_model_at_once_and_is_written_down() -> None:
    async def main() -> None:
        model = edge(["a", "b", Block()])
        client = client_with(model)
        async with client.stream("hi") as s:
            async for _ in s:
                break
            assert model.open == 1
        assert (model.open, model.left) == (0, 1)
        assert "ollama:phi cancelled (the caller left)" in await client.explain()
        with pytest.raises(InvalidRequest, match="The stream is not open"):
            await s.reply()

    run(main())


def test_an_error_of_the_callers_own_stops_the_model_and_goes_on() -> None:
    async def main() -> None:
        model = edge(["a", Block()])

        async def work() -> None:
            async with client_with(model).stream("hi") as s:
                async for _ in s:
                    raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await work()
        assert (model.open, model.left) == (0, 1)

    run(main())


def test_a_cancellation_in_the_middle_stops_the_model() -> None:
    async def main() -> None:
        model = edge(["a", Block()])
        client = client_with(model)

        async def work() -> None:
            async with client.stream("hi") as s:
                await listen(s)

        task = asyncio.create_task(work())
        await asyncio.sleep(5.0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert (model.open, model.left) == (0, 1)

    run(main())


def test_before_the_first_token_another_model_answers_unseen() -> None:
    async def main() -> None:
        async with client_with(edge([Wait(1.0), Fail("connect")]), cloud(["a", "b"])).stream("hi") as s:
            assert await listen(s) == ["a", "b"]
            assert (await s.reply()).model_id == "openai:gpt"

    run(main())


def test_after_the_first_token_the_error_has_the_text_so_far() -> None:
    async def main() -> None:
        spare = cloud()
        heard: list[str | Reset] = []
        async with client_with(edge(["half ", "of it", Cut()]), spare).stream("hi", request_id="r1") as s:
            heard += [await anext(s), await anext(s)]
            with pytest.raises(StreamBroken, match="The stream of ollama:phi broke off") as failed:
                await anext(s)
            error = failed.value
            with pytest.raises(StreamBroken):
                await s.reply()
        assert heard == ["half ", "of it"]
        assert error.text == "half of it"
        assert error.kind == "truncated"
        assert error.hint is not None
        assert "on_break='restart'" in error.hint
        assert error.request_id == "r1"
        assert [each.kind for each in error.attempts] == ["truncated"]
        assert error.__suppress_context__
        assert spare.requests == []

    run(main())


def test_on_break_restart_begins_again_after_a_reset() -> None:
    async def main() -> None:
        async with client_with(edge(["half", Cut()]), cloud(["who", "le"])).stream("hi", on_break="restart") as s:
            first, reset, *rest = await listen(s)
            reply = await s.reply()
        assert (first, rest) == ("half", ["who", "le"])
        assert isinstance(reset, Reset)
        assert reset.model_id == "openai:gpt"
        assert reply.response == "whole"

    run(main())


def test_a_deadline_ends_a_stream() -> None:
    async def main() -> None:
        async with client_with(edge(["a", Block()])).stream("hi", deadline=3.0) as s:
            with pytest.raises(DeadlineExceeded):
                await listen(s)
        assert now() == 3.0

    run(main())


def test_a_slow_reader_is_no_silence() -> None:
    async def main() -> None:
        async with client_with(edge(["a", "b", "c"])).stream("hi", deadline=None) as s:
            async for _ in s:
                await asyncio.sleep(1000.0)
            assert (await s.reply()).response == "abc"

    run(main())


def test_a_reader_that_takes_longer_than_the_deadline_is_told_so() -> None:
    async def main() -> None:
        async with client_with(edge(["a", Wait(1.0), "b"])).stream("hi") as s:
            assert await anext(s) == "a"
            await asyncio.sleep(700.0)
            with pytest.raises(DeadlineExceeded):
                await anext(s)

    run(main())


def test_errors_come_where_they_belong() -> None:
    """A wrong wish at the call; what depends on agents and models at the first piece."""

    async def main() -> None:
        client = client_with(edge([Fail("connect")]))
        with pytest.raises(InvalidRequest):
            client.stream("")
        with pytest.raises(UnknownModel):
            client.stream("hi", model_id="nobody:here")
        async with client.stream("hi") as s:
            with pytest.raises(AllModelsFailed):
                await anext(s)
            with pytest.raises(AllModelsFailed):
                await s.reply()
        client.hook_agent(Says("guard", {"proceed": False}))
        async with client.stream("hi") as s:
            with pytest.raises(Vetoed):
                await s.reply()

    run(main())


def test_a_stream_must_be_entered() -> None:
    async def main() -> None:
        model = edge()
        s = client_with(model).stream("hi")
        with pytest.raises(InvalidRequest, match="The stream is not open") as failed:
            await listen(s)
        assert failed.value.hint == "Use it as: async with client.stream(…) as s: …"
        with pytest.raises(OblixError):
            await s.reply()
        assert model.requests == []

    run(main())


def test_a_stream_that_is_never_read_asks_nobody() -> None:
    async def main() -> None:
        model = edge()
        async with client_with(model).stream("hi"):
            pass
        assert model.requests == []

    run(main())


def test_streams_side_by_side_keep_apart() -> None:
    async def main() -> None:
        scripts = [[Wait(n % 3), f"{n}a", Wait(n % 2), f"{n}b"] for n in range(20)]
        client = client_with(edge(*scripts))

        async def one() -> tuple[str, str]:
            async with client.stream("hi") as s:
                return "".join(str(piece) for piece in await listen(s)), (await s.reply()).response

        told = await asyncio.gather(*(one() for _ in scripts))
        assert all(heard == response for heard, response in told)
        assert sorted(heard for heard, _ in told) == sorted(f"{n}a{n}b" for n in range(20))

    run(main())
