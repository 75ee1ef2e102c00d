"""The virtual clock: exact, in order, and honest about what it cannot jump over."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

from oblix.testing import VirtualClockLoop, clock, run


def now() -> float:
    return asyncio.get_running_loop().time()


def test_an_hour_takes_no_time_and_is_exactly_an_hour() -> None:
    async def main() -> float:
        await asyncio.sleep(0.1)
        await asyncio.sleep(0.2)
        assert now() == 0.1 + 0.2
        await asyncio.sleep(3600 - now())
        return now()

    assert run(main()) == 3600.0


def test_timers_fire_in_the_order_of_their_times() -> None:
    async def main() -> list[tuple[float, str]]:
        told: list[tuple[float, str]] = []

        async def say(word: str, after: float) -> None:
            await asyncio.sleep(after)
            told.append((now(), word))

        async with asyncio.TaskGroup() as group:
            for word, after in (("c", 3.0), ("a", 1.0), ("b", 2.0), ("a2", 1.0)):
                group.create_task(say(word, after))
        return told

    assert run(main()) == [(1.0, "a"), (1.0, "a2"), (2.0, "b"), (3.0, "c")]


def test_a_cancelled_timer_moves_nothing() -> None:
    async def main() -> float:
        asyncio.get_running_loop().call_later(100.0, lambda: None).cancel()
        await asyncio.sleep(0.5)
        return now()

    assert run(main()) == 0.5


def test_timeouts_are_met_exactly() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await asyncio.get_running_loop().create_future()
        return now()

    assert run(main()) == 2.5


def test_the_clock_stands_while_a_thread_works() -> None:
    async def main() -> float:
        async with asyncio.timeout(5.0):
            await asyncio.to_thread(time.sleep, 0.01)
            return now()

    assert run(main()) == 0.0


def test_advance_stands_for_code_that_blocks_the_loop() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualClockLoop)
        fired: list[float] = []
        loop.call_later(1.0, lambda: fired.append(now()))
        loop.advance(3.0)
        await asyncio.sleep(0.5)
        return [*fired, now()]

    assert run(main()) == [3.0, 3.5]


def test_what_is_ready_on_a_socket_comes_before_a_jump() -> None:
    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            theirs.send(b"hi")
            async with asyncio.timeout(0.001):
                return await loop.sock_recv(ours, 10)

    assert run(main()) == b"hi"


def test_a_thread_of_ones_own_can_wake_the_loop() -> None:
    async def main() -> str:
        loop = asyncio.get_running_loop()
        news = loop.create_future()
        threading.Thread(target=loop.call_soon_threadsafe, args=(news.set_result, "up"), daemon=True).start()
        return str(await news)

    assert run(main()) == "up"


def test_waiting_for_nothing_at_all_is_an_error_and_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "PATIENCE", 0.01)

    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="everything waits"):
        run(main())


def test_two_runs_are_the_same() -> None:
    async def main() -> list[float]:
        seen: list[float] = []

        async def beat(every: float) -> None:
            while True:
                await asyncio.sleep(every)
                seen.append(now())

        beats = [asyncio.create_task(beat(every)) for every in (0.3, 0.7, 1.1)]
        await asyncio.sleep(10)
        for task in beats:
            task.cancel()
        return seen

    assert run(main()) == run(main())
