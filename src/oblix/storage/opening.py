"""Opens the data file safely, whatever it is found to be: damaged, read-only, in no place at all, on another machine."""

from __future__ import annotations

import errno
import logging
import time
from contextlib import closing
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from oblix.errors import ConfigurationError
from oblix.storage.origin import NotOurs, has_signs
from oblix.storage.rescue import gather, is_unfinished, rescue, told
from oblix.storage.sqlite import BUSY_FOR, FILE, IN_MEMORY, beside, connect, data_file, migrate, open_file

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
        ConfigurationError: The file is there, but cannot be used: full disk, locked for long, written by a newer Oblix, or by another
            program.
    """
    if given == IN_MEMORY:
        return Opened(open_file(IN_MEMORY), Path(IN_MEMORY), is_in_memory=True)
    try:
        path = Path(data_file(given))
    except RuntimeError as error:
        return _in_memory(None, error)
    try:
        return _open_where_it_lies(path, is_durable=is_durable, check_for=inf if is_damaged else CHECK_FOR)
    except NotOurs as error:
        raise ConfigurationError(
            f"{str(path)!r} is no data file of Oblix: {error}. It was left as it is.",
            hint="Give another path: a file that is not there yet is made. Or set OBLIX_HOME to another folder.",
        ) from None


def _open_where_it_lies(path: Path, *, is_durable: bool, check_for: float) -> Opened:
    import apsw

    try:
        return _open_or_rescue(path, is_durable=is_durable, check_for=check_for)
    except (OSError, apsw.Error) as error:
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
    """Whether an error says that the file is damaged: a page is not what it should be, or the file ends within it."""
    if error is None:
        return False
    import apsw

    if isinstance(error, apsw.IOError):
        return getattr(error, "extendedresult", None) == apsw.SQLITE_IOERR_SHORT_READ
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
    except apsw.Error as error:
        if is_damage(error) or isinstance(error, apsw.SQLError):  # its tables are not its version's
            raise Damaged(str(error)) from error
        raise
    return db


def _open_or_rescue(path: Path, *, is_durable: bool, check_for: float) -> Opened:
    is_whole = partial(_is_whole, path, check_for)
    saved = rescue(path, is_whole) if is_unfinished(path) else None
    try:
        db = _open_whole(path, check_for, is_durable=is_durable)
    except Damaged as error:
        if not _was_ours(path):
            raise NotOurs(f"nothing in it is ours ({error})") from None
        saved = rescue(path, is_whole) or saved
        _log.debug("the data file was found damaged: %s", error)
        db = _open_whole(path, check_for, is_durable=is_durable)
    if saved is not None:
        _log.error("the data file was damaged: %s", saved)
    is_quick = not is_durable and db.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
    return Opened(db, path, trouble=None if saved is None else str(saved), is_quick=is_quick)


def _was_ours(path: Path) -> bool:
    """Whether a damaged file may be put aside: it has the name that only we give, or shows that we wrote it."""
    return path.name == FILE or any(has_signs(each) for each in beside(path)[:2] if each.is_file())


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
    return isinstance(error, (apsw.ReadOnlyError, apsw.CantOpenError, apsw.PermissionsError))


def _refusal(path: Path | None, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"The data file {str(path)!r} cannot be used: {error}",
        hint="Make room or give it free, then try again; or set OBLIX_HOME to another folder.",
        cause=error,
    )


def _in_memory(path: Path | None, why: Exception) -> Opened:
    """Memory in the place of the file; what the file holds is in it, the budgets above all."""
    import apsw

    db, had = open_file(IN_MEMORY), ""
    try:
        if path is not None and path.is_file() and (size := path.stat().st_size):
            if size > MOST_BYTES:
                raise _refusal(path, why)
            had = _take_over(path, db)
    except (OSError, apsw.Error) as error:
        _log.debug("the data file cannot even be read: %s", error)
    except BaseException:
        db.close()
        raise
    where = str(why) if path is None else f"the data file {str(path)!r} cannot be written: {why}"
    trouble = f"nothing is kept when this program ends: {where}.{had}"
    _log.warning("%s Set OBLIX_HOME to a folder that can be written to.", trouble)
    return Opened(db, Path(IN_MEMORY) if path is None else path, is_in_memory=True, trouble=trouble)


def _take_over(path: Path, db: apsw.Connection) -> str:
    """Take the file into memory, whole, or what can be read of it: says which."""
    import apsw

    with closing(connect(IN_MEMORY)) as copy:
        _copy(path, copy)
        try:
            _check(copy, inf)
            _backup(copy, db)
            migrate(db, path)
        except (Damaged, apsw.CorruptError, apsw.NotADBError, apsw.SQLError) as error:
            _log.debug("the data file was found damaged: %s", error)
        else:
            return " What was in it is there, to be read."
        with closing(connect(IN_MEMORY)) as found:
            rows, lost = gather(copy, found)
            _backup(found, db)
        migrate(db, path)
        return f" It is damaged as well; here are {told(rows, lost)}."


def _copy(path: Path, db: apsw.Connection) -> None:
    import apsw

    read_only = apsw.SQLITE_OPEN_READONLY
    try:
        with closing(connect(str(path), flags=read_only)) as source:
            _backup(source, db)
    except apsw.Error:  # without a place for its shared memory only what has been folded in can be read
        name = f"{path.absolute().as_uri()}?immutable=1"
        with closing(connect(name, flags=read_only | apsw.SQLITE_OPEN_URI)) as source:
            _backup(source, db)


def _backup(source: apsw.Connection, db: apsw.Connection) -> None:
    with db.backup("main", source, "main") as copying:
        copying.step(-1)
