"""The data file as the rooms above use it: one writer, in turn with those of other processes, and readers that wait for nobody."""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from oblix.storage.file import DataFile, Durability
from oblix.storage.jobs import (
    Failed,
    Job,
    Moved,
    Queue,
    StoreBusy,
    Work,
    begin_patiently,
    hand_over,
    run_together,
    tell,
    transact,
)
from oblix.storage.soon import Soon, behind, running_loop
from oblix.storage.sqlite import fold

if TYPE_CHECKING:
    import apsw

__all__ = ["Store", "StoreBusy", "Work"]

T = TypeVar("T")
# A disk that takes longer so many times in a row (once, it was somebody else's turn on the processor) is left to the thread for a while.
SLOW = 0.020  # seconds that a write may hold up its caller's loop
SLOW_IN_A_ROW = 2
SLOW_FOR = 5.0  # seconds
MOST_MOVES = 3  # of the file, one after the other, that a write goes after
# Pages of 4 KiB in the write-ahead log at which it is folded into the file. That syncs the disk (5 to 25 ms), so it is done beside. While
# the log stays small its pages are used again, which makes a write a quarter faster than in fresh ones.
FOLD_AT = 1000


class Store(DataFile):
    """One SQLite file with one writer.

    A write is a plain function of the connection that runs in a transaction of its own: whole, or, if it raises, not at all. It runs at
    once on the caller's thread where nothing stands in the way (3 µs; to a thread and back takes 100); else in order on the writer's
    thread, where those that wait share a transaction. There it may be run again, if the file failed and its transaction was undone: what
    counts is what its last run gives, so it must not change anything but the file.

    Args:
        path: The file, or `":memory:"`; by default `oblix.db` in the user's data folder.
        durability: With `"full"` a write outlives a power cut, and always goes by way of the thread, because it waits for the disk.
    """

    def __init__(self, path: Path | str | None = None, *, durability: Durability = "normal") -> None:
        super().__init__(path, durability)
        self._slow_until = 0.0
        self._slow = 0  # writes in a row
        self._fold_at = FOLD_AT
        self._reset()
        _STORES.add(self)

    def _reset(self) -> None:
        self._queue = Queue()
        self._soon = Soon(self.flush)
        self._pool: ThreadPoolExecutor | None = None

    @property
    def pending(self) -> int:
        """Works that wait in the queue."""
        return len(self._queue)

    def close(self) -> None:
        """Do what is left, and close the file. It may be used again, and is opened for that. Blocks."""
        self.flush()
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()  # its last work empties the queue
        with self._turn:
            self._let_go()

    async def shut(self) -> None:
        """`close`, without holding up the loop."""
        try:
            await asyncio.to_thread(self.close)
        except RuntimeError:  # the program ends, and has no more threads
            self.close()

    # --- writing ---

    async def write(self, work: Work[T]) -> T:
        """What `work` gives, once it is in the file.

        Cancelled while it waits in the queue, the work is done all the same: who reserves something has to post its release.

        Raises:
            ConfigurationError: The file cannot be used.
            apsw.Error: It could not be written (full disk, locked for longer than 2 s).
            StoreBusy: Too many works wait already.
        """
        done, result = self._try_here(work)
        if done:
            return result  # type: ignore[return-value]  # of a work that is done
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._hand(Job(work, future))
        return await future

    def write_now(self, work: Work[T]) -> T:
        """As `write`, without a loop; inside of one it holds it up for as long as other processes hold the file, at most 2 s."""
        done, result = self._try_here(work)
        if done:
            return result  # type: ignore[return-value]  # of a work that is done
        future: Future[T] = Future()
        self._hand(Job(work, future))
        return future.result()

    def post(self, work: Work[Any], failed: Failed | None = None) -> None:
        """Have `work` done, and wait for nothing; `failed` (from any thread) gets what went wrong, else it is logged."""
        try:
            if not self._try_here(work)[0]:
                self._hand(Job(work, failed=failed))
        except Exception as error:  # noqa: BLE001  told to whoever listens
            tell(error, failed)

    def soon(self, work: Work[Any], failed: Failed | None = None) -> None:
        """As `post`, but off the path: in the loop's next turn, or before that in the transaction of whatever is written next.

        Who reads through this store finds it. Outside of a loop it is done at once.
        """
        loop = running_loop()
        if loop is None:
            self.post(work, failed)
        else:
            self._soon.put(Job(work, failed=failed), loop)

    def flush(self) -> None:
        """Write down what is to be done soon, or put it in the queue where something stands in the way."""
        if self._soon and not self._try_here(_nothing)[0]:
            self._hand()

    def empty_log(self) -> None:
        """Leave nothing of what was deleted in the write-ahead log; done beside, and before `close` ends."""
        opened = self._opened
        if opened is not None and not opened.is_in_memory:
            self._beside(partial(fold, opened.path, empties=True))

    def _try_here(self, work: Work[T]) -> tuple[bool, T | None]:
        """Do it on this thread, behind what is to be done soon, if nothing stands in the way."""
        if not self._soon:
            return self._do_here(work)
        before, is_done, result = self._soon.take(), False, None
        try:
            is_done, result = self._do_here(behind(before, work))
        except Exception:  # noqa: BLE001  all is undone; in the queue each is done by itself, and it shows whose error it is
            return False, None
        finally:
            if not is_done:
                self._soon.put_back(before)
        return is_done, result

    def _do_here(self, work: Work[T]) -> tuple[bool, T | None]:
        import apsw

        begun = time.monotonic()
        if self._queue.is_in_work or self._is_suspect or begun < self._slow_until:
            return False, None
        if not self._turn.acquire(blocking=False):
            return False, None
        try:
            opened = self._opened
            if opened is None or not opened.is_quick:
                return False, None
            result = transact(opened.db, work, self._begin)
        except (apsw.BusyError, Moved):
            return False, None
        except apsw.Error as error:
            if not self._suspect(error):
                raise
            return False, None
        finally:
            self._turn.release()
        self._notice_time(begun)
        return True, result

    def _notice_time(self, begun: float) -> None:
        now = time.monotonic()
        self._slow = self._slow + 1 if now - begun > SLOW else 0
        if self._slow >= SLOW_IN_A_ROW:
            self._slow, self._slow_until = 0, now + SLOW_FOR

    def _hand(self, *jobs: Job) -> None:
        """To the thread, behind what is to be done soon."""
        loop = running_loop()
        for job in self._soon.take():
            try:
                self._put(job, loop)
            except StoreBusy as error:
                tell(error, job.failed)
        for job in jobs:
            self._put(job, loop)

    def _put(self, job: Job, loop: asyncio.AbstractEventLoop | None) -> None:
        if not self._queue.put(job):
            return
        try:
            if loop is None:
                self._executor().submit(self._drain)
            else:
                loop.run_in_executor(self._executor(), self._drain)  # a simulated clock waits for what its loop runs
        except RuntimeError:  # the program ends, and has no more threads
            self._drain()

    def _executor(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(2, "oblix-store")  # one writes, one looks and folds beside
        return self._pool

    def _drain(self) -> None:
        """Do what waits, until nothing does."""
        jobs = self._queue.take()
        while jobs:
            self._run(jobs)
            if again := [job for job in jobs if self._suspect(job.error)]:
                self._run(again)  # the file was damaged; now it is another one
            done = jobs
            jobs = self._queue.take()  # first, so that who hears of the last one may write on its own thread again
            hand_over(done)

    def _run(self, jobs: Sequence[Job]) -> None:
        try:
            with self._turn:
                for _ in range(MOST_MOVES):
                    try:
                        return run_together(self._open().db, jobs, self._begin_patiently)
                    except Moved as moved:
                        jobs = moved.left
            raise StoreBusy("the data file is moved away again and again")
        except Exception as error:  # noqa: BLE001  handed to whoever waits
            for job in jobs:
                job.error = error

    def _begin_patiently(self, db: apsw.Connection) -> None:
        begin_patiently(db)
        self._stay()

    def _begin(self, db: apsw.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        self._stay()

    def _stay(self) -> None:
        """Write to the file that lies there now: whoever puts another in its place holds the lock on this one until that is done.

        Raises:
            Moved: It is another.
        """
        self._look()
        if self._is_suspect:
            raise Moved

    # --- beside ---

    def _beside(self, work: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the program ends
            self._executor().submit(work)

    def _has_opened(self, db: apsw.Connection) -> None:
        db.set_wal_hook(self._committed)

    def _committed(self, db: apsw.Connection, name: str, pages: int) -> int:
        """After each transaction: how long the write-ahead log is by now, whoever wrote it."""
        if pages >= self._fold_at:
            self._fold_at = pages + FOLD_AT  # a reader may hold on to what is in it, then it only grows
            self._beside(partial(fold, Path(db.filename)))
        elif pages < FOLD_AT:
            self._fold_at = FOLD_AT
        return 0

    def _forget(self) -> None:
        """In a child process."""
        self._leave_alone()
        self._reset()


def _nothing(db: apsw.Connection) -> None:
    """What is written along with it is all."""


_STORES: weakref.WeakSet[Store] = weakref.WeakSet()


def _after_fork() -> None:
    for store in _STORES:
        store._forget()


if hasattr(os, "register_at_fork"):  # pragma: no branch  not on Windows
    os.register_at_fork(after_in_child=_after_fork)
