"""Whose a file is: ours, a new one, or another program's, which nobody here may change or move."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import apsw

APPLICATION_ID = (
    0x4F626C78  # "Oblx", in the header of every data file; see https://sqlite.org/pragma.html#pragma_application_id
)
_DECISION = ["id", "at", "record", "facts"]  # columns of our oldest table: files of before the id are known by it
# Entries of our schema as they lie in a file, and in nothing but a database: type, name, table.
_SIGNS = tuple(
    f"index{name}{table}".encode() for name, table in (("decision_by_id", "decision"), ("outcome_of", "outcome"))
)
_BLOCK = 1 << 20
MOST_BYTES = 64 << 20  # of a file that are looked through for signs; a schema is written first


class NotOurs(Exception):
    """The file is another program's; the message says what it is."""


def refuse_strangers(db: apsw.Connection) -> None:
    """Let only a file pass that is ours, or nobody's yet.

    Raises:
        NotOurs: It is another program's.
        apsw.Error: It cannot be read.
    """
    number: Any = db.execute("PRAGMA application_id").fetchone()
    version: Any = db.execute("PRAGMA user_version").fetchone()
    if number[0] == APPLICATION_ID or _columns(db, "decision") == _DECISION:
        return
    names = [
        name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name")
    ]
    if names or number[0] or version[0]:
        held = (
            f"with {', '.join(map(repr, names[:3]))}{', …' if names[3:] else ''}" if names else "with nothing in it yet"
        )
        raise NotOurs(f"it is another program's database, {held}")


def has_signs(path: Path) -> bool:
    """Whether a file that cannot be read as a database was one of ours, by what is left of it. Blocks.

    Read by SQLite's own hands: to open and close a database in any other way frees the locks that this process holds on it.
    """
    import apsw

    file = apsw.VFSFile("", str(path), [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READONLY, 0])
    try:
        size, last = min(file.xFileSize(), MOST_BYTES), b""
        for start in range(0, size, _BLOCK):
            block = file.xRead(min(_BLOCK, size - start), start)
            if not start and block[68:72] == APPLICATION_ID.to_bytes(4) and block.startswith(b"SQLite format 3\0"):
                return True
            if any(sign in last + block for sign in _SIGNS):
                return True
            last = block[-64:]  # a sign may lie across
    finally:
        file.xClose()
    return False


def _columns(db: apsw.Connection, table: str) -> list[Any]:
    return [name for (name,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,))]
