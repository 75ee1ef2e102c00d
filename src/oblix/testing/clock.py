"""An event loop whose clock jumps over waits: a test of an hour takes a millisecond, and its times are exact."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
PATIENCE = 30.0  # real seconds without any event, after which nothing is expected to happen any more


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """Timers fire in order, each at exactly the time that it was set for, and nobody waits for them; `time()` begins at 0.

    While `asyncio.to_thread` works, the clock stands. An answer on a socket does not hold it: such tests need a real loop.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = itertools.count()
        self._working = 0
        super().__init__(_Selector(self))

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass as if code had blocked the loop for so long."""
        self._now += seconds

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As in asyncio; the exact time is remembered."""
        timer = super().call_at(when, callback, *args, context=context)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """As in asyncio; the clock stands until the thread is done."""
        future = super().run_in_executor(executor, func, *args)
        self._working += 1
        future.add_done_callback(self._worked)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """As in asyncio, without its time limit: the clock stands."""
        self._working += 1
        await super().shutdown_default_executor()
        self._working -= 1

    def _worked(self, future: asyncio.Future[Any]) -> None:
        self._working -= 1

    def _jump(self) -> None:
        while self._timers:
            when, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled() and when > self._now:
                self._now = when
                return


class _Selector(selectors.DefaultSelector):
    """Where asyncio would sleep until the next timer, the clock is moved to it instead."""

    def __init__(self, loop: VirtualClockLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        if timeout is None or self._loop._working:
            events = super().select(PATIENCE)
            if not events:
                raise RuntimeError("everything waits, and nothing will happen any more")
            return events
        self._loop._jump()
        return []


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on a virtual clock."""
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(main)
