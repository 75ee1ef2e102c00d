"""What is written soon: beside the path, in its order, and never without being told of."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from oblix.storage import file, jobs, soon, store
from oblix.storage.store import Store

from .test_store import held, names, put, slip, whose

Work = Callable[[apsw.Connection], object]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "oblix.db"


@pytest.fixture
def data(path: Path) -> Iterator[Store]:
    made = Store(path)
    made.open()
    yield made
    made.close()


def in_the_file(path: Path) -> list[str]:
    """What anybody else finds there."""
    with closing(apsw.Connection(str(path))) as db:
        return names(db)


def test_it_is_written_in_the_loops_next_turn(data: Store, path: Path) -> None:
    async def main() -> None:
        data.soon(put("a"))
        data.soon(put("b"))
        assert in_the_file(path) == []
        await asyncio.sleep(0)
        assert in_the_file(path) == ["a", "b"]

    asyncio.run(main())


def test_what_is_written_before_that_takes_it_along_in_one_transaction(data: Store, path: Path) -> None:
    commits: list[int] = []

    async def main() -> None:
        await data.write(put("first"))
        assert data._opened is not None
        data._opened.db.set_commit_hook(lambda: bool(commits.append(1)))  # type: ignore[func-returns-value]
        data.soon(put("a"))
        assert await data.write(put("b")) == "b"
        assert (in_the_file(path), len(commits)) == (["first", "a", "b"], 1)
        await asyncio.sleep(0)
        assert len(commits) == 1  # nothing is left to be done

    asyncio.run(main())


@pytest.mark.parametrize("look", [Store.read, lambda data, work: asyncio.run(data.read_aside(work)), Store.write_now])
def test_who_reads_through_the_same_store_finds_it(data: Store, look: Callable[[Store, Work], object]) -> None:
    async def main() -> None:
        data.soon(put("a"))

    loop = asyncio.new_event_loop()
    loop.run_until_complete(asyncio.wait_for(main(), None))
    assert look(data, names) == ["a"]
    loop.close()


def test_outside_of_a_loop_it_is_done_at_once(data: Store, path: Path) -> None:
    data.soon(put("a"))
    assert in_the_file(path) == ["a"]


def test_a_loop_that_never_gets_its_turn_gathers_no_more_than_a_bound(data: Store, path: Path) -> None:
    async def main() -> None:
        for number in range(soon.MOST + 1):
            data.soon(put(f"{number}"))
        assert len(in_the_file(path)) == soon.MOST

    asyncio.run(main())
    assert len(in_the_file(path)) == soon.MOST + 1


def test_what_a_closed_loop_left_is_written_with_the_next(data: Store, path: Path) -> None:
    loop = asyncio.new_event_loop()
    loop.call_soon(data.soon, put("a"))
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert in_the_file(path) == []

    async def main() -> None:
        data.soon(put("b"))

    asyncio.run(main())
    assert in_the_file(path) == ["a", "b"]


def test_the_end_of_the_store_is_no_end_of_it(data: Store, path: Path) -> None:
    async def main() -> None:
        data.soon(put("a"))
        await data.shut()

    asyncio.run(main())
    assert in_the_file(path) == ["a"]


def test_one_that_goes_wrong_takes_nobody_with_it(data: Store, path: Path) -> None:
    """Neither those beside it, nor the write that took it along."""
    told: list[str] = []

    async def main() -> None:
        data.soon(put("a"))
        data.soon(slip, lambda error: told.append(repr(error)))
        data.soon(put("b"))
        assert await data.write(put("c")) == "c"

    asyncio.run(main())
    assert (in_the_file(path), told) == (["a", "b", "c"], ["KeyError('slip')"])


def test_a_write_that_goes_wrong_takes_none_of_them_with_it(data: Store, path: Path) -> None:
    async def main() -> None:
        data.soon(put("a"))
        with pytest.raises(KeyError, match="slip"):
            await data.write(slip)
        data.soon(put("b"))
        with pytest.raises(apsw.ConstraintError):
            data.write_now(put("a"))

    asyncio.run(main())
    assert in_the_file(path) == ["a", "b"]


def test_while_another_process_writes_it_waits_in_the_queue(data: Store, path: Path) -> None:
    threads: list[str] = []

    async def main() -> None:
        with held(path):
            data.soon(put("a"))
            data.soon(whose(threads))
            await asyncio.sleep(0)
            last = asyncio.create_task(data.write(put("b")))
            await asyncio.sleep(0)
            assert in_the_file(path) == []
        await last

    asyncio.run(main())
    assert in_the_file(path) == ["a", "b"]
    assert threads[0].startswith("oblix-store")


def test_a_queue_that_is_full_is_told_of(data: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MOST_WAITING", 0)
    told: list[str] = []

    async def main() -> None:
        with held(path):
            for name in ("a", "b"):
                data.soon(put(name), lambda error: told.append(str(error)))
            await asyncio.sleep(0)

    asyncio.run(main())
    data.close()
    assert (in_the_file(path), told) == ([], ["0 writes wait for the data file already"] * 2)


def test_a_child_process_leaves_it_to_its_parent(data: Store, path: Path) -> None:
    async def main() -> None:
        data.soon(put("a"))
        store._after_fork()
        await data.write(put("b"))

    asyncio.run(main())
    assert in_the_file(path) == ["b"]
    for db in file._LEFT_ALONE:
        db.close()
    file._LEFT_ALONE.clear()


def test_many_threads_lose_none_and_double_none(data: Store, path: Path) -> None:
    def work(name: str) -> None:
        async def main() -> None:
            for number in range(50):
                data.soon(put(f"{name} soon {number}"))
                if number % 5 == 0:
                    await data.write(put(f"{name} {number}"))
                    await asyncio.sleep(0)

        asyncio.run(main())

    threads = [threading.Thread(target=work, args=(f"{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    data.close()
    found = in_the_file(path)
    assert len(found) == len(set(found)) == 4 * 60
    for name in range(4):  # each thread's own are in their order
        mine = [each for each in found if each.startswith(f"{name} soon")]
        assert mine == [f"{name} soon {number}" for number in range(50)]
