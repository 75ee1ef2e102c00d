"""The data file, open: where it lies, what became of it, and how it is read."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from oblix.errors import ConfigurationError
from oblix.storage.jobs import Work
from oblix.storage.opening import Opened, identity, is_damage, open_reader, open_safely
from oblix.storage.sqlite import IN_MEMORY, connect, data_file

if TYPE_CHECKING:
    import apsw

T = TypeVar("T")
Durability = Literal["normal", "full"]
# Seconds after which a reader looks whether its file was moved away by somebody who found it damaged; a writer always looks.
LOOK_EVERY = 1.0
REFUSED_FOR = 5.0  # seconds after which a file that could not be opened is tried again


class DataFile:
    """One SQLite file, with a connection for its one writer, and one for each thread that reads.

    What cannot be written because of its place (read-only, forbidden, no such folder) is kept in memory, with what was in the file; this
    is told once, and by `trouble`. A damaged file is moved aside, and what can be read of it is kept.

    Args:
        given: The file, or `":memory:"`; `None` for `oblix.db` in the user's data folder.
        durability: With `"full"` a write outlives a power cut.
    """

    def __init__(self, given: Path | str | None, durability: Durability) -> None:
        self._given = given
        self._path: Path | str | None = None  # once it was asked for
        self.durability = durability  # of the file when it is opened next
        self._turn = threading.Lock()  # who holds it may use the writing connection
        self._opened: Opened | None = None
        self._refused: tuple[float, ConfigurationError] | None = None
        self._identity: tuple[int, int] | None = None
        self._readers: dict[int, apsw.Connection] = {}  # by thread
        self._is_suspect = False  # moved away, or damaged: to be opened again
        self._is_damaged = False
        self._look_at = 0.0

    # --- what is told ---

    @property
    def path(self) -> Path | str:
        """The file, or `":memory:"`: the same from the first time that it is asked for, wherever the program goes then.

        Raises:
            RuntimeError: It lies nowhere: this user has no folder (no HOME), or the working folder is gone.
        """
        if self._path is None:
            self._path = data_file(self._given)
        return self._path

    @property
    def is_open(self) -> bool:
        """Whether the file is open."""
        return self._opened is not None

    @property
    def is_in_memory(self) -> bool:
        """Whether everything ends with this program: asked for, or because the file's place cannot be written to."""
        return self._given == IN_MEMORY or (self._opened is not None and self._opened.is_in_memory)

    @property
    def file(self) -> object:
        """The same as long as the same file is open: whoever remembers what it holds forgets that with it."""
        return self._opened

    @property
    def trouble(self) -> str | None:
        """Why the file is not used, or was put aside; `None` where all is well."""
        if self._refused is not None:
            return self._refused[1].message
        return None if self._opened is None else self._opened.trouble

    # --- the file ---

    def exists(self) -> bool:
        """Whether there is something to be read."""
        try:
            return self._given == IN_MEMORY or Path(self.path).exists()
        except (RuntimeError, OSError):
            return False

    def open(self) -> None:
        """Open the file. Blocks for some milliseconds, or for as long as a damaged file takes: run it in a thread.

        Raises:
            ConfigurationError: It cannot be used: full, locked for long, written by a newer version, or another program's.
        """
        with self._turn:
            self._open()

    def _open(self) -> Opened:
        is_damaged = self._is_damaged
        if self._is_suspect:
            self._let_go()
        if self._opened is not None:
            return self._opened
        if self._refused is not None and time.monotonic() < self._refused[0]:
            raise self._refused[1]
        try:
            opened = open_safely(self._place(), is_durable=self.durability == "full", is_damaged=is_damaged)
        except ConfigurationError as error:
            self._refused = (time.monotonic() + REFUSED_FOR, error)
            raise
        self._refused = None
        self._identity = None if opened.is_in_memory else identity(opened.path)
        self._has_opened(opened.db)
        self._look_at = time.monotonic() + LOOK_EVERY
        self._opened = opened
        return opened

    def _place(self) -> Path | str | None:
        try:
            return self.path
        except RuntimeError:  # to be told where that is done
            return self._given

    def _let_go(self) -> None:
        """Close what is open, readers first: who closes last folds the write-ahead log in."""
        opened, self._opened = self._opened, None
        readers, self._readers = self._readers, {}
        self._is_suspect = self._is_damaged = False
        for db in (*readers.values(), *(() if opened is None else (opened.db,))):
            with suppress(Exception):  # what is damaged may not even close; a reader in use goes with its last user
                db.close()

    # --- reading ---

    def read(self, work: Work[T]) -> T:
        """What `work` finds in one state of the file, on this thread: for short looks. Never waits for a writer.

        Raises:
            ConfigurationError: The file cannot be used.
            apsw.Error: It cannot be read.
        """
        self._be_open()
        self.flush()
        if self.is_in_memory:  # each connection would have a database of its own
            with self._turn:
                return work(self._open().db)
        thread = threading.get_ident()
        db = self._readers.get(thread)
        if db is None:
            db = self._readers[thread] = self._reader()
        return self._read(db, work)

    @contextmanager
    def reader(self) -> Iterator[apsw.Connection]:
        """A connection that only reads, for what goes through many rows one at a time."""
        self._be_open()
        self.flush()
        db = self._picture() if self.is_in_memory else self._reader()
        try:
            yield db
        except Exception as error:
            self._suspect(error)
            raise
        finally:
            db.close()

    async def read_aside(self, work: Work[T]) -> T:
        """The same in a thread, on a connection of its own: for long looks."""
        return await asyncio.to_thread(self._read_alone, work)

    def _read_alone(self, work: Work[T]) -> T:
        with self.reader() as db:
            return self._read(db, work)

    def _read(self, db: apsw.Connection, work: Work[T]) -> T:
        try:
            db.execute("BEGIN")
            try:
                return work(db)
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
        except Exception as error:
            self._suspect(error)
            raise

    def _picture(self) -> apsw.Connection:
        """What is in memory now: a look that takes long must not hold up the writer."""
        db = connect(IN_MEMORY)
        with self._turn, db.backup("main", self._open().db, "main") as copying:
            copying.step(-1)
        return db

    def _reader(self) -> apsw.Connection:
        assert self._opened is not None
        return open_reader(self._opened.path)

    def _be_open(self) -> None:
        if (now := time.monotonic()) >= self._look_at:
            self._look_at = now + LOOK_EVERY
            self._look()
        if self._opened is None or self._is_suspect:
            self.open()

    # --- for who writes ---

    def flush(self) -> None:
        """Have in the file what is to be there before it is read."""

    def _has_opened(self, db: apsw.Connection) -> None:
        """A writing connection is there, another one than before."""

    # --- doubt ---

    def _look(self) -> None:
        """Whether the file still lies where it was opened."""
        opened = self._opened
        if opened is not None and not opened.is_in_memory and identity(opened.path) != self._identity:
            self._is_suspect = True

    def _suspect(self, error: BaseException | None) -> bool:
        """Have the file opened anew where an error says that it is damaged."""
        if not is_damage(error) or self.is_in_memory:  # there only what was found whole is taken in
            return False
        self._is_suspect = self._is_damaged = True
        return True

    def _leave_alone(self) -> None:
        """In a child process: what the parent opened is the parent's, and must not even be closed here."""
        _LEFT_ALONE.extend(self._readers.values())
        if self._opened is not None:
            _LEFT_ALONE.append(self._opened.db)
        self._opened, self._readers = None, {}
        self._turn = threading.Lock()


_LEFT_ALONE: list[apsw.Connection] = []
