"""Works that nobody waits for: they ride along with what is written next, or are done in the loop's next turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from oblix.storage import leftovers
from oblix.storage.jobs import Job, Work

if TYPE_CHECKING:
    import apsw

T = TypeVar("T")
MOST = 64  # that wait for the loop's next turn; a caller may do much within one


class Soon:
    """Jobs in their order, and the loop whose next turn they wait for.

    Args:
        flush: Has them done; called in the loop's next turn, and where there are too many.
    """

    def __init__(self, flush: Callable[[], None]) -> None:
        self._flush = flush
        self._jobs: deque[Job] = deque()
        self._comes_in: asyncio.AbstractEventLoop | None = None

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def put(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        """One more."""
        self._jobs.append(job)
        leftovers.keep(self._flush, loop)
        if len(self._jobs) >= MOST:
            self._flush()
        elif self._comes_in is not loop:  # one that was closed meanwhile does not come any more
            self._comes_in = loop
            loop.call_soon(self._comes)

    def take(self) -> list[Job]:
        """All of them, one by one: another thread may put more in meanwhile, or take some."""
        leftovers.drop(self._flush)
        taken = []
        with suppress(IndexError):
            while True:
                taken.append(self._jobs.popleft())
        return taken

    def put_back(self, jobs: Sequence[Job]) -> None:
        """They could not be done."""
        self._jobs.extendleft(reversed(jobs))

    def _comes(self) -> None:
        self._comes_in = None
        self._flush()


def behind(jobs: Iterable[Job], work: Work[T]) -> Work[T]:
    """The jobs' works and then this one, as one."""
    return partial(_each, jobs, work)


def _each(jobs: Iterable[Job], work: Work[T], db: apsw.Connection) -> T:
    for job in jobs:
        job.work(db)
    return work(db)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
