"""The SQLite file: opened once, migrated step by step, shared by several processes in WAL mode.

apsw bundles a SQLite newer than 3.51.3; older ones can corrupt a WAL database that several processes use.
"""

from __future__ import annotations

import logging
import os
import stat
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oblix.errors import ConfigurationError
from oblix.settings import home
from oblix.storage.jobs import begin_patiently, patiently
from oblix.storage.ledger_schema import LEDGER
from oblix.storage.mounts import is_remote
from oblix.storage.origin import APPLICATION_ID, refuse_strangers
from oblix.storage.session_schema import SESSIONS

if TYPE_CHECKING:
    import apsw

FILE = "oblix.db"
IN_MEMORY = ":memory:"
STATEMENTS = 256  # prepared ones that a connection keeps; our own are some 150, and the default is 100
BUSY_FOR = 2000  # ms
MOST_PAGES = 4000  # in the write-ahead log; begun anew by whoever writes when nobody reads it, which never is where three processes write
LOG_BYTES = 16 << 20  # of that log which stay on the disk after it was longer
_log = logging.getLogger("oblix.storage")

# Each step takes the file from version N to N + 1 and is never changed afterwards.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE decision (
        id TEXT NOT NULL,              -- sorts by time, unless the caller gave a name; a name may come again
        at REAL NOT NULL,              -- seconds since the epoch
        record BLOB NOT NULL,          -- JSON, the decision as `Decision.verdicts` gives it
        facts BLOB NOT NULL            -- JSON, what it was decided on; features of the prompt, never the prompt
    );
    CREATE TABLE outcome (
        decision_id TEXT NOT NULL,
        at REAL NOT NULL,
        record BLOB NOT NULL           -- JSON: attempts, usage, how it ended
    );
    CREATE INDEX decision_by_id ON decision (id);
    CREATE INDEX outcome_of ON outcome (decision_id);
    """,
    """
    CREATE TABLE policy (
        digest TEXT PRIMARY KEY,       -- as in a decision's `policy_digest`
        body BLOB NOT NULL             -- JSON, the policy as `policy_table.to_mapping` gives it
    );
    """,
    """
    CREATE TABLE part (
        digest TEXT PRIMARY KEY,       -- of the body; the facts of a decision name it: {"part": digest}
        body BLOB NOT NULL             -- JSON, a model's spec or an agent's report
    ) WITHOUT ROWID;
    """,
    LEDGER,
    SESSIONS,
)


def data_file(given: Path | str | None) -> Path | str:
    """The file that is meant: the one given, or `oblix.db` in the user's data folder; `":memory:"` stays.

    Raises:
        RuntimeError: It lies nowhere: this user has no folder (no HOME), or the working folder is gone.
    """
    if given == IN_MEMORY:
        return IN_MEMORY
    path = home() / FILE if given is None else Path(given)
    if given is None and path.parts[:1] == ("~",):  # what could not be expanded
        raise RuntimeError("this user has no home folder")
    try:
        return path.absolute()
    except FileNotFoundError as error:
        raise RuntimeError("the working folder is gone") from error


def open_file(path: Path | str, *, is_durable: bool = False) -> apsw.Connection:
    """Open (and create) the file, bring it to the newest version.

    Args:
        is_durable: A write outlives a power cut (`synchronous = FULL`). Else one may cost the last rows, never the file; a crash of the
            program costs nothing in either case.

    Raises:
        ConfigurationError: It was written by a newer Oblix.
        NotOurs: It is another program's. Nothing has changed.
        apsw.Error: It cannot be used, or is no database.
        OSError: It cannot be made.
    """
    if path != IN_MEMORY:
        make_private(Path(path))
    db = connect(str(path))
    try:
        patiently(partial(_refuse, db, path))  # before anything is written
        if path != IN_MEMORY:
            close_to_others(Path(path))
        _prepare(db, path, is_durable=is_durable)
        migrate(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: apsw.Connection, path: Path | str, *, is_durable: bool) -> None:
    has_wal = path != IN_MEMORY and not is_remote(Path(path)) and _use_wal(db)
    if not has_wal:  # nothing there can be told to be in use, so that a reader may hold up a writer
        db.execute(f"PRAGMA journal_mode = {'MEMORY' if path == IN_MEMORY else 'DELETE'}").fetchall()
        db.set_busy_timeout(BUSY_FOR)
    # NORMAL is safe with a write-ahead log only. `execute` runs on only when its rows are taken: hence fetchall().
    level = "FULL" if is_durable or not has_wal else "NORMAL"
    db.execute(f"PRAGMA synchronous = {level}; PRAGMA wal_autocheckpoint = 0; PRAGMA foreign_keys = ON").fetchall()
    db.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}").fetchall()


def connect(name: str, *, flags: int | None = None) -> apsw.Connection:
    """A connection as we use them; it waits for nobody."""
    import apsw

    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE if flags is None else flags
    return apsw.Connection(name, flags=flags, statementcachesize=STATEMENTS)


def make_private(path: Path) -> None:
    """Make the file, for its owner only, if there is none. SQLite alone would make it readable for all.

    A file that is there is never opened here: to close it again would take away the locks that SQLite holds on it in this process.
    See https://sqlite.org/howtocorrupt.html, 2.2.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def close_to_others(path: Path) -> None:
    """Let nobody but its owner read a file of ours, and what SQLite keeps beside it."""
    for each in beside(path):
        with suppress(OSError):  # it may not be there, or be another user's
            found = each.stat().st_mode
            if stat.S_ISREG(found) and found & 0o077:
                each.chmod(0o600)


def beside(path: Path) -> tuple[Path, ...]:
    """The file, and what SQLite keeps beside it."""
    return tuple(path.with_name(path.name + end) for end in ("", "-wal", "-shm"))


def fold(path: Path, *, empties: bool = False) -> None:
    """Fold the write-ahead log into the file, beside those who write; where they never pause and it grows, with a pause.

    Args:
        empties: Nothing is left in the log, as soon as nobody reads: what was deleted can be read in it until then.
    """
    import apsw

    try:
        db = connect(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            db.set_busy_timeout(BUSY_FOR)
            # Not `db.wal_checkpoint()`: on a connection that has read nothing yet it does nothing, and says nothing.
            found: Any = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            ((_, pages, _),) = found
            if empties:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            elif pages > MOST_PAGES:  # by now most of it is folded in: writers wait for the rest, some ms
                db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        finally:
            db.close()
    except apsw.Error as error:
        _log.warning("the data file's write-ahead log could not be folded in: %s", error)


def _use_wal(db: apsw.Connection) -> bool:
    """Switch to WAL; whether that is possible here. Two processes that open a new file at once are in each other's way."""
    return patiently(lambda: db.execute("PRAGMA journal_mode = WAL").fetchall()) == [("wal",)]


def migrate(db: apsw.Connection, path: Path | str) -> None:
    """Bring a file to the newest version: all steps, or none."""
    newest = (APPLICATION_ID, len(MIGRATIONS))
    if (_number(db, "application_id"), _number(db, "user_version")) == newest:
        return
    begin_patiently(db)  # another process may be doing the same
    try:
        _refuse(db, path)
        for step in MIGRATIONS[_number(db, "user_version") :]:
            db.execute(step)
        db.execute(f"PRAGMA application_id = {newest[0]}; PRAGMA user_version = {newest[1]}").fetchall()
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _refuse(db: apsw.Connection, path: Path | str) -> None:
    """Let only a file pass that is ours, and of this version or an older one."""
    refuse_strangers(db)
    found = _number(db, "user_version")
    if found > len(MIGRATIONS):
        raise ConfigurationError(
            f"The data file {str(path)!r} was written by a newer Oblix (schema {found}, this one knows {len(MIGRATIONS)}).",
            hint="Update openoblix, or set OBLIX_HOME to another folder.",
        )


def _number(db: apsw.Connection, name: str) -> int:
    """A number in the file's header."""
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])  # type: ignore[index]
