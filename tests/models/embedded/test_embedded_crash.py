"""The engine's process dies or stands still in the middle of answers: real processes, real weights."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from oblix.errors import AttemptFailed, FailureKind
from oblix.types.chunk import Chunk, Delta

from .conftest import Phases

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = pytest.mark.engine
Gone = Callable[[int], Coroutine[Any, Any, None]]
StandIn = Callable[..., None]
DEADLY = [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT]


async def drain(stream: AsyncIterator[Chunk]) -> None:
    async for _ in stream:
        pass


async def read_tokens(stream: AsyncIterator[Chunk], tokens: int) -> None:
    """Read so many pieces of text."""
    seen = 0
    while seen < tokens:
        seen += type(await anext(stream)) is Delta


async def failure_of(stream: AsyncIterator[Chunk]) -> AttemptFailed:
    with pytest.raises(AttemptFailed) as failed:
        await drain(stream)
    return failed.value


@pytest.mark.parametrize("number", DEADLY)
def test_a_crash_fails_the_attempt_and_the_next_request_starts_anew(bench: Bench, number: signal.Signals) -> None:
    async def run() -> tuple[AttemptFailed, int, int]:
        model = bench.model(window=2048)
        try:
            stream = model.stream(bench.endless(), bench.call())
            await anext(stream)
            first = bench.pid(model)
            os.kill(first, number)
            with pytest.raises(AttemptFailed) as failed:
                await asyncio.wait_for(drain(stream), 30)
            assert model.state().loaded is False
            assert model.state().processes == frozenset()
            assert (await bench.answer(model)).end
            return failed.value, first, bench.pid(model)
        finally:
            await model.close()

    failed, first, second = asyncio.run(run())
    assert failed.kind is FailureKind.ENGINE_CRASH
    assert number.name in failed.message
    assert failed.hint
    assert first != second


def test_a_crash_wakes_those_who_wait_and_they_are_answered_by_the_next_engine(bench: Bench) -> None:
    async def run() -> None:
        model = bench.model(window=2048)
        stream = model.stream(bench.endless(), bench.call())
        try:
            await anext(stream)
            waiting = [asyncio.create_task(bench.answer(model)) for _ in range(3)]
            await asyncio.sleep(0.05)
            os.kill(bench.pid(model), signal.SIGKILL)
            with pytest.raises(AttemptFailed):
                await drain(stream)
            for task in waiting:
                assert (await task).end
        finally:
            await model.close()

    asyncio.run(run())


def test_a_crash_leaves_no_folder_behind(bench: Bench) -> None:
    async def run() -> None:
        model = bench.model()
        await bench.answer(model)
        os.kill(bench.pid(model), signal.SIGKILL)
        async with asyncio.timeout(20):
            while set(Path(tempfile.gettempdir()).glob("oblix-engine-*")) - before:
                await asyncio.sleep(0.02)
        await model.close()

    before = set(Path(tempfile.gettempdir()).glob("oblix-engine-*"))
    asyncio.run(run())


@pytest.mark.parametrize("number", DEADLY)
def test_every_open_answer_fails_when_the_process_dies(bench: Bench, number: signal.Signals) -> None:
    async def run() -> None:
        tokens = random.Random(int(number)).sample(range(1, 30), 3)
        async with bench.open(slots=3, window=2048) as model:
            streams = [model.stream(bench.endless(), bench.call()) for _ in tokens]
            await asyncio.gather(*map(read_tokens, streams, tokens))
            os.kill(bench.pid(model), number)
            for failed in await asyncio.gather(*map(failure_of, streams)):
                assert failed.kind is FailureKind.ENGINE_CRASH
                assert failed.certainty is None  # they were begun: each may be the cause

    asyncio.run(run())


def test_a_question_that_the_process_had_not_taken_is_asked_of_the_next_one(bench: Bench) -> None:
    async def run() -> None:
        async with bench.open(slots=2, window=2048) as model:
            begun = model.stream(bench.endless(), bench.call())
            await read_tokens(begun, 3)
            first = bench.pid(model)
            os.kill(first, signal.SIGSTOP)  # so that the next question lies in the pipe, unread
            phases = Phases()
            task = asyncio.create_task(bench.answer(model, phases=phases))
            await until(phases, "first_token")
            os.kill(first, signal.SIGKILL)
            assert (await failure_of(begun)).kind is FailureKind.ENGINE_CRASH
            assert (await task).end
            assert bench.pid(model) != first

    asyncio.run(run())


async def until(phases: Phases, phase: str) -> None:
    """Wait until an attempt has entered a phase, in which it then waits."""
    while phase not in phases.seen:
        await asyncio.sleep(0.005)


# --- it stands still ---


def test_a_process_that_stands_still_is_found_out_when_an_answer_is_left_and_replaced(bench: Bench, gone: Gone) -> None:
    async def run() -> None:
        async with bench.open(hung_after=0.5, window=2048) as model:
            stream = model.stream(bench.endless(), bench.call())
            await read_tokens(stream, 3)
            first = bench.pid(model)
            os.kill(first, signal.SIGSTOP)
            await stream.aclose()  # as the hands do when nothing comes any more
            assert (await bench.answer(model)).end
            assert bench.pid(model) != first
            await gone(first)

    asyncio.run(run())


def test_who_shared_a_process_that_stands_still_is_told_of_a_crash(bench: Bench) -> None:
    async def run() -> None:
        async with bench.open(hung_after=0.5, slots=2, window=2048) as model:
            left, stays = (model.stream(bench.endless(), bench.call()) for _ in range(2))
            await asyncio.gather(read_tokens(left, 2), read_tokens(stays, 2))
            os.kill(bench.pid(model), signal.SIGSTOP)
            await left.aclose()
            failed = await failure_of(stays)
            assert failed.kind is FailureKind.ENGINE_CRASH
            assert "no sign of life" in failed.message

    asyncio.run(run())


def test_who_waits_for_a_slot_of_a_process_that_stands_still_is_answered_by_the_next(bench: Bench) -> None:
    async def run() -> None:
        async with bench.open(hung_after=0.5, slots=1, window=2048) as model:
            stream = model.stream(bench.endless(), bench.call())
            await read_tokens(stream, 2)
            told = [Phases() for _ in range(3)]
            waiting = [asyncio.create_task(bench.answer(model, phases=phases)) for phases in told]
            for phases in told:
                await until(phases, "load")
            os.kill(bench.pid(model), signal.SIGSTOP)
            await stream.aclose()
            for task in waiting:
                assert (await task).end

    asyncio.run(run())


def test_a_process_that_goes_on_in_time_keeps_its_life_and_its_answers(bench: Bench) -> None:
    async def run() -> None:
        async with bench.open(hung_after=60.0, slots=2, window=2048) as model:
            left, stays = (model.stream(bench.endless(80), bench.call()) for _ in range(2))
            await asyncio.gather(read_tokens(left, 2), read_tokens(stays, 2))
            pid = bench.pid(model)
            os.kill(pid, signal.SIGSTOP)
            await left.aclose()
            phases = Phases()
            asked = asyncio.create_task(bench.answer(model, phases=phases))
            await until(phases, "load")
            os.kill(pid, signal.SIGCONT)
            await drain(stays)
            assert (await asked).end
            assert bench.pid(model) == pid

    asyncio.run(run())


def test_leaving_a_count_of_a_process_that_stands_still_finds_it_out_too(bench: Bench, gone: Gone) -> None:
    async def run() -> None:
        async with bench.open(hung_after=0.5) as model:
            await model.load(bench.request())
            pid = bench.pid(model)
            os.kill(pid, signal.SIGSTOP)
            counting = asyncio.create_task(model.count_tokens(bench.request()))
            await asyncio.sleep(0)  # it is loaded: nothing to wait for before the question is put
            counting.cancel()
            await gone(pid)

    asyncio.run(run())


def test_many_who_leave_a_healthy_process_do_not_cost_its_life(bench: Bench) -> None:
    async def run() -> None:
        async with bench.open(hung_after=2.0, slots=2, window=2048) as model:
            await model.load(bench.request())
            pid = bench.pid(model)
            for tokens in range(1, 16):
                stream = model.stream(bench.endless(), bench.call())
                await read_tokens(stream, tokens % 4)
                await stream.aclose()
            assert (await bench.answer(model)).end
            assert bench.pid(model) == pid

    asyncio.run(run())


STUCK = """
import threading
class Stuck(xllamacpp.Server):
    def handle_chat_completions(self, body, on_chunk):
        on_chunk({"choices": [{"delta": {"content": "Well"}}]})
        threading.Event().wait()
xllamacpp.Server = Stuck
"""


def test_an_engine_that_never_frees_its_slot_is_replaced_though_its_process_answers(
    bench: Bench, gone: Gone, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oblix.models.embedded.child._FREE_WAIT", 0.5)
    stand_in(last=STUCK)

    async def run() -> None:
        async with bench.open(slots=1) as model:
            stream = model.stream(bench.request(), bench.call())
            await read_tokens(stream, 1)
            stuck = bench.pid(model)
            await stream.aclose()
            stand_in()
            assert (await bench.answer(model)).end
            await gone(stuck)

    asyncio.run(run())


def test_a_question_whose_sight_ends_every_process_is_not_asked_for_ever(bench: Bench, stand_in: StandIn) -> None:
    stand_in("import __main__\n__main__.Host.take = lambda self, message: os.kill(os.getpid(), 11)")

    async def run() -> AttemptFailed:
        async with bench.open() as model:
            return await bench.failure(model)

    assert asyncio.run(run()).kind is FailureKind.ENGINE_CRASH


def test_a_crash_leaves_no_image_of_the_process_on_disk(bench: Bench) -> None:
    async def run() -> None:
        async with bench.open() as model:
            await model.load(bench.request())
            limits = psutil.Process(bench.pid(model)).rlimit(psutil.RLIMIT_CORE)
            assert limits[0] == 1  # at 0 it would still go to a program that collects images (apport)

    asyncio.run(run())
