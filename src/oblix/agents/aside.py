"""An event loop on a daemon thread of its own, for talk beside the path of a prompt that may outlive the caller's loop, or hang.

A task of ours on the application's loop would be in the way: a loop that is closed by hand complains of it, one that only runs now and then
holds it up, and reading a large answer there takes time from everybody else.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from functools import partial
from typing import Any

GRACE = 0.5  # seconds that the end of a program waits for what is open
_log = logging.getLogger("oblix")


class Aside:
    """Runs coroutines elsewhere. The thread starts with the first, and is gone with `stop`, with its owner, or with the process.

    Args:
        farewell: Awaited at the end, on the thread's loop, when everything else has been cancelled. Must not hold on to the owner.
    """

    def __init__(self, name: str, farewell: Callable[[], Awaitable[None]]) -> None:
        self.pending: set[Future[None]] = set()
        self._name = name
        self._farewell = farewell
        self._run: _Run | None = None
        self._finalizer: weakref.finalize[..., Aside] | None = None

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it there, and do not wait for it. An error of it is logged."""
        run = self._run
        if run is None or run.process != os.getpid():
            run = self._run = _Run(self._name, self._farewell)
            if self._finalizer is not None:
                self._finalizer.detach()
            self._finalizer = weakref.finalize(self, run.end, GRACE)
        try:
            future = asyncio.run_coroutine_threadsafe(work, run.loop)
        except RuntimeError:  # it ended at this moment
            work.close()
            return
        self.pending.add(future)
        future.add_done_callback(partial(_ended, self.pending, self._name))  # no method: work must not keep its owner

    def stop(self) -> Future[None] | None:
        """End it; the future is done when it has ended, `None` where it did not run. May be called on any thread."""
        run, self._run = self._run, None
        if run is None or run.process != os.getpid():
            return None
        run.end(0.0)
        return run.ended


def _ended(pending: set[Future[None]], name: str, future: Future[None]) -> None:
    pending.discard(future)
    if not future.cancelled() and (error := future.exception()) is not None:
        _log.warning("%s failed.", name, exc_info=error)


class _Run:
    """One thread with its loop."""

    def __init__(self, name: str, farewell: Callable[[], Awaitable[None]]) -> None:
        self.process = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.ended: Future[None] = Future()
        self._leave = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, args=(farewell,), name=name, daemon=True)
        self._thread.start()

    def _serve(self, farewell: Callable[[], Awaitable[None]]) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
                runner.run(self._live(farewell))
        finally:
            self.ended.set_result(None)

    async def _live(self, farewell: Callable[[], Awaitable[None]]) -> None:
        await self._leave.wait()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await farewell()

    def end(self, grace: float) -> None:
        """Leave, and wait for it so many seconds, though neither on an event loop nor on itself."""
        if self.process != os.getpid():
            return
        try:
            self.loop.call_soon_threadsafe(self._leave.set)
        except RuntimeError:  # it has ended
            return
        if grace and asyncio._get_running_loop() is None:
            self._thread.join(grace)
