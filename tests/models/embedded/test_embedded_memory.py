"""The system kills the engine for want of memory: told as such, and not repeated without end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.embedded import reload

from .memory_limit import MemoryLimit, memory_limit, why_not

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = pytest.mark.engine
Gone = Callable[[int], Coroutine[Any, Any, None]]
StandIn = Callable[..., None]


@pytest.fixture
def limit(require: Callable[[object, str], None]) -> Iterator[MemoryLimit]:
    """128 KiB: less than one more question takes (a thread and its stack, the prompt's tokens), and much less than loading."""
    reason = why_not()
    require(reason is None, str(reason))
    with memory_limit(128 << 10) as group:
        yield group


def test_an_engine_killed_for_want_of_memory_says_so_and_the_next_request_is_answered(
    bench: Bench, limit: MemoryLimit
) -> None:
    async def run() -> None:
        async with bench.open(slots=2, window=2048) as model:
            stream = model.stream(bench.endless(), bench.call())
            await anext(stream)
            limit.move(bench.pid(model))
            more = asyncio.create_task(bench.answer(model, bench.request("word " * 500)))
            with pytest.raises(AttemptFailed) as failed:
                async for _ in stream:
                    pass
            assert failed.value.kind is FailureKind.ENGINE_CRASH
            assert "want of memory" in failed.value.message
            assert "smaller" in str(failed.value.hint)
            await asyncio.wait({more})
            more.exception()  # it failed too, or was asked of the next engine when this one had not taken it
            assert (await bench.answer(model)).end

    asyncio.run(run())


def test_an_engine_that_does_not_fit_is_loaded_three_times_and_then_left_alone(
    bench: Bench, limit: MemoryLimit, stand_in: StandIn
) -> None:
    stand_in(f"open({str(limit.members)!r}, 'w').write(str(os.getpid()))")

    async def run() -> None:
        async with bench.open() as model:
            for _ in range(reload.MOST):
                failed = await bench.failure(model)
                assert failed.kind is FailureKind.ENGINE_CRASH
                assert failed.certainty == "not_sent"
            failed = await bench.failure(model)
            assert failed.kind is FailureKind.MODEL_UNLOADABLE
            assert "was killed 3 times" in failed.message
            assert failed.retry_after is not None
            assert 0 < failed.retry_after <= reload.WITHIN
            assert psutil.Process().children() == before

    before = psutil.Process().children()
    asyncio.run(run())


def test_signals_of_somebody_else_bar_no_load(bench: Bench) -> None:
    async def run() -> None:
        async with bench.open() as model:
            for _ in range(reload.MOST + 1):
                await model.load(bench.request())
                engine = psutil.Process(bench.pid(model))
                engine.kill()
                while model.state().loaded:
                    await asyncio.sleep(0)
            await model.load(bench.request())

    asyncio.run(run())
