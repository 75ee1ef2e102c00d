"""The data file as the rooms use it: one writer, readers that never wait, and everything that can be in the way."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from math import inf
from pathlib import Path

import apsw
import pytest

from oblix.errors import ConfigurationError
from oblix.storage import file, jobs, opening, store
from oblix.storage.sqlite import MOST_PAGES, fold
from oblix.storage.store import Store, StoreBusy
from oblix.testing import run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "oblix.db"


@pytest.fixture
def data(path: Path) -> Iterator[Store]:
    made = Store(path)
    yield made
    made.close()


def put(name: str, body: bytes = b"") -> Callable[[apsw.Connection], str]:
    """A work that adds a row."""

    def work(db: apsw.Connection) -> str:
        db.execute("INSERT INTO policy VALUES (?, ?)", (name, body))
        return name

    return work


def slip(db: apsw.Connection) -> None:
    raise KeyError("slip")


def names(db: apsw.Connection) -> list[str]:
    return [str(name) for (name,) in db.execute("SELECT digest FROM policy ORDER BY rowid")]


def whose(threads: list[str]) -> Callable[[apsw.Connection], None]:
    """A work that tells on which thread it runs."""
    return lambda db: threads.append(threading.current_thread().name)


@contextmanager
def held(path: Path) -> Iterator[apsw.Connection]:
    """The file, held by somebody else, until its transaction is ended here or there."""
    with closing(apsw.Connection(str(path))) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0)


# --- writing ---


def test_a_write_gives_what_its_work_gives_and_runs_where_it_was_asked_for(data: Store) -> None:
    threads: list[str] = []

    async def main() -> None:
        assert await data.write(put("a")) == "a"  # opens the file
        assert await data.write(put("b")) == "b"
        await data.write(whose(threads))

    asyncio.run(main())
    assert threads == [threading.current_thread().name]
    assert data.read(names) == ["a", "b"]


def test_a_work_that_raises_leaves_nothing(data: Store) -> None:
    def half(db: apsw.Connection) -> None:
        put("half")(db)
        raise KeyError("slip")

    async def main() -> None:
        await data.write(put("a"))
        for _ in range(2):
            with pytest.raises(KeyError, match="slip"):
                await data.write(half)
            with pytest.raises(apsw.ConstraintError):
                await data.write(put("a"))
        await data.write(put("b"))

    asyncio.run(main())
    assert data.read(names) == ["a", "b"]


def test_what_waits_for_another_process_is_done_in_order_and_in_one_transaction(data: Store, path: Path) -> None:
    commits: list[int] = []

    def half(db: apsw.Connection) -> None:
        put("half")(db)
        raise KeyError("slip")

    async def main() -> None:
        await data.write(put("first"))
        with held(path) as other:
            waiting = [asyncio.create_task(data.write(put(f"{n:03}"))) for n in range(100)]
            waiting.insert(50, asyncio.create_task(data.write(half)))  # type: ignore[arg-type]  # it gives nothing
            data.post(put("posted"))
            await until(lambda: data.pending >= 50)
            data._opened.db.set_commit_hook(lambda: bool(commits.append(1)))  # type: ignore[union-attr, func-returns-value]  # it is open
            other.execute("COMMIT")
        found = await asyncio.gather(*waiting, return_exceptions=True)
        slips = [each for each in found if isinstance(each, BaseException)]
        assert [type(each) for each in slips] == [KeyError]

    asyncio.run(main())
    assert sorted(data.read(names)) == sorted(["first", "posted", *(f"{n:03}" for n in range(100))])
    assert [name for name in data.read(names) if name.isdigit()] == [f"{n:03}" for n in range(100)]
    assert len(commits) <= 3


def test_a_group_that_cannot_be_written_together_is_written_one_by_one(data: Store) -> None:
    """As on a disk that has room for all but one of them: the failure undoes what the others had done."""
    data.open()
    assert data._opened is not None
    db = data._opened.db

    def undone(db: apsw.Connection) -> None:
        db.execute("ROLLBACK")  # as SQLite does it when the disk is full
        raise apsw.FullError("database or disk is full")

    group = [jobs.Job(put("a")), jobs.Job(undone), jobs.Job(put("b"))]
    jobs.run_together(db, group)
    assert [type(job.error) for job in group] == [type(None), apsw.FullError, type(None)]
    assert [job.result for job in group] == ["a", None, "b"]
    assert data.read(names) == ["a", "b"]


def test_a_write_that_is_cancelled_while_it_waits_is_done_all_the_same(data: Store, path: Path) -> None:
    async def main() -> None:
        await data.write(put("a"))
        with held(path) as other:
            left = asyncio.create_task(data.write(put("left")))
            await asyncio.sleep(0)
            left.cancel()
            await asyncio.sleep(0)
            other.execute("COMMIT")
        await data.write(put("b"))

    asyncio.run(main())
    assert data.read(names) == ["a", "left", "b"]


def test_on_a_simulated_clock_time_stands_while_a_write_waits(data: Store, path: Path) -> None:
    async def main() -> None:
        await data.write(put("a"))
        with held(path) as other:
            threading.Timer(0.05, lambda: other.execute("COMMIT")).start()
            async with asyncio.timeout(0.001):
                await data.write(put("b"))
        assert asyncio.get_running_loop().time() == 0.0

    run(main())


def test_a_file_that_stays_locked_is_an_error(data: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "PATIENCE", 0.01)

    async def main() -> None:
        await data.write(put("a"))
        with held(path):
            found = await asyncio.gather(*(data.write(put(f"{n}")) for n in range(5)), return_exceptions=True)
            assert {type(each) for each in found} == {apsw.BusyError}
        await data.write(put("b"))

    asyncio.run(main())
    with held(path), pytest.raises(apsw.BusyError):
        data.write_now(put("now"))
    assert data.read(names) == ["a", "b"]


def test_no_more_works_wait_than_are_bearable(data: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MOST_WAITING", 10)
    failed: list[BaseException] = []

    async def main() -> None:
        await data.write(put("a"))
        with held(path) as other:
            waiting = [asyncio.create_task(data.write(put(f"{n:02}"))) for n in range(40)]
            await until(lambda: sum(each.done() for each in waiting) >= 15)
            data.post(put("posted"), failed.append)
            other.execute("COMMIT")
        found = await asyncio.gather(*waiting, return_exceptions=True)
        refused = [each for each in found if isinstance(each, BaseException)]
        assert {type(each) for each in refused} == {StoreBusy}
        assert 15 <= len(refused) <= 30

    asyncio.run(main())
    assert [type(each) for each in failed] == [StoreBusy]


def test_a_write_without_a_loop(data: Store, path: Path) -> None:
    assert data.write_now(put("a")) == "a"
    assert data.write_now(put("b")) == "b"
    with held(path) as other:
        threading.Timer(0.02, lambda: other.execute("COMMIT")).start()
        with pytest.raises(KeyError, match="slip"):
            data.write_now(slip)
    assert data.read(names) == ["a", "b"]


# --- posting ---


def test_what_is_posted_is_written_and_what_fails_is_told(
    data: Store, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failed: list[BaseException] = []
    data.post(put("closed"))  # no loop, no file yet
    data.close()
    data.open()
    data.post(put("here"))
    data.post(put("here"), failed.append)
    data.post(put("here"))
    with held(path) as other:
        data.post(put("there"))
        data.post(put("there"), failed.append)
        data.post(put("there"))
        other.execute("COMMIT")
        data.close()
    assert data.read(names) == ["closed", "here", "there"]
    assert [type(each) for each in failed] == [apsw.ConstraintError] * 2
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["a write was lost"] * 2


def test_a_loop_that_was_closed_meanwhile_is_no_trouble(data: Store, path: Path) -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(data.write(put("a")))
    with held(path) as other:
        waiting = loop.create_task(data.write(put("b")))
        loop.run_until_complete(asyncio.sleep(0))
        waiting.cancel()
        loop.run_until_complete(asyncio.gather(waiting, return_exceptions=True))
        loop.close()
        other.execute("COMMIT")
    data.close()
    assert data.read(names) == ["a", "b"]


# --- what makes it go by way of the thread ---


def test_a_disk_that_was_slow_is_left_to_the_thread_for_a_while(data: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    async def main() -> None:
        await data.write(put("a"))
        monkeypatch.setattr(store, "SLOW", -1.0)  # everything is slow
        await data.write(whose(threads))
        await data.write(whose(threads))  # once may be chance
        await data.write(whose(threads))
        data._slow_until = 0.0  # the seconds are over
        await data.write(whose(threads))

    asyncio.run(main())
    here = threading.current_thread().name
    assert [each == here for each in threads] == [True, True, False, True]


def test_with_full_durability_the_loop_never_waits_for_the_disk(path: Path) -> None:
    data = Store(path, durability="full")
    threads: list[str] = []

    async def main() -> None:
        for _ in range(3):
            await data.write(whose(threads))
        assert await data.write(lambda db: db.execute("PRAGMA synchronous").fetchall()) == [(2,)]

    asyncio.run(main())
    data.close()
    assert all(thread.startswith("oblix-store") for thread in threads)


def test_several_threads_may_write_and_read_at_once(data: Store) -> None:
    def work(thread: int) -> None:
        for n in range(100):
            data.write_now(put(f"{thread}-{n}"))
            assert f"{thread}-{n}" in data.read(names)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert len(data.read(names)) == 600


# --- reading ---


def test_a_reader_never_waits_for_a_writer(data: Store, path: Path) -> None:
    data.write_now(put("a"))
    with held(path) as other:
        other.execute("INSERT INTO policy VALUES ('b', x'00')")
        assert data.read(names) == ["a"]
        assert asyncio.run(data.read_aside(names)) == ["a"]
        with data.reader() as db:
            assert names(db) == ["a"]
        other.execute("COMMIT")
    assert data.read(names) == ["a", "b"]


def test_a_look_sees_one_state_of_the_file(data: Store) -> None:
    data.write_now(put("a"))

    def look(db: apsw.Connection) -> tuple[list[str], list[str]]:
        before = names(db)
        data.write_now(put("b"))
        return before, names(db)

    assert data.read(look) == (["a"], ["a"])
    assert data.read(names) == ["a", "b"]


def test_a_look_that_fails_leaves_the_reader_usable_and_writes_nothing(data: Store) -> None:
    data.write_now(put("a"))
    with pytest.raises(apsw.ReadOnlyError):
        data.read(put("b"))
    with pytest.raises(KeyError):
        data.read(slip)
    assert data.read(names) == ["a"]


def test_it_is_opened_again_after_it_was_closed(data: Store) -> None:
    for n in range(3):
        data.write_now(put(f"{n}"))
        assert data.is_open
        file = data.file
        assert file is data.file
        data.close()
        assert not data.is_open
        assert data.file is None
    assert data.read(names) == ["0", "1", "2"]
    asyncio.run(data.shut())
    assert not data.is_open


# --- in memory ---


def test_in_memory_everything_is_as_in_a_file() -> None:
    data = Store(":memory:")
    assert data.is_in_memory
    assert data.exists()

    async def main() -> None:
        await data.write(put("a"))
        assert data.read(names) == ["a"]
        assert await data.read_aside(names) == ["a"]
        with data.reader() as db:
            await data.write(put("b"))
            assert names(db) == ["a"]

    asyncio.run(main())
    assert data.read(names) == ["a", "b"]
    data.close()
    assert data.read(names) == []
    data.close()


# --- the write-ahead log ---


def test_the_write_ahead_log_is_folded_in_from_time_to_time(
    data: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "FOLD_AT", 10)
    data._fold_at = 10
    data.open()
    before = path.stat().st_size
    for n in range(60):
        data.write_now(put(f"{n}", bytes(4000)))
        if n == 30:
            data._executor().submit(int).result()  # by now a fold is under way, or done
            data._executor().submit(int).result()
    data.close()
    assert path.stat().st_size > before + 4000 * 50


def test_a_log_that_grows_because_nobody_pauses_is_begun_anew(
    data: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three processes that write without a pause had one of a gigabyte, which took a second to read after a crash."""
    monkeypatch.setattr("oblix.storage.sqlite.MOST_PAGES", 20)
    for n in range(30):
        data.write_now(put(f"{n}", bytes(4000)))
    fold(path)
    grown = path.with_name("oblix.db-wal").stat().st_size
    for n in range(20):
        data.write_now(put(f"more {n}", bytes(4000)))
    assert path.with_name("oblix.db-wal").stat().st_size == grown
    assert MOST_PAGES > 1000


def test_a_log_that_cannot_be_folded_in_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fold(tmp_path / "nowhere.db")
    (warning,) = caplog.records
    assert warning.getMessage().startswith("the data file's write-ahead log could not be folded in: ")


# --- other files under the same name ---


def test_a_file_that_was_moved_away_is_noticed(data: Store, path: Path) -> None:
    data.write_now(put("a"))
    path.rename(path.with_name("moved.db"))
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink()
    assert data.write_now(put("b")) == "b"
    assert data.read(names) == ["b"]


def test_who_only_reads_notices_it_within_a_second(data: Store, path: Path) -> None:
    data.write_now(put("a"))
    assert data.read(names) == ["a"]
    for end in ("-wal", "-shm", ""):
        path.with_name(path.name + end).rename(path.with_name("moved.db" + end))
    data._look_at = inf
    assert data.read(names) == ["a"]
    data._look_at = 0.0  # the second is over
    assert data.read(names) == []


def test_a_file_that_never_stays_where_it_is_ends_in_an_error(
    data: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = iter(range(99))
    monkeypatch.setattr(file, "identity", lambda path: (0, next(numbers)))
    with pytest.raises(StoreBusy, match="moved away again and again"):
        data.write_now(put("a"))
    monkeypatch.undo()
    assert data.read(names) == []


def test_a_write_that_waited_while_the_file_was_moved_away_goes_into_the_new_one(data: Store, path: Path) -> None:
    data.write_now(put("a"))
    with held(path) as other:
        data.post(put("b"))
        for end in ("-wal", "-shm", ""):
            path.with_name(path.name + end).rename(path.with_name("moved.db" + end))
        other.execute("COMMIT")
        assert data.write_now(put("c")) == "c"
    assert data.read(names) == ["b", "c"]


def spoil_under(data: Store, path: Path) -> None:
    """Half of the file becomes zeros while it is open; what the connections remember of it is out of date."""
    for n in range(200):
        data.write_now(put(f"{n:03}", bytes(1000)))
    data.close()
    data.open()
    spoilt = bytearray(path.read_bytes())
    half = len(spoilt) // 2 & ~4095
    spoilt[half:] = bytes(len(spoilt) - half)
    path.write_bytes(spoilt)
    with closing(apsw.Connection(str(path))) as other:
        other.execute("PRAGMA application_id = 7")


def test_a_file_that_is_damaged_under_our_hands_is_put_aside_and_the_write_is_done(
    data: Store, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoil_under(data, path)
    assert data.write_now(put("after")) == "after"
    assert data.read(names)[-1] == "after"
    (error,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert error.getMessage().startswith("the data file was damaged: a new ")
    assert data.trouble is not None
    assert data.trouble in error.getMessage()


def test_damage_that_the_thread_finds_is_mended_as_well(path: Path) -> None:
    data = Store(path, durability="full")
    spoil_under(data, path)
    assert data.write_now(put("after")) == "after"
    assert data.read(names)[-1] == "after"
    assert data.trouble is not None
    data.close()


def test_damage_that_the_first_moments_do_not_show_is_found_when_something_cannot_be_read(
    data: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a file that is too large to be looked through whenever it is opened."""
    check = opening._check
    monkeypatch.setattr(opening, "_check", lambda db, seconds: check(db, seconds) if seconds == inf else None)
    spoil_under(data, path)
    data.close()
    data.open()
    assert data.trouble is None
    assert data.write_now(put("after")) == "after"
    assert data.trouble is not None


def test_damage_that_a_look_finds_is_mended_before_the_next(data: Store, path: Path) -> None:
    spoil_under(data, path)
    with pytest.raises(apsw.CorruptError):
        data.read(lambda db: db.execute("SELECT digest, body FROM policy").fetchall())
    assert isinstance(data.read(names), list)
    with pytest.raises(KeyError), data.reader() as db:
        slip(db)


# --- what cannot be opened ---


def test_a_file_that_is_refused_is_tried_again_after_some_seconds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Store(path)
    data.open()
    data.close()
    with closing(apsw.Connection(str(path))) as db:
        ((version,),) = db.execute("PRAGMA user_version").fetchall()
        db.execute("PRAGMA user_version = 99")

        async def refused() -> None:
            with pytest.raises(ConfigurationError, match="newer"):
                await data.write(put("a"))

        asyncio.run(refused())
        assert data.trouble is not None
        assert "newer" in data.trouble
        db.execute(f"PRAGMA user_version = {version}")
        asyncio.run(refused())
    monkeypatch.setattr(data, "_refused", (0.0, data._refused[1]))  # type: ignore[index]  # it was refused
    assert data.write_now(put("a")) == "a"
    assert data.trouble is None
    data.close()


def test_where_the_file_is_can_be_asked_before_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBLIX_HOME", str(tmp_path))
    data = Store()
    assert data.path == tmp_path / "oblix.db"
    assert not data.exists()
    assert data.trouble is None
    data.open()
    assert data.exists()
    data.close()
    monkeypatch.setattr("oblix.storage.sqlite.home", lambda: Path("~/.local/share/oblix"))
    assert not Store().exists()


# --- where it lies ---


def test_a_relative_path_means_the_folder_that_the_program_was_in_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each look for the file would look in another folder, and find it moved away."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    monkeypatch.chdir(first)
    data = Store("oblix.db")
    data.write_now(put("a"))
    monkeypatch.chdir(second)
    for name in ("b", "c"):
        data.close()
        data.write_now(put(name))
    assert data.read(names) == ["a", "b", "c"]
    assert data.path == first / "oblix.db"
    data.close()
    assert list(second.iterdir()) == []


def test_a_relative_home_means_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OBLIX_HOME", "kept")
    data = Store()
    assert not data.exists()
    monkeypatch.chdir("/")
    assert data.path == tmp_path / "kept" / "oblix.db"
