"""What is measured of anything that can be asked: seconds per call, calls per second, CPU per token, gaps between ticks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Self

Ask = Callable[[], Awaitable[str]]

WARM = 20  # calls before each measurement: connections that idled out are opened anew, and caches filled


async def sequential(ask: Ask, seconds: float) -> float:
    """Median seconds of a call, one after the other, for so many seconds."""
    for _ in range(WARM):
        await ask()
    took: list[float] = []
    clock = time.perf_counter
    end = clock() + seconds
    while (start := clock()) < end:
        await ask()
        took.append(clock() - start)
    return median(took)


async def in_flight(ask: Ask, seconds: float, width: int) -> tuple[float, float]:
    """Calls per second with so many in flight all the time, and CPU seconds of this process for each."""
    done = 0
    await asyncio.gather(*(ask() for _ in range(width)))  # one connection each
    clock = time.perf_counter
    start, cpu = clock(), time.process_time()
    end = start + seconds

    async def go_on() -> None:
        nonlocal done
        while clock() < end:
            await ask()
            done += 1

    await asyncio.gather(*(go_on() for _ in range(width)))
    return done / (clock() - start), (time.process_time() - cpu) / done


async def streamed(ask: Ask, seconds: float, width: int, tokens: int) -> float:
    """CPU seconds of this process per token, with so many streams of so many tokens at once."""
    await asyncio.gather(*(ask() for _ in range(width)))
    start, cpu, rounds = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < seconds:
        await asyncio.gather(*(ask() for _ in range(width)))
        rounds += 1
    return (time.process_time() - cpu) / (rounds * width * tokens)


async def at_once(ask: Ask, count: int, repeats: int) -> tuple[float, float]:
    """Seconds for one call, and for so many started at once; the best of the repeats, since noise only adds."""
    await asyncio.gather(*(ask() for _ in range(count)))
    one: list[float] = []
    all_: list[float] = []
    clock = time.perf_counter
    for _ in range(repeats):
        start = clock()
        await ask()
        one.append(clock() - start)
        start = clock()
        await asyncio.gather(*(ask() for _ in range(count)))
        all_.append(clock() - start)
    return min(one), min(all_)


class Ticker:
    """A tick every millisecond; `longest` is the longest gap between two, in seconds: a stall of the event loop."""

    EVERY = 0.001

    def __init__(self) -> None:
        self.longest = 0.0
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        self._last = self._loop.time()
        self._timer = self._loop.call_later(self.EVERY, self._tick)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self.longest = max(self.longest, self._loop.time() - self._last - self.EVERY)

    def _tick(self) -> None:
        now = self._loop.time()
        self.longest = max(self.longest, now - self._last - self.EVERY)
        self._last = now
        self._timer = self._loop.call_later(self.EVERY, self._tick)


def microseconds(work: Callable[[], object], *, loops: int = 200, repeats: int = 15) -> float:
    """µs of a plain function: the median over repeats of the mean over loops."""
    took = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(loops):
            work()
        took.append((time.perf_counter() - start) / loops)
    return 1e6 * median(took)
