"""Damaged files: opened all the same, loudly, and nothing that SQLite could read is lost."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import shutil
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest

from oblix.errors import ConfigurationError
from oblix.sessions.store import Sessions
from oblix.storage import harvest, opening
from oblix.storage.decisions import DecisionLog
from oblix.storage.harvest import between
from oblix.storage.opening import open_safely
from oblix.storage.rescue import gather, rescue
from oblix.storage.sqlite import MIGRATIONS
from oblix.storage.store import Store
from oblix.types.messages import Message

from .damage import missing, read_plainly, sound_file, spoil

DAMAGES = 1000


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Folders with a data file: all folded in, and half of it still in the write-ahead log."""
    found = {}
    for folded in (True, False):
        found[folded] = tmp_path_factory.mktemp("sound")
        sound_file(found[folded] / "oblix.db", folded=folded)
    return found


def _version(path: Path) -> int:
    with closing(apsw.Connection(str(path))) as db:
        try:
            return int(str(db.execute("PRAGMA user_version").fetchall()[0][0]))
        except apsw.Error:
            return 0


@pytest.mark.parametrize("tenth", range(10))
def test_a_thousand_damages_and_nothing_readable_is_lost(
    tenth: int, sound: dict[bool, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rescued = 0
    for seed in range(tenth * DAMAGES // 10, (tenth + 1) * DAMAGES // 10):
        draw = random.Random(seed)
        folder, plain = tmp_path / "damaged", tmp_path / "plain"
        for each in (folder, plain):
            shutil.rmtree(each, ignore_errors=True)
        shutil.copytree(sound[draw.random() < 0.5], folder)
        what = f"seed {seed}: {spoil(folder / 'oblix.db', draw)}"
        shutil.copytree(folder, plain)
        before = read_plainly(plain / "oblix.db")
        caplog.clear()
        if _version(plain / "oblix.db") > len(MIGRATIONS):  # of all damages only this looks like a wish
            with pytest.raises(ConfigurationError, match="newer"):
                open_safely(folder / "oblix.db")
            continue
        opened = open_safely(folder / "oblix.db")
        opened.db.close()
        assert missing(before, read_plainly(folder / "oblix.db")) == [], what
        aside = sorted(folder.glob("oblix.db.corrupt-*"))
        told = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
        assert (len(told), bool(aside), opened.trouble is not None) in ((0, False, False), (1, True, True)), what
        if aside:
            rescued += 1
            assert str(folder / "oblix.db") in told[0]
            assert str(aside[0]) in told[0]
        with closing(sqlite3.connect(folder / "oblix.db")) as db:  # what other programs find is sound, too
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",), what
    assert rescued > DAMAGES // 50


@pytest.mark.parametrize("end", range(0, 4096, 1024))
def test_a_file_that_ends_within_a_page_is_damaged(end: int, sound: dict[bool, Path], tmp_path: Path) -> None:
    """To SQLite it is an input error where the page count is told by the write-ahead log."""
    size, seen = (sound[False] / "oblix.db").stat().st_size, 0
    for page in range(40, size // 4096, 15):
        folder, plain = tmp_path / "damaged", tmp_path / "plain"
        for each in (folder, plain):
            shutil.rmtree(each, ignore_errors=True)
            shutil.copytree(sound[False], each)
            os.truncate(each / "oblix.db", page * 4096 + end)
        before = read_plainly(plain / "oblix.db")
        opened = open_safely(folder / "oblix.db")
        opened.db.close()
        assert missing(before, read_plainly(folder / "oblix.db")) == [], page
        seen += opened.trouble is not None
    assert seen > 3


def test_messages_whose_session_cannot_be_read_get_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "oblix.db"
    store = Store(path)
    sessions = Sessions(store, lambda: 1.0)
    for n in range(40):
        asyncio.run(sessions.create("a title", {"padding": "x" * 500}, session_id=f"{n:03}"))
        asyncio.run(sessions.append(f"{n:03}", [Message("user", f"question {n}"), Message("assistant", "yes")]))
    places: Any = store.read(
        lambda db: db.execute("SELECT pageno FROM dbstat WHERE name = 'session' AND pagetype = 'leaf'").fetchall()
    )
    store.close()
    spoilt = bytearray(path.read_bytes())
    for (page,) in places[1:3]:
        spoilt[(page - 1) * 4096 : page * 4096] = bytes(4096)
    path.write_bytes(spoilt)
    found = sessions.latest(100)
    assert store.trouble is not None
    assert len(found) == 40
    assert 0 < sum(not each["title"] for each in found) < 40
    for n in range(40):
        asyncio.run(sessions.append(f"{n:03}", [Message("user", "more")]))
        talk = sessions.load(f"{n:03}")
        assert talk is not None
        assert [each["content"] for each in talk["messages"]] == [f"question {n}", "yes", "more"]
    assert len(asyncio.run(sessions.search("question", limit=100))) == 40
    store.close()


def test_a_schema_whose_names_are_damaged_still_tells_which_column_is_which(
    sound: dict[bool, Path], tmp_path: Path
) -> None:
    """A column that SQLite does not know by its name it takes for a text: the name itself would go into every row."""
    path = tmp_path / "oblix.db"
    shutil.copyfile(sound[True] / "oblix.db", path)
    before = read_plainly(path)
    spoilt = path.read_bytes()
    for old, new in ((b"seq INTEGER PRIMARY", b"sep INTEGER PRIMARI"), (b"facts BLOB NOT", b"factz BLOB NOT")):
        assert old in spoilt
        spoilt = spoilt.replace(old, new)
    path.write_bytes(spoilt)
    assert rescue(path, lambda: False) is not None
    assert missing(before, read_plainly(path)) == []


KEYS = {"session": "id", "message": "id", "decision": "rowid", "outcome": "rowid", "part": "digest", "policy": "digest"}


def test_what_is_missing_in_a_row_gets_something_that_can_be_read(tmp_path: Path) -> None:
    """One row for each column that must hold something, and does not."""
    path = tmp_path / "oblix.db"
    store = Store(path)
    sessions = Sessions(store, lambda: 1.0)
    for n in range(20):
        asyncio.run(sessions.create("a title", {"n": n}, session_id=f"{n:03}"))
        asyncio.run(sessions.append(f"{n:03}", [Message("user", f"question {n}"), Message("assistant", "yes")]))
        store.write_now(partial(_add, n))
    store.close()
    _forget_each_column(path)
    draft = tmp_path / "rescued.db"
    with closing(apsw.Connection(str(path))) as old, closing(apsw.Connection(str(draft))) as new:
        gather(old, new)
    store = Store(draft)
    sessions, log = Sessions(store, lambda: 1.0), DecisionLog(store)
    found = sessions.latest(100)
    assert {each["id"] for each in found} == {"rescued", *(f"{n:03}" for n in range(20))}
    assert all(sessions.load(each["id"]) is not None for each in found)
    assert asyncio.run(sessions.search("question", limit=100))
    assert len(list(log.decisions())) == 19
    assert log.recent_timings() == []

    def look(db: apsw.Connection) -> Any:
        parts = db.execute("SELECT (SELECT count(*) FROM part), (SELECT count(*) FROM policy)").fetchall()
        return (
            parts + db.execute("SELECT state, private, role FROM message WHERE id IN (4, 6, 7) ORDER BY id").fetchall()
        )

    what_is_told_of = [("incomplete", 0, "assistant"), ("whole", 1, "assistant"), ("whole", 0, "user")]
    assert store.read(look) == [
        (19, 19),
        *what_is_told_of,
    ]  # a part without its body would be in the way of the whole one
    store.close()


def _add(n: int, db: apsw.Connection) -> None:
    db.execute("INSERT INTO decision VALUES (?, ?, ?, ?)", (str(n), n, b'{"id": "a"}', b"{}"))
    db.execute("INSERT INTO outcome VALUES (?, ?, ?)", (str(n), n, b"{}"))
    db.execute("INSERT INTO part VALUES (?, ?)", (str(n), b"{}"))
    db.execute("INSERT INTO policy VALUES (?, ?)", (str(n), b"{}"))


def _forget_each_column(path: Path) -> None:
    """Have the n-th of the columns that must hold something hold nothing, in the n-th row of its table; the keys stay."""
    needed: dict[str, Any] = {}
    with closing(apsw.Connection(str(path))) as db:
        for table in KEYS:
            query = 'SELECT name FROM pragma_table_info(?) WHERE "notnull" AND NOT pk'
            needed[table] = db.execute(query, (table,)).fetchall()
        db.config(apsw.SQLITE_DBCONFIG_WRITABLE_SCHEMA, 1)
        db.execute("UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', '') WHERE type = 'table'")
    with closing(apsw.Connection(str(path))) as db:
        for table, key in KEYS.items():
            rows: Any = db.execute(f"SELECT {key} FROM {table} ORDER BY {key}").fetchall()
            for (number,), (column,) in zip(rows, needed[table], strict=False):
                db.execute(f"UPDATE {table} SET {column} = NULL WHERE {key} = ?", (number,))


def test_a_file_that_somebody_else_has_mended_is_left_alone(sound: dict[bool, Path], tmp_path: Path) -> None:
    shutil.copytree(sound[True], tmp_path / "home")
    path = tmp_path / "home" / "oblix.db"
    assert opening._is_whole(path, 1.0)
    assert rescue(path, lambda: opening._is_whole(path, 1.0)) is None
    assert sorted(each.name for each in path.parent.iterdir()) == [".oblix.db.lock", "oblix.db"]


def test_where_not_even_the_end_of_a_table_is_known_it_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first rows and the last cannot be read; those between can."""
    path = tmp_path / "oblix.db"
    store = Store(path)

    def fill(db: apsw.Connection) -> None:
        for n in range(3000):
            db.execute("INSERT INTO outcome VALUES (?, ?, ?)", (f"{n:05}", n, bytes(200)))

    store.write_now(fill)
    leaves: Any = store.read(
        lambda db: db.execute(
            "SELECT pageno FROM dbstat WHERE name = 'outcome' AND pagetype = 'leaf' ORDER BY path"
        ).fetchall()
    )
    store.close()
    spoilt = bytearray(path.read_bytes())
    for (page,) in (leaves[0], leaves[1], leaves[70], leaves[-1]):
        spoilt[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096

    def rescued() -> int:
        path.write_bytes(spoilt)
        store.open()
        found: Any = store.read(
            lambda db: db.execute("SELECT rowid, decision_id FROM outcome ORDER BY rowid").fetchall()
        )
        store.close()
        assert all(int(name) == number - 1 for number, name in found)
        return len(found)

    assert 3000 - 5 * 20 < rescued() < 3000 - 3 * 10
    monkeypatch.setattr(harvest, "MOST_PROBES", 10)  # it gives up behind the second damage
    assert 1000 < rescued() < 2000


def test_the_last_row_alone_may_be_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its key can be read, and the rest of it lies on other pages."""
    path = tmp_path / "oblix.db"
    store = Store(path)

    def fill(db: apsw.Connection) -> None:
        for n in range(100):
            db.execute("INSERT INTO outcome VALUES (?, ?, ?)", (f"{n:05}", n, bytes(20_000 if n == 99 else 200)))

    store.write_now(fill)
    pages: Any = store.read(
        lambda db: db.execute("SELECT pageno FROM dbstat WHERE name = 'outcome' AND pagetype = 'overflow'").fetchall()
    )
    store.close()
    spoilt = bytearray(path.read_bytes())
    for (page,) in pages[:2]:
        spoilt[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096
    for most in (harvest.MOST_PROBES, 3):  # the second gives up in the midst
        path.write_bytes(spoilt)
        monkeypatch.setattr(harvest, "MOST_PROBES", most)
        store.open()
        assert store.read(lambda db: db.execute("SELECT count(*), max(rowid) FROM outcome").fetchall()) == [(99, 99)]
        store.close()


def test_between_two_keys_lies_one_or_none() -> None:
    assert between(1, 3) == 2
    assert between(1, 2) is None
    assert between(b"a", b"b") == b"a\x80"
    assert between(b"a", b"a\0") is None
    assert between(b"x" * 70, b"y" * 70) is None
    low, high = b"abc", b"abd"
    for _ in range(20):
        middle = between(low, high)
        assert isinstance(middle, bytes)
        assert low < middle < high
        low = middle
