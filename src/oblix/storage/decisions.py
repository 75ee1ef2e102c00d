"""The log of decisions and their outcomes: appended to, never changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from oblix.errors import ConfigurationError
from oblix.storage.sqlite import open_file

if TYPE_CHECKING:
    import apsw

PATIENCE = 2.0  # seconds that a write waits for other processes; then the prompt goes on without its row
# Writes, some 2,000 pages of 4 KiB (SQLite's own default is 1,000). The checkpoint syncs the disk (5 to 25 ms), so it runs beside, on a
# thread. While the write-ahead log stays small its pages are used again, which makes a write a quarter faster than in fresh ones.
CHECKPOINT_EVERY = 400
_log = logging.getLogger("oblix.storage")
_ENCODER = msgspec.json.Encoder(enc_hook=str)  # an agent's metrics may hold anything


class DecisionLog:
    """Append-only. Writes run on the caller's thread: one row in WAL mode is a copy into the page cache (15 to 30 µs)."""

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self._db: apsw.Connection | None = None
        self._writes = 0

    @property
    def is_open(self) -> bool:
        """Whether the file is open."""
        return self._db is not None

    def open(self) -> None:
        """Open the file. Blocks for some milliseconds: run it in a thread."""
        if self._db is None:
            db = open_file(self._path)
            db.set_busy_timeout(0)  # from here on waiting is the caller's, without blocking its loop
            self._db = db

    async def write_decision(self, decision_id: str, at: float, record: dict[str, Any], facts: Any) -> None:
        """Write a decision down, before anything is sent.

        Args:
            record: `Decision.verdicts()`; with 3 KB a row takes half the time of one with 3.7 KB, which needs a second page.
            facts: What it was decided on, the agents' `reports` among it.

        Raises:
            apsw.Error: The file could not be written (full disk, locked for longer than 2 s).
        """
        row = (decision_id, at, _ENCODER.encode(record), _ENCODER.encode(facts))
        await self._insert("INSERT INTO decision VALUES (?, ?, ?, ?)", [row])

    async def write_outcome(self, decision_id: str, at: float, record: dict[str, Any]) -> None:
        """Append what became of it."""
        await self.write_outcomes([(decision_id, at, record)])

    async def write_outcomes(self, outcomes: Sequence[tuple[str, float, dict[str, Any]]]) -> None:
        """Append what became of several, in one transaction: 4 µs each instead of 9."""
        rows = [(decision_id, at, _ENCODER.encode(record)) for decision_id, at, record in outcomes]
        await self._insert("INSERT INTO outcome VALUES (?, ?, ?)", rows)

    async def _insert(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        import apsw

        waited = 0.0
        while True:
            if (db := self._db) is None:  # also when it was closed while we waited for our turn
                await asyncio.to_thread(self.open)
                continue
            try:
                if len(rows) == 1:
                    db.execute(statement, rows[0])
                else:
                    with db:
                        db.executemany(statement, rows)
                break
            except apsw.BusyError:
                if waited >= PATIENCE:
                    raise
                await asyncio.sleep(0.005)
                waited += 0.005
        self._writes += len(rows)
        if self._writes >= CHECKPOINT_EVERY and str(self._path) != ":memory:":
            self._writes = 0
            asyncio.get_running_loop().run_in_executor(None, _checkpoint, str(self._path))

    def find(self, decision_id: str) -> tuple[dict[str, Any], dict[str, Any] | None] | None:
        """A decision and its outcome by id, by the unique start of an id, or the latest one by `"last"`.

        Raises:
            ConfigurationError: The file cannot be opened or read.
        """
        import apsw

        self.open()
        try:
            return self._find(decision_id)
        except (apsw.Error, msgspec.MsgspecError) as error:
            raise ConfigurationError(
                f"The data file {str(self._path)!r} cannot be read: {error}",
                hint="Try again, or move it away.",
                cause=error,
            ) from None

    def _find(self, decision_id: str) -> tuple[dict[str, Any], dict[str, Any] | None] | None:
        assert self._db is not None
        if decision_id == "last":
            found = self._latest("TRUE")
        else:
            low = decision_id.upper()  # ours are in capitals; a caller's own names are taken as they are
            found = self._latest("id = ?", decision_id) or self._latest("id >= ? AND id < ?", low, low + "~")
        if found is None:
            return None
        name, at, record, facts = found
        outcome = self._db.execute(
            "SELECT record FROM outcome WHERE decision_id = ? AND at >= ? ORDER BY at DESC LIMIT 1", (name, at)
        ).fetchone()
        decision = msgspec.json.decode(record)
        if (reports := msgspec.json.decode(facts).get("reports")) is not None:
            decision["checks"] = reports
        return decision, msgspec.json.decode(outcome[0]) if outcome else None

    def _latest(self, where: str, *values: str) -> tuple[str, float, bytes, bytes] | None:
        """The decision that was written last, if all that fit are of one name."""
        assert self._db is not None
        names = "SELECT DISTINCT id FROM decision WHERE " + where + " LIMIT 2"  # noqa: S608  `where` is one of ours
        if values and len(self._db.execute(names, values).fetchall()) != 1:
            return None
        row: Any = self._db.execute(
            "SELECT id, at, record, facts FROM decision WHERE " + where + " ORDER BY rowid DESC LIMIT 1",  # noqa: S608
            values,
        ).fetchone()
        return row  # type: ignore[no-any-return]

    def close(self) -> None:
        """Close the file."""
        db, self._db = self._db, None
        if db is not None:
            db.close()


def _checkpoint(path: str) -> None:
    """Fold the write-ahead log into the file, as far as nobody reads it."""
    import apsw

    try:
        db = apsw.Connection(path)
        try:
            # Not `db.wal_checkpoint()`: on a connection that has read nothing yet it does nothing, and says nothing.
            db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        finally:
            db.close()
    except apsw.Error as error:
        _log.warning("the data file's write-ahead log could not be folded in: %s", error)
