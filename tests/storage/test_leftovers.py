"""What waits when its loop ends, or the program: written all the same, once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from oblix.storage import leftovers
from oblix.storage.store import Store

from .test_store import names, put


@pytest.fixture(autouse=True)
def nothing_waits() -> Iterator[None]:
    leftovers._write_all()
    yield
    assert leftovers._WAITING == {}


def opened(path: Path) -> Store:
    data = Store(path)
    data.open()
    return data


def in_its_last_turn(call: Callable[[], object]) -> None:
    """Have a loop do this, and nothing that comes of it."""
    loop = asyncio.new_event_loop()
    loop.call_soon(call)
    loop.stop()
    loop.run_forever()
    loop.close()


def in_the_file(path: Path) -> list[str]:
    with closing(apsw.Connection(str(path))) as db:
        return names(db)


def test_what_waits_for_a_closed_loop_is_written_when_somebody_else_has_something_to_write(tmp_path: Path) -> None:
    """Whoever makes a client and a loop for each of many jobs piles nothing up."""
    for name in "abc":
        data = opened(tmp_path / f"{name}.db")
        in_its_last_turn(lambda data=data, name=name: data.soon(put(name)))  # type: ignore[misc]
    assert [in_the_file(tmp_path / f"{name}.db") for name in "abc"] == [["a"], ["b"], []]
    assert len(leftovers._WAITING) == 1
    leftovers._write_all()
    assert in_the_file(tmp_path / "c.db") == ["c"]


def test_what_was_written_in_time_waits_no_longer(tmp_path: Path) -> None:
    data = opened(tmp_path / "a.db")

    async def main() -> None:
        data.soon(put("a"))
        assert len(leftovers._WAITING) == 1
        await asyncio.sleep(0)
        assert leftovers._WAITING == {}

    asyncio.run(main())
    data.close()
    assert in_the_file(tmp_path / "a.db") == ["a"]


PROGRAM = """
import asyncio, os, sys
from oblix.storage.store import Store

data = Store(sys.argv[1])
{before}
loop = asyncio.new_event_loop()
loop.call_soon(data.soon, lambda db: db.execute("INSERT INTO policy VALUES ('a', x'00')"))
loop.stop()
loop.run_forever()
{after}
"""
SOMEBODY_WRITES = """
import threading, time
data._turn.acquire()
threading.Thread(target=lambda: (time.sleep(0.1), data._turn.release()), daemon=True).start()
"""
FORK = """
if os.fork() == 0:
    sys.exit()
os.wait()
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [("", ""), ("data.open()", ""), ("data.open()", SOMEBODY_WRITES), ("data.open()", FORK)],
    ids=["not open yet", "open", "in use", "a fork"],
)
def test_what_waits_at_the_end_of_the_program_is_written(before: str, after: str, tmp_path: Path) -> None:
    source = PROGRAM.format(before=before, after=after)
    program = [sys.executable, "-c", source, str(tmp_path / "a.db")]
    ran = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert in_the_file(tmp_path / "a.db") == ["a"]
