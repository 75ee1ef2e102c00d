"""Opens the data file safely, whatever it is found to be: damaged, read-only, in no place at all, on another machine."""

from __future__ import annotations

import errno
import logging
import time
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from oblix.errors import ConfigurationError
from oblix.storage.rescue import is_unfinished, rescue
from oblix.storage.sqlite import BUSY_FOR, IN_MEMORY, connect, data_file, open_file

if TYPE_CHECKING:
    import apsw

CHECK_FOR = 0.03  # seconds that the first look at a file may take: some 20 MB of it; what it does not see is found when it is read
MOST_BYTES = 64 << 20  # of a file that may not be written to, and is taken into memory
_NO_PLACE = frozenset((errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST))
_log = logging.getLogger("oblix.storage")


class Opened(NamedTuple):
    """The open data file.

    Attributes:
        db: The writing connection.
        path: Where it lies; of one in memory, where it would.
        trouble: What happened to it, in words; `None` where all is well.
        is_quick: A write may run on its caller's thread.
    """

    db: apsw.Connection
    path: Path
    is_in_memory: bool = False
    trouble: str | None = None
    is_quick: bool = True


class Damaged(Exception):
    """The file is no database, or not a whole one."""


def open_safely(given: Path | str | None, *, is_durable: bool = False, is_damaged: bool = False) -> Opened:
    """Open the data file, or what can take its place.

    Args:
        is_damaged: Something in it could not be read: it is looked through to the end.

    Raises:
        ConfigurationError: The file is there, but cannot be used: full disk, locked for long, written by a newer Oblix.
    """
    import apsw

    if given == IN_MEMORY:
        return Opened(open_file(IN_MEMORY), Path(IN_MEMORY), is_in_memory=True)
    path: Path | None = None
    try:
        path = Path(data_file(given))
        return _open_or_rescue(path, is_durable=is_durable, check_for=inf if is_damaged else CHECK_FOR)
    except (RuntimeError, OSError, apsw.Error) as error:
        if not _has_no_place(error):
            raise _refusal(path, error) from None
        return _in_memory(path, error)


def open_reader(path: Path) -> apsw.Connection:
    """A connection that only reads."""
    import apsw

    db = connect(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    db.set_busy_timeout(
        BUSY_FOR
    )  # a writer never is in its way, but one that opens or closes the file may be, for a moment
    return db


def identity(path: Path) -> tuple[int, int] | None:
    """Which file lies there, `None` where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_damage(error: BaseException | None) -> bool:
    """Whether an error says that the file is damaged."""
    if error is None:
        return False
    import apsw

    return isinstance(error, (apsw.CorruptError, apsw.NotADBError, Damaged))


def _open_whole(path: Path, check_for: float, *, is_durable: bool = False) -> apsw.Connection:
    """Open it if it is whole, as far as so many seconds tell.

    Raises:
        Damaged: It is not.
    """
    import apsw

    try:
        db = open_file(path, is_durable=is_durable)
        try:
            _check(db, check_for)
        except BaseException:
            db.close()
            raise
    except (apsw.CorruptError, apsw.NotADBError, apsw.SQLError) as error:  # SQLError: its tables are not its version's
        raise Damaged(str(error)) from error
    return db


def _open_or_rescue(path: Path, *, is_durable: bool, check_for: float) -> Opened:
    is_whole = partial(_is_whole, path, check_for)
    saved = rescue(path, is_whole) if is_unfinished(path) else None
    try:
        db = _open_whole(path, check_for, is_durable=is_durable)
    except Damaged as error:
        saved = rescue(path, is_whole) or saved
        _log.debug("the data file was found damaged: %s", error)
        db = _open_whole(path, check_for, is_durable=is_durable)
    if saved is not None:
        _log.error("the data file was damaged: %s", saved)
    is_quick = not is_durable and db.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
    return Opened(db, path, trouble=None if saved is None else str(saved), is_quick=is_quick)


def _is_whole(path: Path, check_for: float) -> bool:
    """Whether somebody else has mended it meanwhile."""
    try:
        _open_whole(path, check_for).close()
    except Damaged:
        return False
    return True


def _check(db: apsw.Connection, seconds: float) -> None:
    """Look through the file, for so long."""
    import apsw

    ends_at = time.perf_counter() + seconds
    db.set_progress_handler(lambda: time.perf_counter() > ends_at, 1000)
    try:
        found = db.execute("PRAGMA integrity_check(1)").fetchall()
    except apsw.InterruptError:
        return
    finally:
        db.set_progress_handler(None)
    if found != [("ok",)]:
        raise Damaged(str(found[0][0]).strip().replace("\n", " "))


def _has_no_place(error: Exception) -> bool:
    import apsw

    if isinstance(error, OSError):
        return error.errno in _NO_PLACE
    return isinstance(error, (RuntimeError, apsw.ReadOnlyError, apsw.CantOpenError, apsw.PermissionsError))


def _refusal(path: Path | None, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"The data file {str(path)!r} cannot be used: {error}",
        hint="Make room or give it free, then try again; or set OBLIX_HOME to another folder.",
        cause=error,
    )


def _in_memory(path: Path | None, why: Exception) -> Opened:
    """Memory in the place of the file; what the file holds is in it, the budgets above all."""
    import apsw

    db = open_file(IN_MEMORY)
    had = ""
    try:
        if path is not None and path.is_file() and (size := path.stat().st_size):
            if size > MOST_BYTES:
                raise _refusal(path, why)
            _copy(path, db)
            had = " What was in it is there, to be read."
    except (OSError, apsw.Error) as error:
        _log.debug("the data file cannot even be read: %s", error)
    except BaseException:
        db.close()
        raise
    where = "this user has no home folder" if path is None else f"the data file {str(path)!r} cannot be written: {why}"
    trouble = f"nothing is kept when this program ends: {where}.{had}"
    _log.warning("%s Set OBLIX_HOME to a folder that can be written to.", trouble)
    return Opened(db, Path(IN_MEMORY) if path is None else path, is_in_memory=True, trouble=trouble)


def _copy(path: Path, db: apsw.Connection) -> None:
    """Take the file into memory, and bring it to the newest version there."""
    import apsw

    from oblix.storage.sqlite import migrate

    read_only = apsw.SQLITE_OPEN_READONLY
    try:
        _backup(connect(str(path), flags=read_only), db)
    except apsw.Error:  # without a place for its shared memory only what has been folded in can be read
        _backup(connect(f"{path.absolute().as_uri()}?immutable=1", flags=read_only | apsw.SQLITE_OPEN_URI), db)
    migrate(db, path)


def _backup(source: apsw.Connection, db: apsw.Connection) -> None:
    try:
        with db.backup("main", source, "main") as copying:
            copying.step(-1)
    finally:
        source.close()
