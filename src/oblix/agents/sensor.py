"""A reading taken beside the path of a prompt, on a daemon thread of its own: a device that hangs delays nobody, not even the exit."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
_log = logging.getLogger("oblix.agents")


class Sample(NamedTuple, Generic[T]):
    """A reading, and when it was taken (`time.monotonic()`, seconds)."""

    value: T
    at: float


class Sensor(Generic[T]):
    """Calls `read` every `interval` seconds, keeps the latest sample, and reads at once when asked to.

    The interval may be a function, which is asked after each reading. The thread starts at the first use and belongs to one process: after a
    fork it starts again.
    """

    def __init__(self, name: str, read: Callable[[], T], interval: float | Callable[[], float]) -> None:
        self.latest: Sample[T] | None = None
        self._name = name
        self._read = read
        self._interval = interval
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._owner = 0
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._failing = False
        self._began: float | None = None  # when the present reading began (`time.monotonic()`)
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the thread, unless it runs already in this process."""
        if self._owner == os.getpid() and not self._stopped.is_set():
            return
        self._owner = os.getpid()
        self._wake, self._stopped, self._lock = threading.Event(), threading.Event(), threading.Lock()
        self._waiting = []
        threading.Thread(
            target=_run, args=(self, self._stopped, self._wake), name=f"oblix-sensor-{self._name}", daemon=True
        ).start()

    def stop(self) -> None:
        """Let the thread end. It is not waited for: its device may hang."""
        self._stopped.set()
        self._wake.set()

    def age(self) -> float:
        """Seconds since the latest sample; infinite before the first."""
        return time.monotonic() - self.latest.at if self.latest else float("inf")

    def poke(self) -> None:
        """Read soon, and do not wait for it."""
        self.start()
        self._wake.set()

    async def refresh(self, within: float) -> bool:
        """Read now; whether a new sample came within so many seconds. A reading that hangs for longer already is not waited for."""
        began = self._began
        if began is not None and self._owner == os.getpid() and time.monotonic() - began > within:
            return False
        loop = asyncio.get_running_loop()
        news: asyncio.Future[None] = loop.create_future()
        self.start()  # first, because after a fork the lock may be held by a thread that is not there any more
        with self._lock:
            self._waiting.append((loop, news))
        self._wake.set()
        try:
            done, _ = await asyncio.wait([news], timeout=within)
        finally:
            if not news.done():
                news.cancel()
                with self._lock:
                    self._waiting = [waiter for waiter in self._waiting if waiter[1] is not news]
        return bool(done)

    def take(self) -> None:
        """One reading, on the sensor's own thread."""
        self._began = time.monotonic()
        try:
            self.latest = Sample(self._read(), time.monotonic())
            self._failing = False
        except Exception as error:  # noqa: BLE001  whatever a device does, the thread must go on
            if not self._failing:  # told once, not at every reading
                _log.warning("the sensor %r failed, its last reading is kept: %s", self._name, error, exc_info=error)
            self._failing = True
        self._began = None
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for loop, news in waiting:
            try:
                loop.call_soon_threadsafe(_tell, news)
            except RuntimeError:
                continue  # that loop is closed, nobody waits any more

    @property
    def interval(self) -> float:
        """Seconds until the next reading."""
        return self._interval() if callable(self._interval) else self._interval


def _run(sensor: Sensor[T], stopped: threading.Event, wake: threading.Event) -> None:
    while not stopped.is_set():
        wake.clear()
        sensor.take()
        wake.wait(sensor.interval)


def _tell(news: asyncio.Future[None]) -> None:
    if not news.done():
        news.set_result(None)
