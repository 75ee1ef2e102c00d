"""Files of other programs are refused and left as they are; ours are known, even damaged, and under any name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from oblix.errors import ConfigurationError
from oblix.storage import origin
from oblix.storage.opening import open_safely
from oblix.storage.sqlite import FILE, MIGRATIONS
from oblix.storage.store import Store

from .damage import sound_file
from .test_opening import file_with_a_row, mode, nobody, open_place, path, put_aside

__all__ = ["open_place", "path"]  # fixtures


def _tables_of_others(path: Path) -> None:
    with closing(apsw.Connection(str(path))) as db:
        db.execute("CREATE TABLE session (sid TEXT, user TEXT); INSERT INTO session VALUES ('1', 'ann')")
        db.execute("CREATE TABLE customer (a); CREATE TABLE decision (id, at); CREATE VIEW v AS SELECT 1")


def _of_the_same_version(path: Path) -> None:
    with closing(apsw.Connection(str(path))) as db:
        db.execute(f"CREATE TABLE customer (a); PRAGMA user_version = {len(MIGRATIONS)}")


def _of_a_newer_version(path: Path) -> None:
    with closing(apsw.Connection(str(path))) as db:
        db.execute("CREATE TABLE customer (a); PRAGMA user_version = 99")


def _with_a_log(path: Path) -> None:
    with closing(apsw.Connection(str(path))) as db:
        db.execute("PRAGMA journal_mode = WAL").fetchall()
        db.execute("CREATE TABLE customer (a)")


def _begun(path: Path) -> None:
    with closing(apsw.Connection(str(path))) as db:
        db.execute("PRAGMA application_id = 7")


def _spoilt(path: Path) -> None:
    _tables_of_others(path)
    path.write_bytes(path.read_bytes()[:5000])


def _text(path: Path) -> None:
    path.write_text("notes on decision_by_id, CREATE TABLE decision and the like\n" * 60_000)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (_tables_of_others, "it is another program's database, with 'customer', 'decision', 'session', …"),
        (_of_the_same_version, "it is another program's database, with 'customer'"),
        (_of_a_newer_version, "it is another program's database, with 'customer'"),
        (_with_a_log, "it is another program's database, with 'customer'"),
        (_begun, "it is another program's database, with nothing in it yet"),
        (_spoilt, "nothing in it is ours (database disk image is malformed)"),
        (_text, "nothing in it is ours (file is not a database)"),
    ],
)
def test_a_file_of_another_program_is_refused_and_left_as_it_is(
    make: Callable[[Path], None], what: str, tmp_path: Path
) -> None:
    path = tmp_path / "webapp.db"
    make(path)
    path.chmod(0o664)
    before = path.read_bytes()
    data = Store(path)
    for _ in range(2):
        with pytest.raises(ConfigurationError) as failed:
            data.write_now(lambda db: db.execute("INSERT INTO policy VALUES ('new', x'00')"))
        assert failed.value.message == f"{str(path)!r} is no data file of Oblix: {what}. It was left as it is."
        assert failed.value.hint is not None
    assert data.trouble == failed.value.message
    data.close()
    assert (path.read_bytes(), mode(path)) == (before, 0o664)
    assert [each.name for each in tmp_path.iterdir()] == ["webapp.db"]


def test_another_programs_database_under_our_name_is_refused_as_well(tmp_path: Path) -> None:
    _tables_of_others(tmp_path / FILE)
    with pytest.raises(ConfigurationError, match="another program's database"):
        open_safely(tmp_path / FILE)


def test_another_programs_file_is_refused_in_a_read_only_place_too(open_place: Path) -> None:
    path = open_place / "webapp.db"
    _with_a_log(path)
    path.chmod(0o444)
    with nobody(), pytest.raises(ConfigurationError, match="another program's database"):
        open_safely(path)


@pytest.mark.parametrize("what", ["the id in the header", "the schema in the file", "the schema in the log"])
def test_a_damaged_file_of_ours_is_known_under_any_name_by_what_is_left_of_it(what: str, tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    sound_file(path, folded=what != "the schema in the log")
    spoilt = bytearray(path.read_bytes())
    if what == "the id in the header":
        spoilt[100:] = b"\xff" * len(spoilt[100:])
    elif what == "the schema in the file":
        spoilt[:100] = bytes(100)
    else:
        spoilt[:] = b"\xff" * len(spoilt)
    path.write_bytes(spoilt)
    opened = open_safely(path)
    assert opened.trouble is not None
    opened.db.close()
    assert put_aside(path)


def test_a_sign_across_two_blocks_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    sign = origin._SIGNS[0]
    path.write_bytes(b"\xff" * (origin._BLOCK - 5) + sign + bytes(100))
    assert origin.has_signs(path)
    path.write_bytes(path.read_bytes().replace(sign, sign.upper()))
    assert not origin.has_signs(path)


def test_to_look_for_signs_takes_no_lock_away(path: Path) -> None:
    file_with_a_row(path)
    look = "import apsw, sys; apsw.Connection(sys.argv[1]).execute('BEGIN IMMEDIATE')"
    with closing(apsw.Connection(str(path))) as db:
        db.execute("PRAGMA journal_mode = DELETE").fetchall()
        db.execute("BEGIN IMMEDIATE")
        assert origin.has_signs(path)
        other = subprocess.run([sys.executable, "-c", look, str(path)], stderr=subprocess.PIPE, check=False, timeout=60)
    assert b"BusyError" in other.stderr
