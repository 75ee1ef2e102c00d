"""The loop of a simulated world: the virtual clock, and threads whose work takes simulated time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

from oblix.testing import VirtualClockLoop

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
THREAD_SECONDS = 0.003  # what a hop to a thread and back takes at most on a busy machine


class SimLoop(VirtualClockLoop):
    """A virtual clock on which threads take time: what `asyncio.to_thread` is given runs a little later, and all else stands meanwhile.

    A real thread would be slow to start (100 µs), and the order in which several of them end is not the seed's.
    """

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """As in asyncio, `THREAD_SECONDS` later."""
        future: asyncio.Future[T] = self.create_future()
        self.call_later(THREAD_SECONDS, _work, future, func, args)
        return future


def _work(future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """In a thread, as what runs there may block and knows no loop; awaited at once, because only one thing happens at a time."""
    if future.cancelled():
        return

    def run() -> None:
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  handed on, as an executor does
            future.set_exception(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
