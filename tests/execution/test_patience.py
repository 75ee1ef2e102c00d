"""Awaiting under a deadline: without a timer where nothing has to be waited for, and exactly like `await` where something has."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oblix.execution.patience import within
from oblix.testing import run


def now() -> float:
    return asyncio.get_running_loop().time()


async def at_once() -> str:
    return "done"


async def after(*waits: float) -> str:
    for seconds in waits:
        await asyncio.sleep(seconds)
    return "done"


def test_what_is_there_already_sets_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> str:
        monkeypatch.setattr(asyncio, "timeout_at", None)
        return await within(at_once(), 1.0)

    assert run(main()) == "done"


@pytest.mark.parametrize("when", [None, 3.5], ids=["no limit", "in time"])
def test_several_waits_are_waited_for(when: float | None) -> None:
    async def main() -> tuple[str, float]:
        return await within(after(1.0, 0.0, 2.0), when), now()

    assert run(main()) == ("done", 3.0)


@pytest.mark.parametrize("waits", [(5.0,), (1.0, 5.0)], ids=["in the first wait", "in a later wait"])
def test_it_ends_at_the_deadline(waits: tuple[float, ...]) -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            await within(after(*waits), 2.5)
        return now()

    assert run(main()) == 2.5


@pytest.mark.parametrize("waits", [(5.0,), (1.0, 5.0)], ids=["in the first wait", "in a later wait"])
def test_cancellation_reaches_the_work_and_travels_on(waits: tuple[float, ...]) -> None:
    told: list[str] = []

    async def work() -> None:
        try:
            await after(*waits)
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    async def main() -> bool:
        task = asyncio.create_task(within(work(), 100.0))
        await asyncio.sleep(2.0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert run(main())
    assert told == ["cancelled"]


def test_work_that_survives_its_cancellation_goes_on() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(10.0)
        except asyncio.CancelledError:
            await asyncio.sleep(1.0)
        return "survived"

    async def main() -> tuple[str, float]:
        task = asyncio.create_task(within(stubborn(), None))
        await asyncio.sleep(2.0)
        task.cancel()
        return await task, now()

    assert run(main()) == ("survived", 3.0)


@pytest.mark.parametrize("waits", [(), (1.0,)], ids=["at once", "later"])
def test_errors_are_raised_where_it_is_awaited(waits: tuple[float, ...]) -> None:
    async def fail() -> None:
        await after(*waits)
        raise KeyError("x")

    async def main() -> Any:
        with pytest.raises(KeyError):
            await within(fail(), 10.0)

    run(main())


def test_what_is_dropped_in_the_middle_is_closed() -> None:
    told: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(10.0)
        finally:
            told.append("closed")

    async def main() -> None:
        held = within(work(), None)
        held.send(None)
        held.close()

    run(main())
    assert told == ["closed"]
