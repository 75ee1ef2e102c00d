"""A machine that stops at any moment: the write-ahead log ends after any frame, or in the middle of one."""

from __future__ import annotations

import shutil
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import apsw
import pytest

from oblix.storage.opening import open_safely
from oblix.storage.sqlite import beside, open_file

HEADER, FRAME = 32, 24 + 4096  # bytes: of the log, of each of its frames
WRITES = 20


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """A file and its write-ahead log, and how long that was after each of the writes, each of which touches several pages."""
    path = tmp_path_factory.mktemp("stopped") / "oblix.db"
    ends = []
    with closing(open_file(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        for n in range(WRITES):
            with db:
                db.execute("INSERT INTO decision VALUES (?, ?, ?, x'00')", (f"01A{n:03}", n, bytes(5000)))
                db.execute("INSERT INTO outcome VALUES (?, ?, x'00')", (f"01A{n:03}", n))
            ends.append(beside(path)[1].stat().st_size)
        copy = path.parent / "copy"
        copy.mkdir()
        for each in beside(path)[:2]:
            shutil.copyfile(each, copy / each.name)
    return copy / path.name, ends


def kept(path: Path) -> tuple[list[str], list[str]]:
    opened = open_safely(path)
    try:
        assert opened.trouble is None
        assert opened.db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        decisions = [str(name) for (name,) in opened.db.execute("SELECT id FROM decision ORDER BY rowid")]
        return decisions, [str(name) for (name,) in opened.db.execute("SELECT decision_id FROM outcome ORDER BY rowid")]
    finally:
        opened.db.close()


def test_whatever_frame_is_the_last_each_write_is_there_whole_or_not_at_all(
    stopped: tuple[Path, list[int]], tmp_path: Path
) -> None:
    source, ends = stopped
    log = beside(source)[1].read_bytes()
    boundaries = range(HEADER, len(log) + 1, FRAME)
    assert len(boundaries) > 2 * WRITES
    assert set(ends) <= set(boundaries)
    path = tmp_path / "oblix.db"
    for cut in sorted({*boundaries, *(each + 1000 for each in boundaries[:-1]), 0, 10}):
        for each in beside(path):
            each.unlink(missing_ok=True)
        shutil.copyfile(source, path)
        beside(path)[1].write_bytes(log[:cut])
        decisions, outcomes = kept(path)
        whole = sum(end <= cut for end in ends)
        assert decisions == outcomes == [f"01A{n:03}" for n in range(whole)], cut
    assert all(b > a for a, b in pairwise(ends))


def test_a_log_that_was_folded_in_only_in_part_is_no_loss(stopped: tuple[Path, list[int]], tmp_path: Path) -> None:
    """Pages that were folded in are written again from the log: in whatever state the file is."""
    source, ends = stopped
    path = tmp_path / "oblix.db"
    for each in beside(source)[:2]:
        shutil.copyfile(each, tmp_path / each.name)
    log = beside(path)[1].read_bytes()
    folded = tmp_path / "folded.db"
    for old, new in zip(beside(path)[:2], beside(folded)[:2], strict=True):
        shutil.copyfile(old, new)
    with closing(apsw.Connection(str(folded))) as db:
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    whole, start = folded.read_bytes(), source.read_bytes()
    for pages in range(0, len(whole) // 4096, 3):
        beside(path)[2].unlink(missing_ok=True)
        path.write_bytes(whole[: pages * 4096] + start[pages * 4096 :])
        beside(path)[1].write_bytes(log)
        assert len(kept(path)[0]) == len(ends), pages
