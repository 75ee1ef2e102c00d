"""Loading, cancelling, crashing, idling, closing: the life of the engine's process."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from oblix.errors import AttemptFailed, FailureKind
from oblix.types.chunk import Chunk, Delta, Progress

if TYPE_CHECKING:
    from tests.models.embedded.conftest import Bench

pytestmark = pytest.mark.engine
Gone = Callable[[int], Coroutine[Any, Any, None]]
ENDLESS = {"ignore_eos": True}

STREAMING = """
import asyncio, sys
from oblix.models.base import Call
from oblix.models.embedded import EmbeddedModel
from oblix.types.messages import Message
from oblix.types.request import Request
from oblix.types.spec import ModelSpec

class Watch:
    def reached(self, phase): pass

async def main():
    model = EmbeddedModel(ModelSpec("embedded:x", "embedded", sys.argv[1], "edge"), threads=1, window=2048, slots=1)
    request = Request("r", (Message("user", "Hi."),), max_tokens=2000, provider_options={"ignore_eos": True})
    said = False
    async for chunk in model.stream(request, Call(Watch())):
        if not said:
            print(*model.state().processes, flush=True)
            said = True
            if "leave" in sys.argv:
                break
    if "leave" in sys.argv:
        return model

kept = asyncio.run(main())
print("ended", flush=True)
sys.stdin.read()
"""


def start(weights: str, *words: str) -> tuple[subprocess.Popen[str], int]:
    """Another Python process that streams; and the process id of its engine."""
    other = subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", STREAMING, weights, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    return other, int(other.stdout.readline())


def finish(other: subprocess.Popen[str]) -> str:
    out, err = other.communicate(timeout=60)
    del out
    return err


async def drain(stream: AsyncIterator[Chunk]) -> None:
    async for _ in stream:
        pass


def test_leaving_while_it_writes_frees_the_only_slot(bench: Bench) -> None:
    async def run() -> tuple[float, float]:
        model = bench.model(window=2048)
        request = bench.request("Write a long story.", max_tokens=1900, provider_options=ENDLESS)
        try:
            stream = model.stream(request, bench.call())
            times = []
            async for chunk in stream:
                if isinstance(chunk, Delta):
                    times.append(time.monotonic())
                if len(times) == 20:
                    break
            await stream.aclose()
            left = time.monotonic()
            await bench.answer(model)
            return time.monotonic() - left, (times[-1] - times[0]) / 19
        finally:
            await model.close()

    waited, token = asyncio.run(run())
    # 1,880 tokens were left to write; the short answer reads about 35 and writes 8.
    assert waited < 300 * token, f"waited as long as {waited / token:.0f} tokens take"


def test_leaving_while_it_reads_frees_the_only_slot_within_about_a_batch(bench: Bench) -> None:
    async def run() -> tuple[float, float]:
        model = bench.model(window=4096)
        try:
            await bench.answer(model)
            stream = model.stream(bench.request("word " * 3600), bench.call())
            times = []
            async for chunk in stream:
                assert isinstance(chunk, Progress)
                times.append(time.monotonic())
                if len(times) == 5:
                    break
            batch = (times[-1] - times[1]) / 3
            await stream.aclose()
            left = time.monotonic()
            await bench.answer(model, bench.request(max_tokens=1))
            return time.monotonic() - left, batch
        finally:
            await model.close()

    waited, batch = asyncio.run(run())
    # About 53 batches of the long prompt were left to read; the short one needs one of its own.
    assert waited < 15 * batch, f"waited {waited / batch:.1f} batches"


def test_cancelling_the_task_frees_the_slot_and_travels_on(bench: Bench) -> None:
    async def run() -> None:
        model = bench.model(window=2048)
        begun = asyncio.Event()

        async def endless() -> None:
            request = bench.request("Write.", max_tokens=1900, provider_options=ENDLESS)
            async for _ in model.stream(request, bench.call()):
                begun.set()

        try:
            task = asyncio.create_task(endless())
            await asyncio.wait_for(begun.wait(), 60)
            waiting = asyncio.create_task(bench.answer(model))
            await asyncio.sleep(0)
            assert not waiting.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await waiting).end
        finally:
            await model.close()

    asyncio.run(run())


def test_one_who_waits_for_a_slot_may_leave(bench: Bench) -> None:
    async def run() -> None:
        model = bench.model(window=2048)
        stream = model.stream(bench.request("Write.", max_tokens=1900, provider_options=ENDLESS), bench.call())
        try:
            await anext(stream)
            waiting = [asyncio.create_task(bench.answer(model)) for _ in range(3)]
            await asyncio.sleep(0.05)
            waiting[0].cancel()
            await stream.aclose()
            assert (await waiting[1]).end
            assert (await waiting[2]).end
            assert waiting[0].cancelled()
        finally:
            await model.close()

    asyncio.run(run())


def test_an_idle_engine_gives_its_memory_back_and_comes_again(bench: Bench, gone: Gone) -> None:
    async def run() -> None:
        model = bench.model(idle_unload=0.3)
        try:
            await bench.answer(model)
            pid = bench.pid(model)
            assert model.state().loaded
            assert psutil.Process(pid).memory_info().rss > 100 << 20
            await gone(pid)
            assert model.state().loaded is False
            assert (await bench.answer(model)).phases == ["load", "first_token"]
        finally:
            await model.close()

    asyncio.run(run())


def test_an_engine_at_work_is_not_idle(bench: Bench) -> None:
    async def run() -> None:
        model = bench.model(idle_unload=0.05)
        try:
            request = bench.request("Write.", max_tokens=60, provider_options=ENDLESS)
            assert (await bench.answer(model, request)).end.finish_reason == "length"
        finally:
            await model.close()

    asyncio.run(run())


def test_constructing_touches_nothing_and_closing_an_unused_model_neither(bench: Bench) -> None:
    async def run() -> None:
        model = bench.model("/no/such/file.gguf")
        assert model.state().loaded is False
        assert model.state().processes == frozenset()
        await model.close()

    asyncio.run(run())


def test_closing_ends_the_process_also_in_the_middle_of_an_answer(bench: Bench, gone: Gone) -> None:
    async def run() -> None:
        model = bench.model(window=2048)
        stream = model.stream(bench.request("Write.", max_tokens=1900, provider_options=ENDLESS), bench.call())
        await anext(stream)
        pid = bench.pid(model)
        await model.close()
        await gone(pid)
        with pytest.raises(AttemptFailed) as failed:
            await drain(stream)
        assert failed.value.kind is FailureKind.CANCELLED
        await model.close()

    asyncio.run(run())


def test_closing_turns_away_those_who_wait_for_a_slot(bench: Bench) -> None:
    async def run() -> None:
        model = bench.model(window=2048)
        stream = model.stream(bench.request("Write.", max_tokens=1900, provider_options=ENDLESS), bench.call())
        await anext(stream)
        waiting = [asyncio.create_task(bench.answer(model)) for _ in range(3)]
        await asyncio.sleep(0.05)
        await model.close()
        for task in [*waiting, asyncio.create_task(drain(stream))]:
            with pytest.raises(AttemptFailed) as failed:
                await task
            assert failed.value.kind is FailureKind.CANCELLED
        assert model.state().processes == frozenset()

    asyncio.run(run())


def test_a_model_serves_one_event_loop_after_another(bench: Bench, gone: Gone) -> None:
    model = bench.model()

    async def run() -> int:
        await bench.answer(model)
        return bench.pid(model)

    first = asyncio.run(run())  # without close: the end of the loop ends the process
    asyncio.run(gone(first))

    async def run_and_close() -> int:
        pid = await run()
        await model.close()
        return pid

    second = asyncio.run(run_and_close())
    assert first != second
    gc.collect()


def test_a_killed_parent_takes_its_engine_along(bench: Bench, gone: Gone) -> None:
    other, engine = start(bench.weights)
    other.kill()
    finish(other)
    asyncio.run(gone(engine))


def test_ctrl_c_ends_parent_and_engine_quietly(bench: Bench, gone: Gone) -> None:
    other, engine = start(bench.weights)
    other.send_signal(signal.SIGINT)
    said = finish(other)
    asyncio.run(gone(engine))
    assert "ResourceWarning" not in said
    assert "never retrieved" not in said
    assert said.rstrip().endswith("KeyboardInterrupt")


def test_a_loop_that_ends_without_close_ends_the_engine_quietly(bench: Bench, gone: Gone) -> None:
    other, engine = start(bench.weights, "leave")
    assert other.stdout is not None
    assert other.stdout.readline() == "ended\n"  # the process lives on, and so does the model object
    asyncio.run(gone(engine))
    assert finish(other) == ""
    assert other.returncode == 0


def test_the_engine_does_not_hear_ctrl_c(bench: Bench) -> None:
    async def run() -> None:
        model = bench.model()
        try:
            await bench.answer(model)
            pid = bench.pid(model)
            assert os.getpgid(pid) != os.getpgid(0)
            os.kill(pid, signal.SIGINT)
            assert (await bench.answer(model)).end
            assert bench.pid(model) == pid
        finally:
            await model.close()

    asyncio.run(run())


def test_nobody_else_can_talk_to_the_engine(bench: Bench) -> None:
    async def run() -> None:
        model = bench.model()
        try:
            await bench.answer(model)
            engine = psutil.Process(bench.pid(model))
            assert engine.net_connections("inet") == []
            (sock,) = {c.laddr for c in engine.net_connections("unix") if c.laddr}
            assert Path(str(sock)).parent.stat().st_mode & 0o077 == 0
        finally:
            await model.close()
        assert not Path(str(sock)).parent.exists()

    asyncio.run(run())


def test_memory_does_not_grow_with_every_distinct_prompt(bench: Bench) -> None:
    async def run() -> list[int]:
        model = bench.model()
        sizes = []
        try:
            for number in range(14):
                await bench.answer(model, bench.request(f"{number} " + f"word{number} " * 60, max_tokens=1))
                sizes.append(psutil.Process(bench.pid(model)).memory_info().rss)
        finally:
            await model.close()
        return sizes

    sizes = asyncio.run(run())
    # With the engine's own default every prompt of this length keeps about 4 MiB.
    assert sizes[-1] - sizes[3] < 12 << 20, [size >> 20 for size in sizes]


def test_its_threads_do_not_wait_by_spinning(bench: Bench) -> None:
    async def run() -> dict[str, str]:
        model = bench.model(threads=None)
        try:
            await bench.answer(model)
            return dict(psutil.Process(bench.pid(model)).environ())
        finally:
            await model.close()

    found = asyncio.run(run())
    assert found["OMP_WAIT_POLICY"] == "passive"
    assert found["GOMP_SPINCOUNT"] == "0"


def test_tokens_are_counted_while_the_only_slot_is_taken_also_beyond_the_window(bench: Bench) -> None:
    async def run() -> int:
        model = bench.model()
        stream = model.stream(bench.request("Write.", max_tokens=900, provider_options=ENDLESS), bench.call())
        try:
            await anext(stream)
            async with asyncio.timeout(30):
                counted = await model.count_tokens(bench.request("word " * 3000))
            await anext(stream)
            return counted
        finally:
            await stream.aclose()
            await model.close()

    assert asyncio.run(run()) > 3000


def test_importing_loads_neither_the_engine_nor_an_http_client() -> None:
    program = (
        "import sys, oblix.models.embedded as e; e.EmbeddedModel; "
        "assert not {'xllamacpp', 'aiohttp'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
