"""Opening the data file, wherever and whatever it is: read-only, in no place, in the way, older, newer, far away."""

from __future__ import annotations

import hashlib
import logging
import os
import random
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import apsw
import pytest

from oblix.errors import ConfigurationError
from oblix.storage import mounts, opening, origin, rescue, sqlite
from oblix.storage.lockfile import locked
from oblix.storage.opening import open_safely
from oblix.storage.sqlite import FILE, MIGRATIONS, beside, open_file
from oblix.storage.store import Store

from .damage import missing, read_plainly, read_rows, sound_file

Require = Callable[[object, str], None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "oblix.db"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def rows(db: apsw.Connection) -> Any:
    return db.execute("SELECT digest FROM policy").fetchall()


def file_with_a_row(path: Path) -> None:
    with closing(open_file(path)) as db:
        db.execute("INSERT INTO policy VALUES ('kept', x'00')")


# --- for its owner only ---


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_file_and_what_lies_beside_it_are_for_their_owner_only(path: Path) -> None:
    with closing(open_file(path)) as db:
        db.execute("INSERT INTO policy VALUES ('a', x'00')")
        assert [mode(each) for each in beside(path)] == [0o600] * 3
        assert mode(path.parent) == 0o700


def test_a_file_that_was_made_readable_for_others_is_not_so_any_more(path: Path) -> None:
    file_with_a_row(path)
    path.chmod(0o644)
    with closing(open_file(path)) as db:
        assert rows(db) == [("kept",)]
        assert mode(path) == 0o600


def test_a_folder_of_the_users_own_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    open_file(tmp_path / "oblix.db").close()
    assert mode(tmp_path) == 0o755


def test_opening_a_file_twice_in_one_process_takes_no_lock_away(path: Path) -> None:
    """To open and close the file by hand frees the locks that SQLite holds on it in this process: another process would then
    take itself for the last one, and delete the write-ahead log under our hands."""
    look = (
        "import apsw, sys; db = apsw.Connection(sys.argv[1]); db.execute('SELECT * FROM policy').fetchall(); db.close()"
    )
    with closing(open_file(path)) as first:
        first.execute("INSERT INTO policy VALUES ('a', x'00')")
        open_file(path).close()
        subprocess.run([sys.executable, "-c", look, str(path)], check=True, timeout=60)
        assert beside(path)[1].exists()
        first.execute("INSERT INTO policy VALUES ('b', x'00')")
    with closing(open_file(path)) as db:
        assert rows(db) == [("a",), ("b",)]


# --- places that cannot be written to ---


@contextmanager
def nobody() -> Iterator[None]:
    """As a user without rights, where the tests run with all of them."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that every user may come to, unlike those of pytest."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="oblix-place-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_read_only_home_is_read_and_what_is_new_is_kept_in_memory(
    open_place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The budgets above all: they hold."""
    path = open_place / "oblix.db"
    file_with_a_row(path)
    path.chmod(0o444)
    before = path.read_bytes()
    with nobody():
        data = Store(path)
        data.write_now(lambda db: db.execute("INSERT INTO policy VALUES ('new', x'00')"))
        assert data.read(rows) == [("kept",), ("new",)]
        assert data.is_in_memory
        data.close()
    assert path.read_bytes() == before
    assert sorted(each.name for each in open_place.iterdir()) == ["oblix.db"]
    (warning,) = warnings(caplog)
    assert warning.startswith(
        f"nothing is kept when this program ends: the data file {str(path)!r} cannot be written: "
    )
    assert warning.endswith("What was in it is there, to be read. Set OBLIX_HOME to a folder that can be written to.")


def test_an_older_file_in_a_read_only_home_is_brought_to_this_version_in_memory(open_place: Path) -> None:
    path = open_place / "oblix.db"
    older_file(path, 2)
    path.chmod(0o444)
    with nobody():
        opened = open_safely(path)
        assert opened.is_in_memory
        assert len(opened.db.execute("SELECT * FROM decision").fetchall()) == 3
        assert opened.db.execute("SELECT * FROM message").fetchall() == []
        opened.db.close()


def test_a_large_file_is_not_taken_into_memory(open_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its budgets cannot be seen then, so nothing takes its place."""
    path = open_place / "oblix.db"
    file_with_a_row(path)
    path.chmod(0o444)
    monkeypatch.setattr(opening, "MOST_BYTES", 1000)
    with nobody(), pytest.raises(ConfigurationError, match="cannot be used"):
        open_safely(path)


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_file_in_a_read_only_home_gives_what_can_be_read_and_is_opened_once(
    seed: int, open_place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is in memory is sound, so that no error of it has it opened anew, with the same warning each time."""
    path = open_place / "oblix.db"
    sound_file(path, folded=True)
    spoilt = bytearray(path.read_bytes())
    for start in range(30 + seed, len(spoilt) // 4096, 9):
        spoilt[start * 4096 : start * 4096 + 200] = random.Random(seed).randbytes(200)
    path.write_bytes(spoilt)
    readable = read_plainly(path)
    for each in beside(path)[1:]:
        each.unlink(missing_ok=True)
    path.chmod(0o444)
    with nobody():
        data = Store(path)
        for n in range(3):
            data.write_now(lambda db, n=n: db.execute("INSERT INTO policy VALUES (?, x'00')", (f"new {n}",)))  # type: ignore[misc]
        with pytest.raises(apsw.CorruptError):
            data.write_now(_finds_damage)
        assert data.read(lambda db: db.execute("PRAGMA integrity_check").fetchall()) == [("ok",)]
        found = data.read(read_rows)
        data.close()
    assert missing(readable, found) == []
    assert path.read_bytes() == spoilt
    (warning,) = warnings(caplog)
    assert re.search(
        r"\. It is damaged as well; here are the \d+ rows that could be read, \d+ or more could not be read\. ", warning
    )


def _finds_damage(db: apsw.Connection) -> None:
    raise apsw.CorruptError("database disk image is malformed")


def test_a_file_that_may_not_even_be_read_is_left_alone(open_place: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = open_place / "oblix.db"
    file_with_a_row(path)
    path.chmod(0o000)
    with nobody():
        opened = open_safely(path)
    assert opened.is_in_memory
    assert rows(opened.db) == []
    opened.db.close()
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("kind", ["a folder", "a file as a folder", "no such place"])
def test_in_an_impossible_place_it_works_in_memory(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    places = {
        "a folder": tmp_path,
        "a file as a folder": tmp_path / "file" / FILE,
        "no such place": Path("/proc/no/oblix.db"),
    }
    opened = open_safely(places[kind])
    assert opened.is_in_memory
    assert opened.trouble is not None
    opened.db.close()
    (warning,) = warnings(caplog)
    assert opened.trouble in warning


def test_without_a_home_it_works_in_memory(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """As in a container whose user is a mere number: what is meant by `~` is told by nobody, and a folder of that name is not made."""
    monkeypatch.setattr(sqlite, "home", lambda: Path("~/.local/share/oblix"))
    data = Store()
    data.write_now(lambda db: db.execute("INSERT INTO policy VALUES ('new', x'00')"))
    assert data.is_in_memory
    assert data.read(rows) == [("new",)]
    data.close()
    (warning,) = warnings(caplog)
    assert warning.startswith("nothing is kept when this program ends: this user has no home folder.")
    assert not Path("~").exists()


def test_in_a_working_folder_that_is_gone_it_works_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    data = Store("oblix.db")
    data.open()
    assert (data.is_in_memory, data.exists()) == (True, False)
    data.close()
    (warning,) = warnings(caplog)
    assert "the working folder is gone" in warning


def test_what_is_no_matter_of_the_place_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> apsw.Connection:
        raise apsw.FullError("database or disk is full")

    monkeypatch.setattr(opening, "open_file", fails)
    with pytest.raises(ConfigurationError, match="cannot be used: database or disk is full") as failed:
        open_safely(path)
    assert failed.value.hint is not None
    assert failed.value.hint.startswith("Make room")


# --- on another machine ---

MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/root rw
30 27 0:40 / /srv rw,relatime shared:1 - nfs4 server:/home rw,vers=4.2
31 30 0:41 / /srv/anna/my\\040disk rw - ext4 /dev/sdb1 rw
32 27 0:42 / /mnt/share rw - cifs //server/share rw
33 27 0:43 / /mnt/ssh rw - fuse.sshfs anna@server: rw
34 27 0:44 / /mnt/local rw - fuse.ntfs-3g /dev/sdc1 rw
35 27 0:45 / /mnt/twice rw - ext4 /dev/sdd1 rw
36 35 0:46 / /mnt/twice rw - nfs server:/twice rw
a line that is none
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/anna/.local/share/oblix/oblix.db", "nfs4"),
        ("/srv/anna/my disk/oblix.db", "ext4"),
        ("/srvs/oblix.db", "ext4"),
        ("/mnt/share/oblix.db", "cifs"),
        ("/mnt/ssh", "fuse.sshfs"),
        ("/mnt/local/oblix.db", "fuse.ntfs-3g"),
        ("/mnt/twice/oblix.db", "nfs"),
        ("/proc/self", "proc"),
    ],
)
def test_which_kind_of_file_system_holds_a_path(path: str, kind: str) -> None:
    assert mounts.kind_of(path, MOUNTS) == kind
    assert mounts.kind_of("relative", MOUNTS) == ""


def test_a_file_on_another_machine_has_no_write_ahead_log(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its shared memory reaches no other machine, and two that wrote would break the file."""
    file_with_a_row(path)  # it was on this machine before
    table = tmp_path / "mountinfo"
    table.write_text(f"1 0 0:1 / {tmp_path} rw - nfs4 server:/home rw\n")
    monkeypatch.setattr(mounts, "MOUNTS", table)
    data = Store(path)
    data.write_now(lambda db: db.execute("INSERT INTO policy VALUES ('new', x'00')"))
    assert data.write_now(lambda db: db.execute("PRAGMA journal_mode; ").fetchall()) == [("delete",)]
    assert data.write_now(lambda db: db.execute("PRAGMA synchronous").fetchall()) == [(2,)]
    assert data.read(rows) == [("kept",), ("new",)]
    assert not beside(path)[1].exists()
    data.close()
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "nowhere")  # not Linux
    data.open()
    assert data.read(lambda db: db.execute("PRAGMA journal_mode").fetchall()) == [("wal",)]
    data.close()
    assert mounts.is_remote(Path("//server/share/oblix.db"))


# --- other versions ---


def older_file(path: Path, version: int) -> None:
    """A file as that version made it, with three rows in each of its tables."""
    path.parent.mkdir(exist_ok=True, parents=True)
    with closing(apsw.Connection(str(path))) as db:
        for step in MIGRATIONS[:version]:
            db.execute(step)
        db.execute(f"PRAGMA user_version = {version}")
        if version:
            fill(db, "decision", "outcome")
        if version >= 2:
            fill(db, "policy")
        if version >= 3:
            fill(db, "part")
        if version >= 4:
            fill(db, "budget", "account", "reservation", "entry")


def fill(db: apsw.Connection, *tables: str) -> None:
    draw = random.Random(7)
    for table in tables:
        info: Any = db.execute("SELECT type FROM pragma_table_info(?)", (table,)).fetchall()
        for n in range(3):
            values = {"TEXT": f"{n}-{draw.random()}", "BLOB": b'{"n": 1}', "INTEGER": n + 10, "REAL": n / 2}
            marks = ", ".join("?" for _ in info)
            db.execute(f"INSERT INTO {table} VALUES ({marks})", [values[kind] for (kind,) in info])


def schema(db: apsw.Connection) -> Any:
    return db.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall()


@pytest.mark.parametrize("version", range(len(MIGRATIONS) + 1))
def test_a_file_of_every_older_version_is_brought_to_this_one_and_keeps_its_rows(version: int, path: Path) -> None:
    older_file(path, version)
    with closing(apsw.Connection(str(path))) as db:
        tables: Any = db.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        before = {name: db.execute(f"SELECT * FROM {name}").fetchall() for (name,) in tables}
    opened = open_safely(path)
    assert opened.trouble is None
    assert {name: opened.db.execute(f"SELECT * FROM {name}").fetchall() for (name,) in tables} == before
    with closing(open_file(":memory:")) as new:
        assert schema(opened.db) == schema(new)
    assert opened.db.execute("PRAGMA user_version").fetchall() == [(len(MIGRATIONS),)]
    assert opened.db.execute("PRAGMA application_id").fetchall() == [(origin.APPLICATION_ID,)]
    opened.db.close()


def test_the_steps_that_were_released_stay_as_they_are() -> None:
    """Files that were written by them are out there. Comments and blanks may change."""
    bare = [re.sub(r"--.*|\s", "", step) for step in MIGRATIONS]
    assert [hashlib.sha256(step.encode()).hexdigest()[:6] for step in bare[:3]] == ["bc1676", "24cfb5", "f5e9ba"]


def test_a_newer_file_is_refused_and_not_touched(path: Path) -> None:
    file_with_a_row(path)
    with closing(apsw.Connection(str(path))) as db:
        db.execute("PRAGMA journal_mode = DELETE").fetchall()
        db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="was written by a newer Oblix") as failed:
        open_safely(path)
    assert failed.value.hint == "Update openoblix, or set OBLIX_HOME to another folder."
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [FILE]


def test_a_step_that_fails_and_is_undone_by_the_disk_leaves_the_file_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk ends the transaction by itself."""
    older_file(path, 3)
    with monkeypatch.context() as patch:
        patch.setattr(
            sqlite, "MIGRATIONS", (*MIGRATIONS[:3], "CREATE TABLE new (a); ROLLBACK; INSERT INTO nowhere VALUES (1)")
        )
        with pytest.raises(apsw.SQLError, match="nowhere"):
            open_file(path)
    with closing(open_file(path)) as db:
        assert len(db.execute("SELECT * FROM decision").fetchall()) == 3


def test_a_damaged_file_of_an_older_version_is_rescued_and_brought_to_this_one(path: Path) -> None:
    older_file(path, 2)
    with closing(apsw.Connection(str(path))) as db:
        db.execute("PRAGMA user_version = 0")
    opened = open_safely(path)
    assert opened.trouble is not None
    assert [
        len(opened.db.execute(f"SELECT * FROM {table}").fetchall()) for table in ("decision", "outcome", "policy")
    ] == [3] * 3
    assert opened.db.execute("SELECT * FROM message").fetchall() == []
    opened.db.close()


def test_two_processes_that_bring_one_file_to_this_version_are_not_in_each_others_way(path: Path) -> None:
    older_file(path, 1)
    program = "import sys; from oblix.storage.opening import open_safely; print(open_safely(sys.argv[1]).trouble)"
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    assert [run.communicate(timeout=60) for run in runs] == [("None\n", "")] * 3


# --- damaged ---


def put_aside(path: Path) -> list[Path]:
    return [each for each in path.parent.glob(f"{path.name}.corrupt-*") if not each.name.endswith(("-wal", "-shm"))]


def test_several_processes_that_find_a_damaged_file_at_once_put_it_aside_once(path: Path) -> None:
    sound_file(path, folded=True)
    spoilt = bytearray(path.read_bytes())
    spoilt[20_000:60_000] = bytes(40_000)
    path.write_bytes(spoilt)
    program = (
        "import sys; from oblix.storage.store import Store; data = Store(sys.argv[1]); data.open(); print(data.trouble is not None); "
        "data.write_now(lambda db: db.execute('INSERT INTO policy VALUES (?, ?)', (sys.argv[2], b''))); data.close()"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path), f"new {n}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(4)
    ]
    found = [run.communicate(timeout=60) for run in runs]
    assert [error for _, error in found] == [""] * 4
    assert sorted(told for told, _ in found) == ["False\n"] * 3 + ["True\n"]
    assert len(put_aside(path)) == 1
    with closing(open_file(path)) as db:
        assert db.execute("SELECT count(*) FROM policy WHERE digest LIKE 'new %'").fetchall() == [(4,)]


@pytest.mark.parametrize("step", range(16))
def test_a_rescue_that_is_killed_at_any_step_is_finished_by_the_next(
    step: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each change of a folder is a step."""
    sound_file(path, folded=False)
    spoilt = bytearray(path.read_bytes())
    spoilt[20_000:60_000] = bytes(40_000)
    path.write_bytes(spoilt)
    copy = path.parent.parent / "copy"
    shutil.copytree(path.parent, copy)
    readable = read_plainly(copy / FILE)

    class Killed(BaseException):
        pass

    left = [step]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def change(*values: Any, **wishes: Any) -> Any:
            if str(values[0]).startswith(str(path)) or str(values[-1]).startswith(str(path)):
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
            return real(*values, **wishes)

        return change

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", counted(os.link))
        patch.setattr(Path, "unlink", counted(Path.unlink))
        patch.setattr(Path, "replace", counted(Path.replace))
        with suppress(Killed):
            open_safely(path).db.close()
    assert (left[0] < 0) == (step < 13)
    opened = open_safely(path)
    opened.db.close()
    assert {table: set(rows) for table, rows in read_plainly(path).items()} == {
        table: set(rows) for table, rows in readable.items()
    }
    assert put_aside(path)
    assert not list(path.parent.glob("*.rescued*"))


def test_a_file_system_without_links_is_no_hindrance(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise PermissionError("links are not supported")

    monkeypatch.setattr(os, "link", fails)
    path.parent.mkdir()
    for n in range(2):
        path.write_bytes(b"no database at all " * 100)
        opened = open_safely(path)
        assert opened.trouble is not None
        opened.db.close()
        assert len(put_aside(path)) == n + 1


def test_a_damaged_file_in_a_place_without_room_is_refused_and_stays(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise apsw.FullError("database or disk is full")

    path.parent.mkdir()
    path.write_bytes(b"no database at all " * 100)
    monkeypatch.setattr(rescue, "_salvage", fails)
    with pytest.raises(ConfigurationError, match="disk is full"):
        open_safely(path)
    assert path.read_bytes() == b"no database at all " * 100


def test_a_lock_is_waited_for_and_given_up(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with (
        locked(lock, patience=0),
        pytest.raises(TimeoutError, match="another process holds 'lock'"),
        locked(lock, patience=0.05),
    ):
        raise AssertionError
    with locked(lock, patience=0):
        pass


def test_a_large_file_is_looked_at_for_a_moment_only(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound_file(path, folded=True)
    monkeypatch.setattr(opening, "CHECK_FOR", -1.0)
    opened = open_safely(path)
    assert opened.trouble is None
    opened.db.close()


# --- from the command line ---


@pytest.mark.parametrize("kind", ["noise", "zeros", "cut", "random", "a folder", "newer"])
def test_a_command_ends_without_a_traceback_whatever_the_file_is(kind: str, tmp_path: Path) -> None:
    path = tmp_path / FILE
    if kind == "a folder":
        path.mkdir()
    else:
        sound_file(path, folded=True)
        data = bytearray(path.read_bytes())
        data[20_000:60_000] = {"noise": random.Random(1).randbytes(40_000), "zeros": bytes(40_000)}.get(
            kind, data[20_000:60_000]
        )
        path.write_bytes(
            {"cut": bytes(data[:50_001]), "random": random.Random(2).randbytes(9000)}.get(kind, bytes(data))
        )
    if kind == "newer":
        with closing(apsw.Connection(str(path))) as db:
            db.execute("PRAGMA user_version = 99")
    ran = subprocess.run(
        [sys.executable, "-m", "oblix", "why"],
        env={**os.environ, "OBLIX_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode in (0, 1, 2), ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout or ran.stderr
