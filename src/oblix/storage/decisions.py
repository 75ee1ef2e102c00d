"""The log of decisions and their outcomes: appended to, never changed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from oblix.decision.facts import Facts
from oblix.errors import ConfigurationError
from oblix.storage.jobs import Failed
from oblix.storage.parts import Parts, whole
from oblix.storage.store import Store, Work

if TYPE_CHECKING:
    import apsw

T = TypeVar("T")
Outcomes = Sequence[tuple[str, float, dict[str, Any]]]  # the decision's id, when, and what became of it
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
    """Append-only: what is written is never changed.

    Args:
        data: The data file. A `Store` is its owner's to close; a path is opened for this log alone.
    """

    def __init__(self, data: Store | Path | str) -> None:
        self._store = data if isinstance(data, Store) else Store(data)
        self._is_ours = self._store is not data
        self._parts = Parts(_ORDERED.encode)
        self._file: object = None  # that the parts are known to be in

    @property
    def is_open(self) -> bool:
        """Whether the file is open."""
        return self._store.is_open

    def open(self) -> None:
        """Open the file. Blocks for some milliseconds: run it in a thread."""
        self._store.open()

    async def write_decision(
        self, decision_id: str, at: float, record: dict[str, Any], facts: Any, *, also: Work[T] | None = None
    ) -> T | None:
        """Write a decision down, before anything is sent.

        Args:
            record: `Decision.verdicts()`; with 3 KB a row takes half the time of one with 3.7 KB, which needs a second page.
            facts: What it was decided on, the agents' `reports` among it.
            also: What is to be in the file with it, or not at all; what it gives is returned.

        Raises:
            apsw.Error: The file could not be written (full disk, locked for longer than 2 s).
        """
        self._notice_file()
        kept, parts = self._parts.split(facts) if isinstance(facts, Facts) else (facts, {})
        row = (decision_id, at, _ENCODER.encode(record), _ENCODER.encode(kept))
        try:
            result = await self._insert(_INTO_DECISION, [row], list(parts.items()), also)
        except BaseException:
            self._parts.lost(parts)
            raise
        if parts:
            self._parts.wrote(parts)
        return result

    async def write_policy(self, digest: str, policy: Mapping[str, Any]) -> None:
        """Keep a policy, before the first decision that names its digest. Again does nothing."""
        await self._insert("INSERT OR IGNORE INTO policy VALUES (?, ?)", [(digest, _ENCODER.encode(policy))])

    async def write_outcome(self, decision_id: str, at: float, record: dict[str, Any]) -> None:
        """Append what became of it."""
        await self.write_outcomes([(decision_id, at, record)])

    async def write_outcomes(self, outcomes: Outcomes) -> None:
        """Append what became of several, in one transaction: 4 µs each instead of 9."""
        await self._insert(_INTO_OUTCOME, _rows(outcomes))

    def post_outcomes(self, outcomes: Outcomes, failed: Failed) -> None:
        """The same, without a loop; `failed` gets what goes wrong."""

        def work(db: apsw.Connection) -> None:
            db.executemany(_INTO_OUTCOME, _rows(outcomes))

        self._store.post(work, failed)

    async def _insert(
        self,
        statement: str,
        rows: Sequence[tuple[Any, ...]],
        parts: Sequence[tuple[str, bytes]] = (),
        also: Work[T] | None = None,
    ) -> T | None:
        """Write rows, the parts that they name, and what else there is, in one transaction."""
        return await self._store.write(_inserting(statement, rows, parts, also))

    def _notice_file(self) -> None:
        """Another file than before knows none of the parts."""
        if (file := self._store.file) is None or self._file is not file:
            self._file = file
            self._parts = Parts(_ORDERED.encode)

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

        def look(db: apsw.Connection) -> Kept | None:
            if decision_id == "last":
                found = _latest(db, "TRUE")
            else:
                low = decision_id.upper()  # ours are in capitals; a caller's own names are taken as they are
                found = _latest(db, "id = ?", decision_id) or _latest(db, "id >= ? AND id < ?", low, low + "~")
            return None if found is None else _Reader(db).kept(found)

        with self._reading():
            return self._store.read(look)

    def decisions(self, since: float | None = None) -> Iterator[Kept]:
        """Every decision since then (seconds since the epoch), the newest last, one at a time; none of those that are damaged.

        Raises:
            ConfigurationError: The file cannot be opened or read.
        """
        with self._reading(), self._store.reader() as db:
            reader = _Reader(db)
            for row in db.execute(_DECISION + "WHERE at >= ? ORDER BY rowid", (since or 0.0,)):
                try:
                    kept = reader.kept(row)
                except msgspec.MsgspecError as error:  # SQLite does not see what is overwritten within a row
                    _log.warning("a decision is passed over, because it is damaged: %s", error)
                else:
                    yield kept

    def recent_timings(self, limit: int = 300) -> list[Timed]:
        """How long the latest attempts that succeeded took, the newest last: what a client learns from at its start.

        Raises:
            ConfigurationError: The file cannot be opened or read.
        """
        latest = "SELECT record FROM outcome ORDER BY rowid DESC LIMIT ?"
        with self._reading():
            rows: Any = self._store.read(lambda db: db.execute(latest, (limit,)).fetchall())
        tries = (each for (record,) in reversed(rows) for each in _tries(record))
        found = [Timed(*_fields(each)) for each in tries if each.outcome == "ok"]
        return found[-limit:]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """What the file cannot be read for becomes an error of ours."""
        import apsw

        try:
            yield
        except (apsw.Error, msgspec.MsgspecError) as error:
            raise ConfigurationError(
                f"The data file {str(self._store.path)!r} cannot be read: {error}",
                hint="Try again, or move it away.",
                cause=error,
            ) from None

    def close(self) -> None:
        """Close the file, if it was opened for this log alone."""
        if self._is_ours:
            self._store.close()


def with_checks(kept: Kept) -> dict[str, Any]:
    """Its record with the agents' reports, which stand in the facts."""
    facts: Any = msgspec.json.decode(kept.facts)
    reports = facts.get("reports") if isinstance(facts, dict) else None
    return kept.record if reports is None else {**kept.record, "checks": reports}


def _rows(outcomes: Outcomes) -> list[tuple[Any, ...]]:
    return [(decision_id, at, _ENCODER.encode(record)) for decision_id, at, record in outcomes]


def _inserting(
    statement: str,
    rows: Sequence[tuple[Any, ...]],
    parts: Sequence[tuple[str, bytes]] = (),
    also: Work[T] | None = None,
) -> Work[T | None]:
    def work(db: apsw.Connection) -> T | None:
        if len(rows) == 1:
            db.execute(statement, rows[0])
        else:
            db.executemany(statement, rows)
        if parts:
            db.executemany("INSERT OR IGNORE INTO part VALUES (?, ?)", parts)
        return None if also is None else also(db)

    return work


_INTO_DECISION = "INSERT INTO decision VALUES (?, ?, ?, ?)"
_INTO_OUTCOME = "INSERT INTO outcome VALUES (?, ?, ?)"
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
        record = msgspec.json.decode(row[0], type=dict[str, Any])
        if not record:
            raise msgspec.ValidationError("nothing of it is left")  # a rescue fills what is missing
        digest = str(record.get("policy_digest") or "")
        if digest not in self._policies:
            self._policies[digest] = self._body("SELECT body FROM policy WHERE digest = ?", digest)
        return Kept(record, whole(row[1], self._part), self._policies[digest], _outcome(row[2]))

    def _part(self, digest: str) -> bytes | None:
        if digest not in self._parts:
            if len(self._parts) >= MOST_PARTS:
                self._parts.clear()
            self._parts[digest] = self._body("SELECT body FROM part WHERE digest = ?", digest)
        return self._parts[digest]

    def _body(self, statement: str, digest: str) -> bytes | None:
        found: Any = self._db.execute(statement, (digest,)).fetchone()
        return None if found is None else found[0]


def _outcome(record: bytes | None) -> dict[str, Any] | None:
    """What became of a decision; where it is damaged, or a rescue filled a gap, that is not known."""
    try:
        return None if record is None else msgspec.json.decode(record, type=dict[str, Any]) or None
    except msgspec.MsgspecError:
        return None


def _tries(record: bytes) -> list[_Try]:
    """The attempts of an outcome; none of one that is damaged."""
    try:
        return _TRIES.decode(record).attempts
    except msgspec.MsgspecError:
        return []


def _fields(each: _Try) -> tuple[Any, ...]:
    return (each.model_id, each.total, each.first_token, each.load, each.input_tokens, each.output_tokens)
