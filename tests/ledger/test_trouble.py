"""Processes that die, disks that are full, callers that leave: no money is lost sight of."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from oblix.errors import AttemptFailed, ConfigurationError, FailureKind
from oblix.ledger import Ledger, entries, failing
from oblix.ledger.owner import OVERDUE
from oblix.ledger.upkeep import BEAT, LEASE, RENEWED
from oblix.storage.store import Store
from oblix.testing import run
from oblix.types.money import Limit, Spent

from .booking import DAY, NOON, Clock, claim, figures, is_sound, ledger_on, limit, spent, store_of, told, written

# A process that reserves, tells, and then does what it is told.
HOLDS = """
import asyncio, sys
from pathlib import Path
from typing import Any
from tests.ledger.booking import claim, ledger_on
async def main():
    ledger = ledger_on(Path(sys.argv[1]))
    hold = await ledger.reserve(claim(70, tags=("work",), key="k"))
    print(hold.call.id, flush=True)
    sys.stdin.readline()
asyncio.run(main())
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "oblix.db"


def holder(file: Path) -> subprocess.Popen[str]:
    """Another process, which holds 70."""
    program = [sys.executable, "-c", HOLDS, str(file)]
    child = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline()
    return child


def kill(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate()


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
    with tempfile.TemporaryDirectory(prefix="oblix-place-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def full(store: Store) -> Iterator[None]:
    """No page can be added to the file, and the last one of the entries is full: SQLite itself says so."""
    store.open()
    assert store._opened is not None
    db = store._opened.db
    db.execute("PRAGMA max_page_count = 1").fetchall()  # no fewer than there are
    smallest = entries.about(("all", "", "day"))
    with pytest.raises(apsw.FullError):  # noqa: PT012
        while True:
            store.write_now(lambda db: entries.append(db, "limit", smallest, 0, at=0.0, day=""))
    try:
        yield
    finally:
        db.execute("PRAGMA max_page_count = 1000000000").fetchall()


def test_what_a_dead_process_held_is_charged_when_the_next_one_starts(file: Path) -> None:
    kill(holder(file))

    async def main() -> None:
        ledger = ledger_on(file, limit(100, "tag", "day", "work"))
        await ledger.open()
        assert figures(await written(ledger)) == figures(await written(ledger), "tag", "day", "work") == [(70, 0, 0)]
        assert told(await written(ledger), "kind, micro, certain, outcome, key")[-1] == ("reap", 70, 0, "reaped", "k")
        assert is_sound(await written(ledger))

    run(main())


def test_who_holds_something_sees_others_die(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file)
        hold = await ledger.reserve(claim(10))
        child = await asyncio.to_thread(holder, file)
        await asyncio.sleep(10 * BEAT)
        assert figures(await written(ledger)) == [(0, 80, 0)]  # it lives
        await asyncio.to_thread(kill, child)
        await asyncio.sleep(2 * BEAT)
        assert figures(await written(ledger)) == [(70, 10, 0)]
        hold.settle(spent(10))
        await asyncio.sleep(2 * BEAT)
        assert not ledger._upkeep.is_going
        assert is_sound(await written(ledger))

    run(main())


def test_a_wait_for_a_dead_process_ends(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file, limit(80))
        child = await asyncio.to_thread(holder, file)
        for _ in range(9):
            ledger._history.note("openai:a", 60)
        waits = asyncio.create_task(ledger.reserve(claim(60), until=30.0))
        await asyncio.sleep(1.0)
        assert not waits.done()
        await asyncio.to_thread(kill, child)
        with pytest.raises(AttemptFailed) as caught:
            await waits
        assert caught.value.room is not None
        assert (caught.value.room.left_usd, caught.value.room.held_usd) == (10e-6, 0.0)

    run(main())


def abroad(ledger: Ledger) -> None:
    """As if it were on another machine, or in another container."""
    ledger._upkeep.owner = "another boot/another space/1@1"


def test_a_machine_that_cannot_be_looked_into_has_its_lease(file: Path) -> None:
    async def main() -> None:
        clock = Clock()
        far, near = ledger_on(file, wall=clock), ledger_on(file, wall=clock)
        await far.open()
        abroad(far)
        hold = await far.reserve(claim(50))
        far.close()  # so that its leases are not renewed
        clock.now += LEASE - 1
        await near.open()
        assert figures(await written(near)) == [(0, 50, 0)]
        clock.now += 2
        other = await near.reserve(claim(1))
        await asyncio.sleep(2 * BEAT)
        assert figures(await written(near)) == [(50, 1, 0)]
        hold.settle(spent(20, output_tokens=20))
        await written(far)
        assert figures(await written(near)) == [(20, 1, 0)]
        assert told(await written(near), "kind, micro, output_tokens")[-1] == ("correct", -30, 20)
        far._settle(hold.call, spent(20))  # once more changes nothing
        assert figures(await written(near)) == [(20, 1, 0)]
        other.settle(spent(1))
        assert is_sound(await written(near))

    run(main())


def test_a_reaped_stream_stops_where_a_limit_holds(file: Path) -> None:
    async def main() -> None:
        clock = Clock()
        far, near = ledger_on(file, limit(1000), wall=clock), ledger_on(file, wall=clock)
        await far.open()
        abroad(far)
        hold = await far.reserve(claim(50))
        far.close()
        clock.now += LEASE + 1
        await near.open()
        assert not await hold.raise_to(60)
        free = ledger_on(file, wall=clock)
        await free.open()
        gone = await free.reserve(claim(50))
        free._settle(gone.call, spent(5))
        assert await gone.raise_to(60)  # nothing to be kept to
        assert gone.micro_usd == 60

    run(main())


def test_what_a_closed_loop_held_is_charged_though_its_process_lives(file: Path) -> None:
    """A notebook whose cell was stopped in mid-call: nobody will settle that, and the next client of the process does not renew it."""
    clock = Clock()

    async def first() -> Ledger:
        ledger = ledger_on(file, limit(100), wall=clock)
        await ledger.reserve(claim(40))
        return ledger

    async def second() -> None:
        ledger = ledger_on(file, limit(100), wall=clock)
        hold = await ledger.reserve(claim(5))
        while clock.now < NOON + OVERDUE + 2 * LEASE:
            assert figures(store_of(ledger)) == [(0, 45, 0)] or clock.now > NOON + OVERDUE
            clock.now += BEAT
            await asyncio.sleep(BEAT)
        hold.settle(spent(5))
        assert figures(await written(ledger)) == [(45, 0, 0)]

    left = run(first())
    run(second())
    store_of(left).close()


def test_leases_are_renewed_while_something_is_held(file: Path) -> None:
    async def main() -> None:
        clock = Clock()
        ledger = ledger_on(file, wall=clock)
        hold = await ledger.reserve(claim(50))

        def lease() -> float:
            ((until,),) = store_of(ledger).read(lambda db: db.execute("SELECT lease_until FROM reservation").fetchall())
            return float(str(until))

        for _ in range(100):
            clock.now += BEAT
            await asyncio.sleep(BEAT)
        assert lease() > clock.now + LEASE - RENEWED - 2 * BEAT
        clock.now -= DAY  # a clock that is set back must not make a lease of a day
        await asyncio.sleep(2 * BEAT)
        assert lease() <= clock.now + LEASE
        hold.settle(spent(1))

    run(main())


def test_a_full_disk_refuses_where_a_limit_holds(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        ledger = ledger_on(file, limit(100_000))
        held = await ledger.reserve(claim(50))
        with full(store_of(ledger)):
            for _ in range(3):
                with pytest.raises(AttemptFailed, match="cannot be written down") as caught:
                    await ledger.reserve(claim(2000))
                assert caught.value.kind is FailureKind.LEDGER
                assert caught.value.hint is not None
            assert not await held.raise_to(60)
            held.settle(spent(40))
            await written(ledger)
            assert len(ledger._owed) == 1
        assert sum("cannot be written" in record.message for record in caplog.records) == 1
        await asyncio.sleep(2 * BEAT)
        assert len(ledger._owed) == 0
        assert figures(await written(ledger))[0][0] == 40
        (await ledger.reserve(claim(50))).settle(spent(50))
        assert figures(await written(ledger))[0][0] == 90

    with caplog.at_level(logging.ERROR, "oblix.ledger"):
        run(main())


def test_a_limit_that_another_program_set_holds_on_a_full_disk_too(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file)
        await ledger.open()
        await ledger_on(file).set_limit(limit(100_000))
        with full(store_of(ledger)), pytest.raises(AttemptFailed, match="cannot be written down"):
            await ledger.reserve(claim(2000))

    run(main())


def test_without_limits_a_full_disk_stops_nobody_and_all_is_written_later(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file)
        first = await ledger.reserve(claim(50))
        with full(store_of(ledger)):
            holds = [await ledger.reserve(claim(2000)) for _ in range(5)]
            assert {(hold.micro_usd, hold.cap_micro_usd) for hold in holds} == {(2000, None)}
            assert await first.raise_to(90)
            assert first.micro_usd == 90
            for hold in (first, *holds):
                hold.settle(spent(30))
            await written(ledger)
            assert len(ledger._owed) == 6
        ledger.close()  # a last attempt
        await written(ledger)
        assert len(ledger._owed) == 0
        assert figures(await written(ledger))[0][0] == 180

    run(main())


def test_what_is_owed_is_bounded(file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failing, "MOST_OWED", 4)

    async def main() -> None:
        ledger = ledger_on(file)
        await ledger.open()
        with full(store_of(ledger)):
            for _ in range(6):
                (await ledger.reserve(claim(2000))).settle(spent(30))
            await written(ledger)
            assert len(ledger._owed) == 4
        assert sum("forgotten" in record.message for record in caplog.records) == 2
        ledger.close()

    run(main())


def test_close_repays_all_that_is_owed(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file)
        await ledger.open()
        with full(store_of(ledger)):
            calls = [entries.Call(claim().id, "r", "openai:a", "cloud") for _ in range(2 * failing.REPAID + 1)]
            ledger._owed.settle(*((call, spent(10), NOON) for call in calls))
            await written(ledger)
            assert len(ledger._owed) == 2 * failing.REPAID + 1
            ledger.close()  # tries, and goes on trying no longer than it helps
            await written(ledger)
            assert len(ledger._owed) == 2 * failing.REPAID + 1
        ledger.close()
        assert len(ledger._owed) == 0
        assert figures(await written(ledger)) == [(10 * (2 * failing.REPAID + 1), 0, 0)]
        assert is_sound(store_of(ledger))

    run(main())


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(spent(-5), id="money back"),
        pytest.param(spent(failing.MOST_CHARGED + 1), id="more than there is"),
        pytest.param(spent(10, output_tokens=10**30), id="a number that the file cannot hold"),
    ],
)
def test_a_charge_that_the_books_refuse_is_charged_as_reserved(
    file: Path, bad: Spent, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        ledger = ledger_on(file)
        (await ledger.reserve(claim(50))).settle(spent(40))
        (await ledger.reserve(claim(50))).settle(bad)
        (await ledger.reserve(claim(50))).settle(spent(30))
        await asyncio.sleep(2 * BEAT)
        assert len(ledger._owed) == 0
        assert figures(await written(ledger)) == [(40 + 50 + 30, 0, 0)]
        assert told(await written(ledger), "micro, certain", "kind = 'settle'") == [(40, 1), (30, 1), (50, 0)]
        assert is_sound(await written(ledger))

    with caplog.at_level(logging.ERROR, "oblix.ledger"):
        run(main())
    (record,) = caplog.records  # the disk works: nothing is said of that
    assert "as it was reserved" in record.message


def test_a_charge_that_the_books_refuse_keeps_no_others_out(file: Path) -> None:
    """After a disk that failed they come in one transaction."""

    async def main() -> None:
        ledger = ledger_on(file)
        holds = [await ledger.reserve(claim(2000)) for _ in range(3)]
        with full(store_of(ledger)):
            unheard = [await ledger.reserve(claim(2000)) for _ in range(2)]  # they hold nothing in the books
            holds[0].settle(spent(-1))
            unheard[0].settle(spent(-1))
            unheard[1].settle(spent(7, output_tokens=10**30))
            for hold in holds[1:]:
                hold.settle(spent(10))
            await written(ledger)
            assert len(ledger._owed) == 5
        ledger.close()
        assert figures(await written(ledger)) == [(2000 + 7 + 20, 0, 0)]
        assert is_sound(store_of(ledger))

    run(main())


def test_a_charge_is_given_up_where_somebody_changed_the_balances(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file)
        holds = [await ledger.reserve(claim(50)) for _ in range(2)]
        await store_of(ledger).write(lambda db: db.execute("UPDATE account SET reserved = 60").fetchall())
        for hold in holds:
            hold.settle(spent(10))
        await asyncio.sleep(2 * BEAT)
        assert len(ledger._owed) == 0
        assert figures(await written(ledger)) == [(10, 10, 0)]

    run(main())


@pytest.mark.parametrize("wish", ["refuse", "go-on"])
def test_the_policy_may_be_told(file: Path, wish: failing.OnFailure) -> None:
    async def main() -> None:
        ledger = ledger_on(file, *([limit(10**6)] if wish == "go-on" else []), on_failure=wish)
        await ledger.open()
        with full(store_of(ledger)):
            if wish == "refuse":
                with pytest.raises(AttemptFailed):
                    await ledger.reserve(claim(2000))
            else:
                assert (await ledger.reserve(claim(2000))).micro_usd == 2000

    run(main())


@pytest.mark.parametrize(
    ("own", "wish", "answers"),
    [([], None, True), ([limit(100)], None, False), ([limit(100)], "go-on", True), ([], "refuse", False)],
    ids=["no limit", "a limit", "told to go on", "told to refuse"],
)
def test_books_that_end_with_the_program_hold_nobody_back(
    file: Path, own: list[Limit], wish: failing.OnFailure | None, answers: bool
) -> None:
    """Where the file's place cannot be written to, memory stands in for it, in each process by itself."""
    file.write_text("a file in the place of a folder")

    async def main() -> None:
        ledger = ledger_on(file / "oblix.db", *own, on_failure=wish)
        if answers:
            (await ledger.reserve(claim(50))).settle(spent(50))
            assert figures(await written(ledger)) == [(50, 0, 0)]
        else:
            with pytest.raises(AttemptFailed, match="nothing is kept when this program ends") as caught:
                await ledger.reserve(claim(50))
            assert caught.value.kind is FailureKind.LEDGER
            assert "OBLIX_HOME" in (caught.value.hint or "")
        ledger.close()

    run(main())


def test_books_in_memory_that_somebody_asked_for_are_no_trouble() -> None:
    async def main() -> None:
        ledger = ledger_on(":memory:", limit(100), on_failure="refuse")
        (await ledger.reserve(claim(50))).settle(spent(50))
        assert figures(await written(ledger)) == [(50, 0, 0)]
        ledger.close()

    run(main())


def test_a_stored_limit_holds_in_a_file_that_became_read_only(open_place: Path) -> None:
    """Else each program would spend all of it."""
    file = open_place / "oblix.db"

    async def store_a_limit() -> None:
        ledger = ledger_on(file)
        await ledger.set_limit(limit(100))
        ledger.close()
        await store_of(ledger).shut()

    async def main() -> None:
        ledger = ledger_on(file)
        with pytest.raises(AttemptFailed, match="cannot be written") as caught:
            await ledger.reserve(claim(50))
        assert caught.value.kind is FailureKind.LEDGER
        ledger.close()
        await store_of(ledger).shut()

    run(store_a_limit())
    file.chmod(0o444)
    with nobody():
        run(main())


def test_a_file_of_a_newer_version_is_trouble_too(file: Path) -> None:
    db = apsw.Connection(str(file))
    db.execute("PRAGMA user_version = 999").fetchall()
    db.close()

    async def main() -> None:
        ledger = ledger_on(file)
        assert ledger.rooms(["openai:a"]) == {"openai:a": None}
        hold = await ledger.reserve(claim(50))
        await asyncio.sleep(2 * BEAT)  # it looks after others all the same
        hold.settle(spent(10))
        await asyncio.sleep(2.5 * BEAT)
        assert len(ledger._owed) == 1
        assert ledger._upkeep.dead() == []
        assert not ledger._has_changed()
        ledger._refresh()
        with pytest.raises(ConfigurationError, match="newer"):
            await asyncio.to_thread(ledger.standing)
        ledger.close()
        with pytest.raises(AttemptFailed, match="newer"):
            await ledger_on(file, limit(100)).reserve(claim(50))

    run(main())


def test_who_leaves_while_others_hold_the_file_leaves_nothing_behind(file: Path) -> None:
    """The reservation is in the writer's queue, or on its way; its release comes after it."""

    async def main() -> None:
        ledger = ledger_on(file, limit(100))
        await ledger.open()
        other = apsw.Connection(str(file))
        other.set_busy_timeout(2000)
        for patience in range(8):
            other.execute("BEGIN IMMEDIATE")
            call = asyncio.create_task(ledger.reserve(claim(60)))
            for _ in range(patience):
                await asyncio.sleep(0)
            call.cancel()
            other.execute("ROLLBACK")
            with pytest.raises(asyncio.CancelledError):
                await call
        hold = await ledger.reserve(claim(100))
        hold.settle(spent(1))
        assert is_sound(await written(ledger))
        assert figures(await written(ledger)) == [(1, 0, 0)]
        other.close()
        ledger.close()

    asyncio.run(main())


def test_who_leaves_after_it_was_written_gives_it_back(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file, limit(100))
        await ledger.open()
        done, store = asyncio.Event(), store_of(ledger)

        async def slow(work: Any) -> Any:
            found = await Store.write(store, work)
            done.set()
            await asyncio.sleep(60)
            return found

        store.write = slow  # type: ignore[method-assign]
        call = asyncio.create_task(ledger.reserve(claim(60)))
        await done.wait()
        assert figures(store) == [(0, 60, 0)]
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await Store.write(store, lambda _: None)
        assert figures(store) == [(0, 0, 0)]
        assert told(store, "kind, micro, outcome")[-1] == ("settle", 0, "cancelled")
        assert is_sound(store)

    run(main())


def test_books_that_somebody_broke_are_told_and_stop_nobody_without_limits(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file)
        hold = await ledger.reserve(claim(50))
        other = apsw.Connection(str(file))
        other.execute("DROP TABLE entry; DROP TABLE reservation; DROP TABLE budget").fetchall()
        assert ledger.rooms(["openai:a"]) == {"openai:a": None}
        await asyncio.sleep(2 * BEAT)  # looking after others
        assert not ledger._has_changed()
        ledger._refresh()
        assert ledger._upkeep.dead() == []
        hold.settle(spent(1))
        assert (await ledger.reserve(claim(50))).micro_usd == 50
        other.close()
        ledger.close()

    run(main())


def test_many_first_calls_learn_once(file: Path) -> None:
    async def main() -> None:
        first = ledger_on(file)
        (await first.reserve(claim(0, most_tokens=None, grows=True))).settle(spent(7, output_tokens=7))
        ledger = ledger_on(file, limit(120))
        await asyncio.gather(*(ledger.reserve(claim(10)) for _ in range(10)))
        assert figures(await written(ledger)) == [(7, 100, 0)]
        assert ledger._history._answers["openai:a"][1] == [7]

    run(main())
