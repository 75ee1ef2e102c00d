"""A reading taken beside the path of a prompt, on a daemon thread of its own: a device that hangs delays nobody, not even the exit."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from oblix.errors import OblixError

T = TypeVar("T")
_log = logging.getLogger("oblix.agents")


class Sample(NamedTuple, Generic[T]):
    """A reading, and when it was taken (`time.monotonic()`, seconds)."""

    value: T
    at: float


class _Renewal:
    """Held while a sensor begins anew after a fork; the fork itself makes this lock anew."""

    lock = threading.Lock()

    @classmethod
    def forked(cls) -> None:
        cls.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Renewal.forked)


class Sensor(Generic[T]):
    """Calls `read` every `interval` seconds, keeps the latest sample, and reads at once when asked to.

    The interval may be a function, asked after each reading. The thread starts at the first use and belongs to one process: after a
    fork it starts again. There is never more than one, also when one that hangs is stopped and started again: `read` needs no lock.

    Attributes:
        latest: The last reading that went well.
        failure: Why the latest one did not, and what to do where that is known; empty when it did.
    """

    def __init__(self, name: str, read: Callable[[], T], interval: float | Callable[[], float]) -> None:
        self.latest: Sample[T] | None = None
        self._name = name
        self._read = read
        self._interval = interval
        self.failure = ""
        self._stopping = False
        self._renew()

    def _renew(self) -> None:
        """Begin anew: at first, and after a fork, which took no thread along, but perhaps a lock that one of them held."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._running = False
        self._began: float | None = None  # when the present reading began (`time.monotonic()`)
        self._owner = os.getpid()

    def start(self) -> None:
        """Start the thread, unless it runs already in this process. Where none can be started now, it is tried again the next time."""
        if self._owner != os.getpid():
            with _Renewal.lock:
                if self._owner != os.getpid():
                    self._renew()
        with self._lock:
            if self._stopping:
                self._stopping, self.failure = False, ""
            if self._running:
                return
            self._running = True
        try:
            threading.Thread(target=_run, args=(self,), name=f"oblix-sensor-{self._name}", daemon=True).start()
        except RuntimeError as error:  # a container's limit of tasks
            self._failed(error)
            with self._lock:
                self._running = False

    def stop(self) -> None:
        """Let the thread end. It is not waited for: its device may hang."""
        self._stopping = True  # without the lock: the garbage collector may call this, from any line of any thread
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
        self.start()
        began, before = self._began, self.latest
        if not self._running:
            return False
        if began is not None and time.monotonic() - began > within:
            return False
        loop = asyncio.get_running_loop()
        news: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._waiting.append((loop, news))
        self._wake.set()
        try:
            await asyncio.wait([news], timeout=within)
        finally:
            if not news.done():
                news.cancel()
                with self._lock:
                    self._waiting = [waiter for waiter in self._waiting if waiter[1] is not news]
        return self.latest is not before

    def take(self) -> None:
        """One reading, on the sensor's own thread."""
        self._began = time.monotonic()
        try:
            self.latest = Sample(self._read(), time.monotonic())
            self.failure = ""
        except Exception as error:  # noqa: BLE001  whatever a device does, the thread must go on
            self._failed(error)
        self._began = None
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for loop, news in waiting:
            try:
                loop.call_soon_threadsafe(_tell, news)
            except RuntimeError:
                continue  # that loop is closed, nobody waits any more

    def _failed(self, error: Exception) -> None:
        if not self.failure:  # told once, not at every reading
            _log.warning("the sensor %r failed, its last reading is kept: %s", self._name, error, exc_info=error)
        self.failure = _told(error)

    @property
    def interval(self) -> float:
        """Seconds until the next reading."""
        return self._interval() if callable(self._interval) else self._interval

    def _goes_on(self) -> bool:
        """Whether the thread is still wanted; if not, it is gone from this moment, and a start makes another one."""
        with self._lock:
            self._running = not self._stopping
            return self._running


def _run(sensor: Sensor[T]) -> None:
    while sensor._goes_on():
        sensor._wake.clear()
        sensor.take()
        if not sensor._stopping:
            sensor._wake.wait(sensor.interval)


def _told(error: Exception) -> str:
    """On one line, as it stands in a report's reason."""
    if isinstance(error, OblixError):
        return " ".join(filter(None, (error.message, error.hint))).removesuffix(".")
    return str(error) or type(error).__name__


def _tell(news: asyncio.Future[None]) -> None:
    if not news.done():
        news.set_result(None)
