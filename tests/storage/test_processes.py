"""The data file between processes: several that write, one that forks, one that ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Literal

import apsw
import pytest

from oblix.storage import file, store
from oblix.storage.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "oblix.db"


def put(name: str) -> Callable[[apsw.Connection], str]:
    def work(db: apsw.Connection) -> str:
        db.execute("INSERT INTO policy VALUES (?, x'00')", (name,))
        return name

    return work


def names(db: apsw.Connection) -> list[str]:
    return [str(name) for (name,) in db.execute("SELECT digest FROM policy ORDER BY rowid")]


WRITER = """
    import asyncio, sys
    from oblix.storage.store import Store

    def put(name):
        return lambda db: db.execute("INSERT INTO policy VALUES (?, ?)", (name, b""))

    async def main(path, name):
        data = Store(path)
        for number in range(300):
            await asyncio.gather(*(data.write(put(f"{name}-{number}-{n}")) for n in range(3)))
        data.close()

    asyncio.run(main(*sys.argv[1:]))
"""


def test_four_processes_write_at_once_and_none_hears_of_a_lock(path: Path) -> None:
    program = [sys.executable, "-W", "error", "-c", textwrap.dedent(WRITER), str(path)]
    writers = [subprocess.Popen([*program, name], stderr=subprocess.PIPE, text=True) for name in "abcd"]
    for writer in writers:
        assert writer.communicate(timeout=120)[1] == ""
        assert writer.returncode == 0
    with closing(apsw.Connection(str(path))) as db:
        assert db.execute("SELECT count(*) FROM policy").fetchall() == [(3600,)]
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


FORKING = """
    import asyncio, os, sys, warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # that a program with threads forks is the point here
    from oblix.storage.store import Store

    def put(name):
        return lambda db: db.execute("INSERT INTO policy VALUES (?, ?)", (name, b""))

    data = Store(sys.argv[1])
    data.write_now(put("parent"))
    data.read(lambda db: None)
    child = os.fork()
    if child == 0:
        assert not data.is_open
        data.write_now(put("child"))
        data.close()
        sys.exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    data.write_now(put("parent again"))
    print(data.read(lambda db: [name for (name,) in db.execute("SELECT digest FROM policy ORDER BY rowid")]))
"""


def test_a_child_process_opens_the_file_for_itself(path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(FORKING), str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.stderr, ran.returncode) == ("", 0)
    assert ran.stdout == "['parent', 'child', 'parent again']\n"


_RESCUER = """
import sys
from pathlib import Path
from typing import Literal
from oblix.storage.rescue import rescue
for _ in range(5):
    rescue(Path(sys.argv[1]), lambda: False)
    print("rescued", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("durability", ["normal", "full"])
def test_what_is_acknowledged_beside_a_rescue_is_in_the_file_once(
    path: Path, durability: Literal["normal", "full"]
) -> None:
    """Another process finds the file damaged, and puts a new one in its place, while this one writes to it in every way there is."""
    data = Store(path, durability=durability)
    errors: list[BaseException] = []

    done = ["before"]

    async def write(rescuer: asyncio.subprocess.Process) -> None:
        """Until it ends."""
        while rescuer.returncode is None:
            name = f"{len(done)}"
            data.soon(put(f"soon {name}"), errors.append)
            data.post(put(f"posted {name}"), errors.append)
            done.extend((f"soon {name}", f"posted {name}", await data.write(put(name))))
            await asyncio.sleep(0)

    async def main() -> None:
        await data.write(put("before"))
        rescuer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _RESCUER, str(path), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert rescuer.stdin is not None
        assert rescuer.stdout is not None
        writing = asyncio.create_task(write(rescuer))
        while await rescuer.stdout.readline():
            before = len(done)
            while len(done) < before + 10 and not writing.done():
                await asyncio.sleep(0)
            rescuer.stdin.write(b"\n")
        await rescuer.wait()
        await writing

    asyncio.run(main())
    data.close()
    assert errors == []
    assert Store(path).read(names) == done
    assert len(list(path.parent.glob("*.corrupt-*"))) >= 5


def test_in_a_child_process_nothing_of_the_parents_is_closed(path: Path) -> None:
    data = Store(path)
    data.write_now(put("a"))
    data.read(names)
    assert data._opened is not None
    writing, (reading,) = data._opened.db, data._readers.values()
    store._after_fork()
    assert not data.is_open
    assert names(writing) == names(reading) == data.read(names) == ["a"]
    store._after_fork()
    store._after_fork()
    assert data.read(names) == ["a"]
    data.close()
    for db in file._LEFT_ALONE:
        db.close()
    file._LEFT_ALONE.clear()


def test_without_threads_what_is_left_is_done_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is when the program ends."""
    data = Store(path, durability="full")
    data._executor().shutdown()
    data.post(put("a"))
    data._beside(pytest.fail)
    assert data.write_now(put("b")) == "b"

    async def fails(*_: object) -> None:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(asyncio, "to_thread", fails)
    asyncio.run(data.shut())
    assert not data.is_open
    assert data.read(names) == ["a", "b"]
    data.close()


AT_THE_END = """
    import atexit, sys
    from oblix.storage.store import Store

    data = Store(sys.argv[1], durability="full")  # it would go by way of a thread

    def last():
        data.post(lambda db: db.execute("INSERT INTO policy VALUES ('last', x'00')"))
        data._beside(int)
        import asyncio
        asyncio.run(data.shut())

    atexit.register(last)
"""


def test_what_is_written_when_the_program_ends_is_written(path: Path) -> None:
    """There are no new threads by then."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(AT_THE_END), str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.stderr, ran.returncode) == ("", 0)
    assert Store(path).read(names) == ["last"]
