"""The log of decisions and their outcomes: appended to, never changed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from oblix.decision.facts import Facts
from oblix.errors import ConfigurationError
from oblix.storage.parts import Parts, whole
from oblix.storage.sqlite import open_file

if TYPE_CHECKING:
    import apsw

PATIENCE = 2.0  # seconds that a write waits for other processes; then the prompt goes on without its row
# Writes, some 2,000 pages of 4 KiB (SQLite's own default is 1,000). The checkpoint syncs the disk (5 to 25 ms), so it runs beside, on a
# thread. While the write-ahead log stays small its pages are used again, which makes a write a quarter faster than in fresh ones.
CHECKPOINT_EVERY = 400
MOST_PARTS = 1000  # that a reader remembers; some 500 bytes each
_log = logging.getLogger("oblix.storage")
_ENCODER = msgspec.json.Encoder(enc_hook=str)  # an agent's metrics may hold anything
_ORDERED = msgspec.json.Encoder(enc_hook=str, order="deterministic")  # the same digest in every process


class Kept(NamedTuple):
    """A decision as the log keeps it.

    Attributes:
        record: As it was written; see `oblix.decision.record.modern`.
        facts: JSON, what it was decided on, with its parts.
        policy: JSON, the policy that decided, `None` where it was not kept (earlier versions).
        outcome: What became of it, `None` while that is not known.
    """

    record: dict[str, Any]
    facts: bytes
    policy: bytes | None
    outcome: dict[str, Any] | None


class Timed(NamedTuple):
    """How long an attempt that succeeded took, in seconds, and its tokens."""

    model_id: str
    total: float
    first_token: float | None = None
    load: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Try(msgspec.Struct):
    model_id: str
    outcome: str
    total: float = 0.0
    first_token: float | None = None
    load: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Tries(msgspec.Struct):
    attempts: list[_Try] = []


_TRIES = msgspec.json.Decoder(_Tries)  # the rest of an outcome is passed over: half the time


class DecisionLog:
    """Append-only. Writes run on the caller's thread: one row in WAL mode is a copy into the page cache (15 to 30 µs)."""

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self._db: apsw.Connection | None = None
        self._writes = 0
        self._parts = Parts(_ORDERED.encode)

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
        kept, parts = self._parts.split(facts) if isinstance(facts, Facts) else (facts, {})
        row = (decision_id, at, _ENCODER.encode(record), _ENCODER.encode(kept))
        try:
            await self._insert("INSERT INTO decision VALUES (?, ?, ?, ?)", [row], list(parts.items()))
        except BaseException:
            self._parts.lost(parts)
            raise
        if parts:
            self._parts.wrote(parts)

    async def write_policy(self, digest: str, policy: Mapping[str, Any]) -> None:
        """Keep a policy, before the first decision that names its digest. Again does nothing."""
        await self._insert("INSERT OR IGNORE INTO policy VALUES (?, ?)", [(digest, _ENCODER.encode(policy))])

    async def write_outcome(self, decision_id: str, at: float, record: dict[str, Any]) -> None:
        """Append what became of it."""
        await self.write_outcomes([(decision_id, at, record)])

    async def write_outcomes(self, outcomes: Sequence[tuple[str, float, dict[str, Any]]]) -> None:
        """Append what became of several, in one transaction: 4 µs each instead of 9."""
        rows = [(decision_id, at, _ENCODER.encode(record)) for decision_id, at, record in outcomes]
        await self._insert("INSERT INTO outcome VALUES (?, ?, ?)", rows)

    async def _insert(
        self, statement: str, rows: Sequence[tuple[Any, ...]], parts: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        """Write rows, and the parts that they name, in one transaction."""
        import apsw  # and asyncio where it is needed: `oblix why` reads without it, which takes 17 ms less

        waited = 0.0
        while True:
            if (db := self._db) is None:  # also when it was closed while we waited for our turn
                import asyncio

                await asyncio.to_thread(self.open)
                continue
            try:
                if len(rows) == 1 and not parts:
                    db.execute(statement, rows[0])
                else:
                    with db:
                        db.executemany(statement, rows)
                        if parts:
                            db.executemany("INSERT OR IGNORE INTO part VALUES (?, ?)", parts)
                break
            except apsw.BusyError:
                if waited >= PATIENCE:
                    raise
                import asyncio

                await asyncio.sleep(0.005)
                waited += 0.005
        self._writes += len(rows)
        if self._writes >= CHECKPOINT_EVERY and str(self._path) != ":memory:":
            self._writes = 0
            import asyncio

            asyncio.get_running_loop().run_in_executor(None, _checkpoint, str(self._path))

    def find(self, decision_id: str) -> tuple[dict[str, Any], dict[str, Any] | None] | None:
        """A decision and its outcome, as `look_up` finds it; the agents' reports are its `checks`.

        Raises:
            ConfigurationError: The file cannot be opened or read.
        """
        kept = self.look_up(decision_id)
        return None if kept is None else (with_checks(kept), kept.outcome)

    def look_up(self, decision_id: str) -> Kept | None:
        """A decision by its id, by the unique start of an id, or the latest one by `"last"`.

        Raises:
            ConfigurationError: The file cannot be opened or read.
        """
        with self._reading() as db:
            if decision_id == "last":
                found = _latest(db, "TRUE")
            else:
                low = decision_id.upper()  # ours are in capitals; a caller's own names are taken as they are
                found = _latest(db, "id = ?", decision_id) or _latest(db, "id >= ? AND id < ?", low, low + "~")
            return None if found is None else _Reader(db).kept(found)

    def decisions(self, since: float | None = None) -> Iterator[Kept]:
        """Every decision since then (seconds since the epoch), the newest last, one at a time.

        Raises:
            ConfigurationError: The file cannot be opened or read.
        """
        with self._reading() as db:
            reader = _Reader(db)
            for row in db.execute(_DECISION + "WHERE at >= ? ORDER BY rowid", (since or 0.0,)):
                yield reader.kept(row)

    def recent_timings(self, limit: int = 300) -> list[Timed]:
        """How long the latest attempts that succeeded took, the newest last: what a client learns from at its start.

        Raises:
            ConfigurationError: The file cannot be opened or read.
        """
        with self._reading() as db:
            rows = db.execute("SELECT record FROM outcome ORDER BY rowid DESC LIMIT ?", (limit,)).fetchall()
            tries = (each for (record,) in reversed(rows) for each in _TRIES.decode(record).attempts)
            found = [Timed(*_fields(each)) for each in tries if each.outcome == "ok"]
        return found[-limit:]

    @contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        """The open file; what it cannot be read for becomes an error of ours."""
        import apsw

        self.open()
        assert self._db is not None
        try:
            yield self._db
        except (apsw.Error, msgspec.MsgspecError) as error:
            raise ConfigurationError(
                f"The data file {str(self._path)!r} cannot be read: {error}",
                hint="Try again, or move it away.",
                cause=error,
            ) from None

    def close(self) -> None:
        """Close the file."""
        db, self._db = self._db, None
        self._parts = Parts(_ORDERED.encode)  # it may be another file that is opened under this path
        if db is not None:
            db.close()


def with_checks(kept: Kept) -> dict[str, Any]:
    """Its record with the agents' reports, which stand in the facts."""
    facts: Any = msgspec.json.decode(kept.facts)
    reports = facts.get("reports") if isinstance(facts, dict) else None
    return kept.record if reports is None else {**kept.record, "checks": reports}


# Of several outcomes the latest, but none that belongs to a later decision of the same name.
_DECISION = """
    SELECT record, facts, (
        SELECT record FROM outcome WHERE decision_id = d.id AND at >= d.at AND at < coalesce(
            (SELECT min(at) FROM decision WHERE id = d.id AND rowid > d.rowid), 9e999)
        ORDER BY at DESC LIMIT 1)
    FROM decision AS d """


def _latest(db: apsw.Connection, where: str, *values: str) -> Any:
    """The decision that was written last, if all that fit are of one name."""
    names = "SELECT DISTINCT id FROM decision WHERE " + where + " LIMIT 2"  # noqa: S608  `where` is one of ours
    if values and len(db.execute(names, values).fetchall()) != 1:
        return None
    return db.execute(_DECISION + "WHERE " + where + " ORDER BY rowid DESC LIMIT 1", values).fetchone()


class _Reader:
    """Puts rows together again; what several of them name is looked up once."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._policies: dict[str, bytes | None] = {}
        self._parts: dict[str, bytes | None] = {}

    def kept(self, row: Any) -> Kept:
        record: dict[str, Any] = msgspec.json.decode(row[0])
        digest = str(record.get("policy_digest") or "")
        if digest not in self._policies:
            self._policies[digest] = self._body("SELECT body FROM policy WHERE digest = ?", digest)
        outcome = None if row[2] is None else msgspec.json.decode(row[2])
        return Kept(record, whole(row[1], self._part), self._policies[digest], outcome)

    def _part(self, digest: str) -> bytes | None:
        if digest not in self._parts:
            if len(self._parts) >= MOST_PARTS:
                self._parts.clear()
            self._parts[digest] = self._body("SELECT body FROM part WHERE digest = ?", digest)
        return self._parts[digest]

    def _body(self, statement: str, digest: str) -> bytes | None:
        found: Any = self._db.execute(statement, (digest,)).fetchone()
        return None if found is None else found[0]


def _fields(each: _Try) -> tuple[Any, ...]:
    return (each.model_id, each.total, each.first_token, each.load, each.input_tokens, each.output_tokens)


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
