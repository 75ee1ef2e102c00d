"""A disk that is full: what was acknowledged is there, what is there can be read, and writing goes on when there is room again."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from oblix.errors import ConfigurationError
from oblix.storage.decisions import DecisionLog
from oblix.storage.opening import open_safely
from oblix.storage.store import Store

Require = Callable[[object, str], None]
pytestmark = pytest.mark.tmpfs


@pytest.fixture
def disk(tmp_path: Path, require: Require) -> Iterator[Path]:
    """A disk of two megabytes."""
    require(sys.platform == "linux" and os.geteuid() == 0, "a disk of one's own (Linux, root)")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    require(mounted.returncode == 0, f"a disk of one's own: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill_up(disk: Path, *, but: int = 0) -> Path:
    """Take all the room that is left, but for so many bytes."""
    ballast = disk / "ballast"
    free = os.statvfs(disk)
    with ballast.open("wb") as file:
        file.write(bytes(max(0, free.f_bavail * free.f_frsize - but)))
    return ballast


def put(name: str, size: int = 2000) -> Callable[[apsw.Connection], None]:
    def work(db: apsw.Connection) -> None:
        db.execute("INSERT INTO policy VALUES (?, ?)", (name, bytes(size)))

    return work


def names(db: apsw.Connection) -> list[str]:
    return [str(name) for (name,) in db.execute("SELECT digest FROM policy ORDER BY rowid")]


def test_what_was_acknowledged_stays_and_writing_goes_on_by_itself(disk: Path) -> None:
    data = Store(disk / "oblix.db")
    acknowledged: list[str] = []
    failures: list[Exception] = []

    async def main() -> None:
        await data.write(put("first"))
        ballast = fill_up(disk, but=200_000)
        for n in range(400):
            try:
                await data.write(put(f"{n}"))
            except (apsw.FullError, apsw.IOError) as error:
                failures.append(error)
                assert data.read(names) == ["first", *acknowledged]
            else:
                acknowledged.append(f"{n}")
        assert len(failures) > 50
        ballast.unlink()
        await data.write(put("after"))

    asyncio.run(main())
    expected = ["first", *acknowledged, "after"]
    assert data.read(names) == expected
    assert data.pending == 0
    data.close()
    with closing(apsw.Connection(str(disk / "oblix.db"))) as db:
        assert names(db) == expected
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_of_those_that_wait_together_only_those_fail_that_have_no_room(disk: Path) -> None:
    data = Store(disk / "oblix.db", durability="full")

    async def main() -> None:
        await data.write(put("first"))
        fill_up(disk, but=100_000)
        works = [put("small a", 10), put("large", 500_000), put("small b", 10)]
        found = await asyncio.gather(*(data.write(work) for work in works), return_exceptions=True)
        assert [isinstance(each, apsw.Error) for each in found] == [False, True, False]

    asyncio.run(main())
    assert data.read(names) == ["first", "small a", "small b"]
    data.close()


def test_it_is_not_opened_while_there_is_no_room_for_it_and_nothing_takes_its_place(disk: Path) -> None:
    """In memory nobody would see the budgets that are in the file; the paid calls have to wait."""
    path = disk / "oblix.db"
    ballast = fill_up(disk)
    with pytest.raises(ConfigurationError, match=r"The data file .* cannot be used: "):
        open_safely(path)
    ballast.unlink()
    opened = open_safely(path)
    assert opened.trouble is None
    opened.db.close()


@pytest.mark.parametrize("room", [0, 150_000, 300_000])
def test_a_damaged_file_waits_for_room_to_be_rescued(room: int, disk: Path) -> None:
    path = disk / "oblix.db"
    data = Store(path)
    for n in range(100):
        data.write_now(put(f"{n}"))
    data.close()
    spoilt = bytearray(path.read_bytes())
    spoilt[200_000:220_000] = bytes(20_000)
    path.write_bytes(spoilt)
    ballast = fill_up(disk, but=room)
    for _ in range(3):
        with pytest.raises(ConfigurationError, match="cannot be used"):
            open_safely(path)
        assert path.read_bytes() == spoilt
    ballast.unlink()
    opened = open_safely(path)
    assert opened.trouble is not None
    assert len(names(opened.db)) > 50
    opened.db.close()
    assert not list(disk.glob("*.draft*"))


def test_the_log_of_decisions_goes_on_too(disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = DecisionLog(disk / "oblix.db")

    async def main() -> None:
        await log.write_decision("01A", 1.0, {"id": "01A"}, {})
        ballast = fill_up(disk, but=50_000)
        more = [log.write_decision(f"01B{n}", 2.0, {"padding": "x" * 5000}, {}) for n in range(100)]
        found = await asyncio.gather(*more, return_exceptions=True)
        assert 50 < sum(isinstance(each, apsw.Error) for each in found) < 100
        assert log.find("01A") is not None
        ballast.unlink()
        await log.write_decision("01C", 3.0, {"id": "01C"}, {})

    asyncio.run(main())
    assert log.find("last") == ({"id": "01C"}, None)
    log.close()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
