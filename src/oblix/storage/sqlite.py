"""The SQLite file: opened once, migrated step by step, shared by several processes in WAL mode.

apsw bundles a SQLite newer than 3.51.3; older ones can corrupt a WAL database that several processes use.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from oblix.errors import ConfigurationError
from oblix.storage.ledger_schema import LEDGER
from oblix.storage.session_schema import SESSIONS

if TYPE_CHECKING:
    import apsw

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


def open_file(path: Path | str) -> apsw.Connection:
    """Open (and create) the file, bring it to the newest version.

    Raises:
        ConfigurationError: The file cannot be opened, is no database, or was written by a newer Oblix.
    """
    import apsw

    try:
        if str(path) != ":memory:":
            Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite would make it readable for all
        db = apsw.Connection(str(path))
        _use_wal(db)
        db.set_busy_timeout(2000)
        # NORMAL: a power cut may cost the last rows, never the file; a crash of the program costs nothing. The log is no ledger.
        # `execute` runs on only when its rows are taken: without fetchall() the second and third would never run.
        db.execute("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0").fetchall()
        _migrate(db, path)
    except (apsw.Error, OSError) as error:
        raise ConfigurationError(
            f"The data file {str(path)!r} cannot be used: {error}",
            hint="Move it away, or set OBLIX_HOME to another folder.",
            cause=error,
        ) from None
    return db


def _use_wal(db: apsw.Connection) -> None:
    """Switch to WAL, within two seconds.

    Two processes that open a new file at once collide here. SQLite does not always ask the busy time-out about it; where it does, that
    would come on top of our own pauses.
    """
    import apsw

    for left in range(99, -1, -1):
        try:
            db.execute("PRAGMA journal_mode = WAL").fetchall()
            return
        except apsw.BusyError:
            if not left:
                raise
            time.sleep(0.02)


def _migrate(db: apsw.Connection, path: Path | str) -> None:
    if _version(db) == len(MIGRATIONS):
        return
    db.execute("BEGIN IMMEDIATE")  # another process may be doing the same
    try:
        found = _version(db)
        if found > len(MIGRATIONS):
            raise ConfigurationError(
                f"The data file {str(path)!r} was written by a newer Oblix (schema {found}, this one knows {len(MIGRATIONS)}).",
                hint="Update openoblix, or set OBLIX_HOME to another folder.",
            )
        for step in MIGRATIONS[found:]:
            db.execute(step)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _version(db: apsw.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])  # type: ignore[index]
