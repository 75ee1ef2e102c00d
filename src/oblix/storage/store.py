"""The data file as the rooms above use it: one writer, and readers that never wait for it."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from oblix.storage.sqlite import open_file

if TYPE_CHECKING:
    import apsw

T = TypeVar("T")
Work = Callable[["apsw.Connection"], T]
MOST_WAITING = 4096  # works in the writer's queue; a disk that fails must not fill the memory
_log = logging.getLogger("oblix.storage")


class Store:
    """One SQLite file with one writer.

    A write is a plain function of the connection that runs in a transaction of its own (`BEGIN IMMEDIATE`): whole, or, if it raises, not at
    all. It runs at once on the caller's thread where the writer is free and nobody else holds the file (7 µs; a thread and back takes 100);
    else on the writer's thread, in order.

    Args:
        path: The file, or `":memory:"`.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = path
        self._db: apsw.Connection | None = None
        self._reader: apsw.Connection | None = None
        self._turn = threading.Lock()  # who holds it may use the writing connection
        self._works: queue.Queue[_Job | None] = queue.Queue(MOST_WAITING)
        self._thread: threading.Thread | None = None

    @property
    def is_open(self) -> bool:
        """Whether the file is open."""
        return self._db is not None

    def open(self) -> None:
        """Open the file. Blocks for some milliseconds: run it in a thread.

        Raises:
            ConfigurationError: It cannot be used.
        """
        with self._turn:
            if self._db is None:
                db = open_file(self.path)
                db.set_busy_timeout(0)
                self._db = db

    async def write(self, work: Work[T]) -> T:
        """What `work` gives, once it is in the file.

        Cancelled while it waits in the queue, the work is done all the same: who reserves something has to post its release.

        Raises:
            apsw.Error: The file could not be written (full disk, locked for longer than 2 s).
            StoreBusy: Too many works wait already.
        """
        if self._db is None:
            await asyncio.to_thread(self.open)
        done, result = self._try_here(work)
        if done:
            return result  # type: ignore[return-value]
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._put(_Job(work, loop, future))
        return await future

    def post(self, work: Work[Any], failed: Callable[[BaseException], None] | None = None) -> None:
        """Have `work` done, and wait for nothing; `failed` (from any thread) gets what went wrong, else it is logged."""
        try:
            done, _ = self._try_here(work)
        except Exception as error:  # noqa: BLE001  told to whoever listens
            _tell(error, failed)
            return
        if not done:
            self._put(_Job(work, failed=failed))

    def read(self, work: Work[T]) -> T:
        """What `work` finds, on a connection that only reads, on this thread: for short looks. Never waits for a writer.

        Raises:
            apsw.Error: The file cannot be read.
        """
        if self.path == ":memory:":  # each connection would have a database of its own
            self.open()
            with self._turn:
                assert self._db is not None
                return work(self._db)
        if self._reader is None:
            import apsw

            self.open()
            self._reader = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
        return work(self._reader)

    async def read_aside(self, work: Work[T]) -> T:
        """The same in a thread, on a connection of its own: for long looks."""
        if self.path == ":memory:":
            return self.read(work)
        await asyncio.to_thread(self.open)
        return await asyncio.to_thread(self._read_alone, work)

    def _read_alone(self, work: Work[T]) -> T:
        import apsw

        db = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            return work(db)
        finally:
            db.close()

    def close(self) -> None:
        """Do what is left, and close the file."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._works.put(None)
            thread.join()
        with self._turn:
            for db in (self._reader, self._db):
                if db is not None:
                    db.close()
            self._reader = self._db = None

    # --- the writer ---

    def _try_here(self, work: Work[T]) -> tuple[bool, T | None]:
        """Do it on this thread, if nothing stands in the way."""
        import apsw

        if self._db is None or not self._works.empty() or not self._turn.acquire(blocking=False):
            return False, None
        try:
            return True, _transact(self._db, work)
        except apsw.BusyError:
            return False, None
        finally:
            self._turn.release()

    def _put(self, job: _Job) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="oblix-writer", daemon=True)
            self._thread.start()
        try:
            self._works.put_nowait(job)
        except queue.Full:
            job.fail(StoreBusy(f"{MOST_WAITING} writes wait for the file {os.fspath(self.path)!r} already"))

    def _run(self) -> None:
        while (job := self._works.get()) is not None:
            try:
                self.open()
                with self._turn:
                    assert self._db is not None
                    self._db.set_busy_timeout(2000)
                    try:
                        result = _transact(self._db, job.work)
                    finally:
                        self._db.set_busy_timeout(0)
            except Exception as error:  # noqa: BLE001  handed to whoever waits
                job.fail(error)
            else:
                job.done(result)


class StoreBusy(Exception):
    """Too many writes wait for the file."""


class _Job:
    """A work on its way to the writer's thread, and who waits for it."""

    def __init__(
        self,
        work: Work[Any],
        loop: asyncio.AbstractEventLoop | None = None,
        future: asyncio.Future[Any] | None = None,
        failed: Callable[[BaseException], None] | None = None,
    ) -> None:
        self.work = work
        self._loop = loop
        self._future = future
        self._failed = failed

    def done(self, result: object) -> None:
        self._call(_settle, result, None)

    def fail(self, error: BaseException) -> None:
        if self._future is None:
            _tell(error, self._failed)
        else:
            self._call(_settle, None, error)

    def _call(self, settle: Callable[..., None], *told: object) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has been closed meanwhile
                self._loop.call_soon_threadsafe(settle, self._future, *told)


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _tell(error: BaseException, failed: Callable[[BaseException], None] | None) -> None:
    if failed is None:
        _log.warning("a write was lost: %s", error)
    else:
        failed(error)


def _transact(db: apsw.Connection, work: Work[T]) -> T:
    db.execute("BEGIN IMMEDIATE")
    try:
        result = work(db)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return result
