"""What can be read of a damaged data file goes into a new one, and the damaged one is put aside."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from oblix.storage.harvest import Harvest, Key, Row, Shape
from oblix.storage.jobs import begin_patiently
from oblix.storage.lockfile import locked
from oblix.storage.sqlite import IN_MEMORY, MIGRATIONS, beside, connect, make_private, open_file

if TYPE_CHECKING:
    import apsw

PATIENCE = 60.0  # seconds for another process that rescues the same file: some 100,000 rows each second
AT_ONCE = 500  # rows that are inserted together


class Rescue(NamedTuple):
    """What became of a damaged file.

    Attributes:
        rows: How many were read; `None` where another process did that, and was killed.
        lost: How many were not, or stretches of which nobody knows how many rows they had.
    """

    path: Path
    aside: Path
    rows: int | None = None
    lost: int = 0

    def __str__(self) -> str:
        if self.rows is None:
            return f"a new {str(self.path)!r} holds what could be read; the damaged file is {str(self.aside)!r}"
        return f"a new {str(self.path)!r} holds {told(self.rows, self.lost)}; the damaged file is {str(self.aside)!r}"


def told(rows: int, lost: int) -> str:
    """In words, what was gathered."""
    missing = f"{lost:,} or more could not be read" if lost else "nothing that was found is missing"
    return f"the {rows:,} {'row' if rows == 1 else 'rows'} that could be read, {missing}"


def is_unfinished(path: Path) -> bool:
    """Whether a rescue was killed when all that was left was to put its file in its place."""
    return _ready(path).exists()


def rescue(path: Path, is_whole: Callable[[], bool]) -> Rescue | None:
    """Put the file aside and a new one with its rows in its place; `None` if another process did it meanwhile. Blocks.

    Raises:
        OSError, apsw.Error: It cannot be done: no room, no permission. Nothing has changed then.
    """
    with locked(path.with_name(f".{path.name}.lock"), patience=PATIENCE):
        ready = _ready(path)
        if ready.exists():
            return Rescue(path, _swap(path, ready))
        if is_whole():
            return None
        draft = path.with_name(f"{path.name}.draft")
        with _held(path) as old:
            rows, lost = _salvage(old, draft)
            draft.replace(ready)
            return Rescue(path, _swap(path, ready), rows, lost)


def _ready(path: Path) -> Path:
    return path.with_name(f"{path.name}.rescued")


def _swap(path: Path, ready: Path) -> Path:
    """Put aside what is there, and the new file in its place. Killed at any moment, it can be done again.

    The old write-ahead log goes before the new file comes: it would be played into it.
    """
    name = f"{path.name}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    aside = path.with_name(name)
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{name}-{number}")
    pairs = [(old, new) for old, new in zip(beside(path), beside(aside), strict=True) if old.exists()]
    try:
        for old, new in pairs:
            os.link(old, new)
    except OSError:  # no links on this file system: then by moving; a kill in between leaves the parts under both names
        for old, new in reversed(pairs):
            old.replace(new)
    for old in reversed(beside(path)[1:]):
        old.unlink(missing_ok=True)
    ready.replace(path)
    _sync(path.parent)
    return aside


def _sync(place: Path) -> None:
    """Have a file or a folder on the disk."""
    with suppress(OSError):  # not every system can sync a folder
        handle = os.open(place, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# --- the rows ---


@contextmanager
def _held(path: Path) -> Iterator[apsw.Connection]:
    """The damaged file, which nobody writes to until another one is in its place.

    It is not changed: its write-ahead log stays as it is.
    """
    import apsw

    db = connect(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    try:
        with suppress(apsw.Error):  # where not even this can be done, others cannot write to it either
            begin_patiently(db)
        yield db
    finally:
        with suppress(apsw.Error):  # what is damaged may not even close
            db.close()


def _salvage(old: apsw.Connection, draft: Path) -> tuple[int, int]:
    """Write what can be read into a new file: how many rows, and how many could not."""
    for each in (*beside(draft), draft.with_name(draft.name + "-journal")):
        each.unlink(missing_ok=True)
    make_private(draft)
    new = connect(str(draft))
    try:
        # Nobody else uses it, and a kill throws it away: no log, no journal.
        new.execute("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF").fetchall()
        rows, lost = gather(old, new)
    finally:
        new.close()
    open_file(draft).close()  # brought to the newest version
    for each in beside(draft)[1:]:
        each.unlink(missing_ok=True)
    _sync(draft)
    return rows, lost


def gather(old: apsw.Connection, new: apsw.Connection) -> tuple[int, int]:
    """Bring what can be read of a database of ours into an empty one, of the old one's version: how many rows, and how many could not."""
    import apsw

    old.config(apsw.SQLITE_DBCONFIG_WRITABLE_SCHEMA, 1)  # what is damaged is used as far as it can be read
    tables = _tables(old)
    version = len(MIGRATIONS) if tables is None else _version(tables)
    with new:
        for step in MIGRATIONS[:version]:
            new.execute(step)
        new.execute(f"PRAGMA user_version = {version}")
    new.execute("PRAGMA ignore_check_constraints = ON")  # a row with a bad number is better than none
    rows = lost = 0
    for shape in _shapes(new):
        if tables is not None and shape.name not in tables:
            continue
        with new:
            table = _Table(new, shape)
            harvest = Harvest(old, _as_there(old, shape), table.take)
            harvest.gather()
            table.finish()
        rows += table.rows
        lost += harvest.lost
    with new:
        for step in _MENDS if version == len(MIGRATIONS) else ():
            new.execute(step)
    new.execute("PRAGMA ignore_check_constraints = OFF")
    return rows, lost


_ORPHANED = """
    INSERT OR IGNORE INTO session (id, title, created_at, updated_at, metadata, context)
    SELECT session_id, '', min(at), max(at), CAST('{}' AS BLOB), CAST('{}' AS BLOB) FROM message GROUP BY session_id"""
_COUNTED = """
    UPDATE session SET message_count = found.most FROM (SELECT session_id, max(seq) AS most FROM message GROUP BY session_id) AS found
    WHERE found.session_id = session.id AND message_count < found.most"""
# Messages whose session could not be read get one without a name; and the next message takes a place that is free.
_MENDS = (_ORPHANED, _COUNTED)


def _tables(db: apsw.Connection) -> set[str] | None:
    import apsw

    try:
        return {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    except (apsw.Error, UnicodeDecodeError):
        return None


def _version(tables: set[str]) -> int:
    """The version that has these tables; its number may be damaged."""
    with closing(connect(IN_MEMORY)) as db:
        found, known = 1, set[str]()
        for version, step in enumerate(MIGRATIONS, 1):
            db.execute(step)
            now = {shape.name for shape in _shapes(db)}
            if (now - known) & tables:
                found = version
            known = now
    return found


def _shapes(db: apsw.Connection) -> Iterator[Shape]:
    """Of every table that holds rows of its own."""
    tables: Any = db.execute(
        "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%'"
    ).fetchall()
    for name, has_no_rowid in tables:
        columns: Any = db.execute("SELECT name, type, pk FROM pragma_table_info(?)", (name,)).fetchall()
        keys = [column for column, _, place in columns if place]
        key = "rowid" if not has_no_rowid else keys[0] if len(keys) == 1 else None
        texts = frozenset(column for column, kind, _ in columns if kind == "TEXT")
        yield Shape(name, tuple(column for column, *_ in columns), key, texts)


def _as_there(old: apsw.Connection, shape: Shape) -> Shape:
    """The same table, its columns named as in the damaged file: what SQLite knows no column by, it takes for a text."""
    import apsw

    try:
        names = [str(name) for (name,) in old.execute("SELECT name FROM pragma_table_info(?)", (shape.name,))]
    except (apsw.Error, UnicodeDecodeError):
        return shape
    if len(names) != len(shape.columns):
        return shape
    there = dict(zip(shape.columns, names, strict=True))
    key = None if shape.key is None else there.get(shape.key, shape.key)
    return Shape(shape.name, tuple(names), key, frozenset(there[name] for name in shape.texts))


class _Table:
    """Where rows go: by some hundred, each once and under its number. What a new file begins with is there only if nothing else is."""

    def __init__(self, db: apsw.Connection, shape: Shape) -> None:
        self.rows = 0
        self._db = db
        self._waiting: list[Row] = []
        self._is_numbered = shape.key == "rowid"
        self._texts = [name in shape.texts for name in shape.columns]
        info: Any = db.execute('SELECT name, type, "notnull", pk FROM pragma_table_info(?)', (shape.name,)).fetchall()
        self._needed = [place for place, (_, _, is_needed, _) in enumerate(info) if is_needed]
        self._blanks = [
            _BLANK_COLUMNS.get((shape.name, column), _BLANKS.get(kind, 0)) if is_needed else None
            for column, kind, is_needed, _ in info
        ]
        self._number = [place for place, (_, kind, _, is_key) in enumerate(info) if is_key and kind == "INTEGER"]
        self._vital = [shape.columns.index(_VITAL[shape.name])] if shape.name in _VITAL else []
        names = [f'"{name}"' for name in shape.columns]
        beginning = f'SELECT {"rowid" if self._is_numbered else 0}, {", ".join(names)} FROM "{shape.name}"'  # noqa: S608  names of ours
        self._beginning: list[Row] = db.execute(beginning).fetchall()
        if self._beginning:
            db.execute(f'DELETE FROM "{shape.name}"')  # noqa: S608  names of ours
        if self._is_numbered:
            names.insert(0, "rowid")
        self._insert = (
            f'INSERT OR IGNORE INTO "{shape.name}" ({", ".join(names)}) VALUES ({", ".join("?" for _ in names)})'  # noqa: S608  names of ours
        )

    def take(self, key: Key, row: Row) -> None:
        if 2 * sum(row[place] is None for place in self._needed) > len(self._needed):
            return  # a page of zeros reads as a row of nothing
        if any(row[place] is None for place in self._vital):
            return
        values = [
            blank
            if value is None
            else value.decode("utf-8", "replace")
            if is_text and isinstance(value, bytes)
            else value
            for value, is_text, blank in zip(row, self._texts, self._blanks, strict=True)
        ]
        for place in self._number:  # it is the row's number, which a damaged schema may not know
            values[place] = key
        self._waiting.append((key, *values) if self._is_numbered else tuple(values))
        if len(self._waiting) >= AT_ONCE:
            self._flush()

    def finish(self) -> None:
        self._flush()
        if not self.rows:
            self._db.executemany(self._insert, [row if self._is_numbered else row[1:] for row in self._beginning])

    def _flush(self) -> None:
        before = self._db.total_changes()
        self._db.executemany(self._insert, self._waiting)
        self.rows += self._db.total_changes() - before
        self._waiting = []


_BLANKS: dict[str, Any] = {"TEXT": "", "BLOB": b""}  # for what must not be missing, and is …
_BLANK_COLUMNS: dict[
    tuple[str, str], Any
] = {  # … where those would break who reads it, or tell the world what is private
    ("decision", "record"): b"{}",
    ("decision", "facts"): b"{}",
    ("outcome", "record"): b"{}",
    ("reservation", "tags"): "[]",
    ("entry", "tags"): "[]",
    ("session", "metadata"): b"{}",
    ("session", "context"): b"{}",
    ("message", "session_id"): "rescued",
    ("message", "state"): "incomplete",
    ("message", "private"): 1,
    ("message", "role"): "user",
    ("message", "body"): b'{"text":""}',
}
_VITAL = {"part": "body", "policy": "body"}  # a row without this would be in the way of a whole one
