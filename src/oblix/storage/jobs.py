"""Works on their way to the file: each whole or not at all, several in one transaction, and their results back to who waits."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import apsw

T = TypeVar("T")
Work = Callable[["apsw.Connection"], T]
Failed = Callable[[BaseException], None]
Begin = Callable[["apsw.Connection"], object]
MOST_WAITING = 4096  # a disk that fails must not fill the memory
MOST_TOGETHER = 256  # in one transaction, some milliseconds; other processes want their turn
PATIENCE = 2.0  # seconds that a write waits for other processes
LOOK_AGAIN = 0.0005  # seconds; transactions here take some 20 µs, and SQLite's own pauses grow to 100 ms
_log = logging.getLogger("oblix.storage")


class Job:
    """A work in the queue, and who waits for it."""

    __slots__ = ("_future", "error", "failed", "result", "work")

    def __init__(
        self,
        work: Work[Any],
        future: asyncio.Future[Any] | concurrent.futures.Future[Any] | None = None,
        failed: Failed | None = None,
    ) -> None:
        self.work = work
        self.result: Any = None
        self.error: Exception | None = None
        self._future = future
        self.failed = failed

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop that somebody waits in."""
        return self._future.get_loop() if isinstance(self._future, asyncio.Future) else None

    def settle(self) -> None:
        """Tell what came of it, in the loop of who waits."""
        if self._future is None:
            if self.error is not None:
                tell(self.error, self.failed)
        elif not self._future.done():  # who waited may have left
            if self.error is None:
                self._future.set_result(self.result)
            else:
                self._future.set_exception(self.error)


class StoreBusy(Exception):
    """Too many writes wait for the file."""


class Moved(Exception):
    """The file that is open is not the one that lies there any more; nothing was written to it.

    Attributes:
        left: The jobs that are still to be done.
    """

    left: Sequence[Job] = ()


class Queue:
    """Jobs in their order, and whether somebody is at work on them."""

    def __init__(self) -> None:
        self.is_in_work = False
        self._gate = threading.Lock()
        self._jobs: deque[Job] = deque()

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job) -> bool:
        """Whether somebody has to be sent to work on them.

        Raises:
            StoreBusy: There are too many already.
        """
        with self._gate:
            if len(self._jobs) >= MOST_WAITING:
                raise StoreBusy(f"{MOST_WAITING} writes wait for the data file already")
            self._jobs.append(job)
            is_first, self.is_in_work = not self.is_in_work, True
            return is_first

    def take(self) -> list[Job]:
        """The next ones to be done together; none: whoever is at work may go."""
        with self._gate:
            jobs = [self._jobs.popleft() for _ in range(min(MOST_TOGETHER, len(self._jobs)))]
            self.is_in_work = bool(jobs)
            return jobs


def tell(error: BaseException, failed: Failed | None) -> None:
    """Tell of a write that nobody waits for."""
    if failed is None:
        _log.warning("a write was lost: %s", error)
    else:
        failed(error)


def hand_over(jobs: Iterable[Job]) -> None:
    """Settle jobs that are done, with one call for each loop."""
    by_loop: defaultdict[asyncio.AbstractEventLoop | None, list[Job]] = defaultdict(list)
    for job in jobs:
        by_loop[job.loop].append(job)
    for loop, theirs in by_loop.items():
        if loop is None:
            _settle(theirs)
        else:
            with suppress(RuntimeError):  # it was closed meanwhile
                loop.call_soon_threadsafe(_settle, theirs)


def _settle(jobs: Iterable[Job]) -> None:
    for job in jobs:
        job.settle()


def transact(db: apsw.Connection, work: Work[T], begin: Begin) -> T:
    """Do a work in a transaction of its own.

    Raises:
        apsw.BusyError: Another process writes.
    """
    try:
        begin(db)
        result = work(db)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # a full disk has ended it already
            db.execute("ROLLBACK")
        raise
    return result


def patiently(step: Callable[[], T]) -> T:
    """Take a step, again and again where another process is in the way. Blocks.

    Raises:
        apsw.BusyError: It was for 2 s.
    """
    import apsw

    gives_up_at = time.monotonic() + PATIENCE
    while True:
        try:
            return step()
        except apsw.BusyError:
            if time.monotonic() >= gives_up_at:
                raise
            time.sleep(LOOK_AGAIN)


def begin_patiently(db: apsw.Connection) -> None:
    """Begin to write, as soon as no other process does. Blocks."""
    patiently(lambda: db.execute("BEGIN IMMEDIATE"))


def run_together(db: apsw.Connection, jobs: Sequence[Job], begin: Begin = begin_patiently) -> None:
    """Do jobs in one transaction, which saves most of the cost of each; one that raises is undone by itself.

    Raises:
        Moved: By `begin`.
    """
    import apsw

    if len(jobs) > 1:
        try:
            transact(db, lambda db: _run_each(db, jobs), begin)
        except apsw.BusyError as error:  # nobody could do better alone
            for job in jobs:
                job.error = error
            return
        except Moved as moved:
            moved.left = jobs
            raise
        except apsw.Error:
            pass  # the file could not take all of them: each by itself, so that only those fail that have to
        else:
            return
    for place, job in enumerate(jobs):
        try:
            job.result, job.error = transact(db, job.work, begin), None
        except Moved as moved:
            moved.left = jobs[place:]
            raise
        except Exception as error:  # noqa: BLE001  handed to whoever waits
            job.result, job.error = None, error


def _run_each(db: apsw.Connection, jobs: Iterable[Job]) -> None:
    for job in jobs:
        db.execute("SAVEPOINT job")
        try:
            job.result, job.error = job.work(db), None
        except Exception as error:
            if not db.in_transaction:  # the file failed, and all that was done before is undone with it
                raise
            db.execute("ROLLBACK TO job")
            job.result, job.error = None, error
        db.execute("RELEASE job")
