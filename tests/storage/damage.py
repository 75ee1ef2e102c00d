"""Damaged data files: how they come about, and what a plain reader can still read of them."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw

from oblix.storage.sqlite import beside, open_file

Rows = dict[str, dict[Any, tuple[Any, ...]]]  # table → key → row, text as bytes
ROWS = 120
BLANKS = (None, 0, "", "[]", b"", b"[]", b"{}")  # text comes as bytes
MOST_ID = 400  # more than any table has


def sound_file(path: Path, *, folded: bool) -> None:
    """A file with rows in every table; half of them in the write-ahead log where it was not folded in."""
    db = open_file(path)
    draw = random.Random(1)
    for start in (0, ROWS // 2):
        with db:
            for n in range(start, start + ROWS // 2):
                _fill(db, n, draw)
        if start == 0:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    copies = [(each, each.with_name(f"{each.name}.copy")) for each in beside(path)[:2]]
    if not folded:
        for old, new in copies:
            shutil.copyfile(old, new)
    db.close()
    if not folded:
        for old, new in copies:
            new.replace(old)


def _fill(db: apsw.Connection, n: int, draw: random.Random) -> None:
    blob = draw.randbytes
    db.execute(
        "INSERT INTO decision VALUES (?, ?, ?, ?)",
        (f"01A{n:05}", float(n), b'{"n": %d}' % n + blob(300), blob(draw.choice((100, 100, 100, 9000)))),
    )
    db.execute("INSERT INTO outcome VALUES (?, ?, ?)", (f"01A{n:05}", float(n), blob(500)))
    db.execute("INSERT INTO part VALUES (?, ?)", (draw.randbytes(16).hex(), blob(400)))
    db.execute("INSERT INTO policy VALUES (?, ?)", (draw.randbytes(8).hex(), blob(60)))
    for table, values in _OTHERS:
        places = db.execute("SELECT count(*) FROM pragma_table_info(?)", (table,)).fetchone()
        assert places is not None
        marks = ", ".join("?" for _ in range(places[0]))
        db.execute(f"INSERT INTO {table} VALUES ({marks})", values(db, n, draw))


def _by_type(table: str) -> Callable[[apsw.Connection, int, random.Random], list[Any]]:
    """Values that fit the columns, whatever the table's owner makes of it."""

    def values(db: apsw.Connection, n: int, draw: random.Random) -> list[Any]:
        found: list[Any] = []
        for kind, key in db.execute("SELECT type, pk FROM pragma_table_info(?)", (table,)):
            number = n + 1 if key else draw.randrange(1000)
            found.append(
                {
                    "TEXT": f"{number:06}é{draw.randrange(10**6)}",
                    "BLOB": draw.randbytes(draw.choice((40, 40, 40, 40, 6000))),
                }.get(str(kind), number if kind == "INTEGER" else float(number))
            )
        return found

    return values


_OTHERS = [(table, _by_type(table)) for table in ("reservation", "entry", "session")]


def spoil(path: Path, draw: random.Random) -> str:
    """Do one of the things that befall files; says what."""
    kind = draw.choice(
        ("flip", "flip", "flips", "zeros", "noise", "cut", "header", "wal flip", "wal cut", "random", "empty wal")
    )
    main, wal = beside(path)[:2]
    target = wal if kind.startswith("wal") and wal.exists() else main
    data = bytearray(target.read_bytes())
    at = draw.randrange(len(data))
    if kind in ("flip", "wal flip"):
        data[at] ^= 1 << draw.randrange(8)
    elif kind == "flips":
        for _ in range(draw.randrange(2, 200)):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif kind in ("zeros", "noise"):
        size = draw.choice((512, 4096, 3 * 4096))
        start = at // 512 * 512
        end = min(len(data), start + size)
        data[start:end] = bytes(end - start) if kind == "zeros" else draw.randbytes(end - start)
    elif kind in ("cut", "wal cut"):
        del data[at:]
    elif kind == "header":
        data[draw.randrange(100)] = draw.randrange(256)
    elif kind == "random":
        data[:] = draw.randbytes(draw.choice((0, 1, 100, 5000, 40_000)))
    elif wal.exists():
        wal.write_bytes(b"")
    target.write_bytes(data)
    return f"{kind} at {at} of {target.name}"


def read_plainly(path: Path) -> Rows:
    """What plain SQLite reads of every table of ours: from both ends, then each row by its number or key."""
    with closing(apsw.Connection(str(path))) as db:
        return read_rows(db)


def read_rows(db: apsw.Connection) -> Rows:
    """The same of an open one."""
    found: Rows = {}
    for table, (key, columns) in TABLES.items():
        rows = found.setdefault(table, {})
        named = key if key == "rowid" else f"CAST({key} AS BLOB)"  # damage can make bytes of it
        select = f"SELECT {named}, {columns} FROM {table}"
        for order in ("ASC", "DESC"):
            _take(db, f"{select} ORDER BY {key} {order}", (), rows)
        if key == "rowid":
            for number in range(1, MOST_ID):
                if number not in rows:
                    _take(db, f"{select} WHERE rowid = ?", (number,), rows)
    return found


def missing(before: Rows, after: Rows) -> list[str]:
    """What could be read before, and is not there any more as it was."""
    return [
        f"{table} {key!r}"
        for table, rows in before.items()
        for key, row in rows.items()
        if not _is_nothing(row) and not _is_kept(row, after[table].get(key) or after[table].get(_as_text(key)))
    ]


def _as_text(key: Any) -> Any:
    return key.decode("utf-8", "replace").encode() if isinstance(key, bytes) else key


def _is_nothing(row: tuple[Any, ...]) -> bool:
    """A page of zeros reads as a row that has nothing but its number."""
    return 2 * sum(value is None for value in row) >= len(row)


def _is_kept(row: tuple[Any, ...], now: tuple[Any, ...] | None) -> bool:
    """The same, but for what no row may hold: nothing where something must be, text that is none."""
    return now is not None and all(
        old == new or (old is None and new in BLANKS) or _as_text(old) == new for old, new in zip(row, now, strict=True)
    )


def _take(db: apsw.Connection, query: str, values: tuple[Any, ...], rows: dict[Any, tuple[Any, ...]]) -> None:
    try:
        for key, *row in db.execute(query, values):
            rows.setdefault(key, tuple(row))  # damage can give two rows one number
    except (apsw.Error, UnicodeDecodeError):
        return


def _tables() -> dict[str, tuple[str, str]]:
    db = open_file(":memory:")
    tables = {}
    for table in ("decision", "outcome", "part", "policy", "reservation", "entry", "session"):
        columns = db.execute("SELECT name, type, pk FROM pragma_table_info(?)", (table,)).fetchall()
        ((without,),) = db.execute(
            "SELECT wr FROM pragma_table_list WHERE name = ? AND schema = 'main'", (table,)
        ).fetchall()
        key = next(str(name) for name, _, place in columns if place) if without else "rowid"
        texts = [f"CAST({name} AS BLOB)" if kind == "TEXT" else str(name) for name, kind, _ in columns]
        tables[table] = (key, ", ".join(texts))
    db.close()
    return tables


TABLES = _tables()
