"""Waiting for others to give back what they hold: in order, without starving anybody, and never for nothing. The clock is simulated."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oblix.errors import AttemptFailed
from oblix.ledger import Ledger
from oblix.ledger.entries import Pair
from oblix.ledger.hold import Hold
from oblix.ledger.waiting import EVERY, MOST_PASSED, POLL, Line
from oblix.testing import run
from oblix.types.money import Claim

from .booking import DAY, Clock, claim, figures, is_sound, ledger_on, limit, spent, store_of, written


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "oblix.db"


def exact(tokens: int, **given: Any) -> Claim:
    """A call with which less than its bound makes no sense: its model always writes that much."""
    return claim(tokens, model=f"openai:{tokens}", **given)


async def taught(ledger: Ledger, *sizes: int) -> None:
    await ledger.open()
    for tokens in sizes:
        for _ in range(8):
            ledger._history.note(f"openai:{tokens}", tokens)


def now() -> float:
    return asyncio.get_running_loop().time()


async def soon() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_who_is_refused_waits_for_what_others_hold(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file, limit(100))
        await taught(ledger, 80)
        first = await ledger.reserve(exact(80))
        waits = asyncio.create_task(ledger.reserve(exact(80), until=30.0))
        await asyncio.sleep(5.0)
        assert not waits.done()
        first.settle(spent(10))
        second = await waits
        assert second.micro_usd == 80
        assert now() == pytest.approx(5.0, abs=2 * POLL)
        assert len(ledger._line) == 0
        second.settle(spent(80))
        assert is_sound(await written(ledger))

    run(main())


def test_nobody_waits_for_what_cannot_come(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file, limit(100))
        await taught(ledger, 80)
        (await ledger.reserve(exact(80))).settle(spent(30))
        held = await ledger.reserve(claim(10))
        with pytest.raises(AttemptFailed):  # 70 would be left at best
            await ledger.reserve(exact(80), until=30.0)
        assert now() == 0.0
        waits = asyncio.create_task(ledger.reserve(exact(80, approved=False), until=30.0))
        with pytest.raises(AttemptFailed):
            await waits
        held.settle(spent(0))

    run(main())


def test_a_wait_ends_when_it_has_become_useless(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file, limit(100))
        await taught(ledger, 80)
        first = await ledger.reserve(exact(80))
        waits = asyncio.create_task(ledger.reserve(exact(80), until=30.0))
        await asyncio.sleep(1.0)
        first.settle(spent(70))
        with pytest.raises(AttemptFailed):
            await waits
        assert now() == pytest.approx(1.0, abs=2 * POLL)

    run(main())


def test_a_wait_ends_at_its_time_and_at_once_when_it_is_cancelled(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file, limit(100))
        await taught(ledger, 80)
        held = await ledger.reserve(exact(80))
        with pytest.raises(AttemptFailed) as caught:
            await ledger.reserve(exact(80), until=7.0)
        assert now() == pytest.approx(7.0, abs=2 * POLL)
        assert caught.value.room is not None
        assert caught.value.room.held_usd == 80e-6
        waits = asyncio.create_task(ledger.reserve(exact(80), until=30.0))
        other = asyncio.create_task(ledger.reserve(exact(80), until=30.0))
        await soon()
        waits.cancel()
        await soon()
        assert waits.cancelled()
        held.settle(spent(0))
        assert (await other).micro_usd == 80
        assert now() == pytest.approx(7.0, abs=2 * POLL)

    run(main())


def test_the_turn_passes_on_when_its_owner_leaves_just_then(file: Path) -> None:
    """A turn that is offered and not taken up must not stop the line."""

    async def main() -> None:
        ledger = ledger_on(file, limit(100))
        await taught(ledger, 80)
        held = await ledger.reserve(exact(80))
        first = asyncio.create_task(ledger.reserve(exact(80), until=30.0))
        second = asyncio.create_task(ledger.reserve(exact(80), until=30.0))
        await soon()
        held.settle(spent(0))  # the first one's turn …
        first.cancel()  # … which it never takes up
        assert (await second).micro_usd == 80
        assert first.cancelled()
        assert figures(await written(ledger)) == [(0, 80, 0)]

    run(main())


def test_first_come_first_served(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file, limit(100))
        await taught(ledger, 60)
        held, order = await ledger.reserve(exact(60)), []

        async def one(number: int) -> None:
            hold = await ledger.reserve(exact(60), until=30.0)
            order.append(number)
            await asyncio.sleep(0.5)
            hold.settle(spent(1))

        async with asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(one(number))
                await soon()
            held.settle(spent(1))
        assert order == list(range(10))
        assert is_sound(await written(ledger))

    run(main())


def test_a_small_one_may_pass_a_large_one_but_not_for_ever(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file, limit(11_300))
        await taught(ledger, 40, 9_900)
        holds = [await ledger.reserve(exact(40)) for _ in range(249)]
        large = asyncio.create_task(ledger.reserve(exact(9_900), until=1000.0))
        await soon()
        passed = 0
        for _ in range(MOST_PASSED + 20):
            small = asyncio.create_task(ledger.reserve(exact(40), until=now() + 0.5))
            await asyncio.wait([small])
            refused = small.exception()
            if isinstance(refused, AttemptFailed):
                assert refused.room is not None
                assert refused.room.left_usd >= 40e-6  # there is room for it, which is kept
            else:
                holds.append(small.result())
                passed += 1
            holds.pop(0).settle(spent(0))
            await soon()
        assert passed == MOST_PASSED
        for hold in holds:
            hold.settle(spent(0))
        assert (await large).micro_usd == 9_900
        assert is_sound(await written(ledger))

    run(main())


def test_who_is_passed_too_often_bars_only_its_own_budget(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file, limit(125, "tag", "day", "work"))
        await taught(ledger, 90, 10)
        held = await ledger.reserve(exact(90, tags=("work",)))
        waits = asyncio.create_task(ledger.reserve(exact(90, tags=("work",)), until=30.0))
        await asyncio.sleep(1.0)
        ledger._line._places[0].passed = MOST_PASSED
        barred = asyncio.create_task(ledger.reserve(exact(10, tags=("work",)), until=30.0))
        await soon()
        assert not barred.done()
        assert (await ledger.reserve(exact(10, tags=("play",)), until=30.0)).micro_usd == 10
        held.settle(spent(0))
        assert (await waits).micro_usd == 90
        assert (await barred).micro_usd == 10

    run(main())


def test_what_another_process_gives_back_is_seen(file: Path) -> None:
    """Two connections on one file: what the one writes the other finds out by looking."""

    async def main() -> None:
        ours, theirs = ledger_on(file, limit(100)), ledger_on(file, limit(100))
        await taught(ours, 80)
        await taught(theirs, 80)
        held = await theirs.reserve(exact(80))
        waits = asyncio.create_task(ours.reserve(exact(80), until=30.0))
        await asyncio.sleep(3.0)
        assert not waits.done()
        held.settle(spent(5))
        assert (await waits).micro_usd == 80
        assert now() < 3.0 + 2 * POLL
        assert is_sound(await written(ours))

    run(main())


def test_a_new_window_ends_the_wait(file: Path) -> None:
    async def main() -> None:
        clock = Clock()
        ledger = ledger_on(file, limit(100), wall=clock)
        await taught(ledger, 80)
        await ledger.reserve(exact(80))
        waits = asyncio.create_task(ledger.reserve(exact(80), until=30.0))
        await soon()
        clock.now += DAY
        await waits
        assert now() <= POLL * (EVERY + 1)

    run(main())


def test_a_raised_limit_ends_the_wait(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file)
        await ledger.set_limit(limit(100))
        await taught(ledger, 80)
        await ledger.reserve(exact(80))
        waits = [asyncio.create_task(ledger.reserve(exact(80), until=30.0)) for _ in range(2)]
        await soon()
        await ledger.set_limit(limit(170))
        assert (await waits[0]).micro_usd == 80
        await ledger.reset_limit("all", "day")
        assert (await waits[1]).micro_usd == 80
        assert now() == 0.0

    run(main())


def test_a_top_up_may_wait_and_goes_first(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file, limit(112))
        await taught(ledger, 50)
        grows, other = await ledger.reserve(exact(50)), await ledger.reserve(exact(50))
        assert not await grows.raise_to(80)
        waits = asyncio.create_task(ledger.reserve(exact(50), until=30.0))
        await soon()
        topped = asyncio.create_task(grows.raise_to(80, until=30.0))
        await asyncio.sleep(1.0)
        other.settle(spent(0))
        assert await topped
        assert not waits.done()
        assert not await grows.raise_to(120, until=2.0)  # for that nobody holds enough
        assert now() == pytest.approx(1.0, abs=2 * POLL)
        assert not await asyncio.create_task(_raised_in_vain(ledger, grows))
        waits.cancel()

    run(main())


async def _raised_in_vain(ledger: Ledger, hold: Hold) -> bool:
    small = await ledger.reserve(claim(20, model="openai:a"))
    try:
        return await hold.raise_to(95, until=now() + 2.0)
    finally:
        assert now() == pytest.approx(3.0, abs=2 * POLL)
        small.settle(spent(0))


def test_nothing_is_left_behind_wherever_a_call_is_cancelled(file: Path) -> None:
    """At each point where it may be interrupted: money comes back, the line goes on, and no timer is left."""

    async def main() -> None:
        ledger = ledger_on(file, limit(100))
        await taught(ledger, 80)
        for steps in range(12):
            held = await ledger.reserve(exact(80))
            call = asyncio.create_task(ledger.reserve(exact(80), until=now() + 30.0))
            for step in range(steps):
                if step == 5:
                    held.settle(spent(0))
                await asyncio.sleep(0)
            call.cancel()
            done, _ = await asyncio.wait([call])
            for each in done:
                if not each.cancelled():
                    each.result().settle(spent(0))
            held.settle(spent(0))
            assert figures(await written(ledger)) == [(0, 0, 0)]
            assert len(ledger._line) == 0
        assert is_sound(await written(ledger))
        ledger.close()

    run(main())


calls = st.lists(
    st.tuples(
        st.integers(1, 120),  # tokens
        st.floats(0, 3),  # seconds after which it comes …
        st.floats(0, 4),  # … and works …
        st.floats(0, 1),  # … and the share of its money that it costs
        st.sampled_from(["waits", "leaves", "does not wait", "grows"]),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls, st.integers(1, 400))
def test_whatever_comes_the_limit_holds_and_everybody_gets_an_answer(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[int, float, float, float, str]], most: int
) -> None:
    file = tmp_path_factory.mktemp("line") / "oblix.db"

    async def main() -> None:
        ledger, patience, charged = ledger_on(file, limit(most)), 6.0, []
        await ledger.open()

        def is_kept() -> bool:
            return all(settled + reserved <= most for settled, reserved, _ in figures(store_of(ledger)))

        async def one(tokens: int, comes: float, works: float, share: float, kind: str) -> None:
            await asyncio.sleep(comes)
            until = None if kind == "does not wait" else now() + patience
            try:
                async with asyncio.timeout(works if kind == "leaves" else None):
                    hold = await ledger.reserve(claim(tokens), until=until)
            except (AttemptFailed, TimeoutError):
                assert now() <= comes + patience + 0.001
                return
            assert is_kept()
            await asyncio.sleep(works)
            if kind == "grows":
                await hold.raise_to(hold.micro_usd + tokens, until=now() + 1.0)
                assert is_kept()
            charged.append(round(hold.micro_usd * share))
            hold.settle(spent(charged[-1]))

        await asyncio.gather(*(one(*each) for each in calls))
        store = await written(ledger)
        assert is_kept()
        assert len(ledger._line) == 0
        assert figures(store) in ([], [(sum(charged), 0, 0)])
        assert is_sound(store)
        ledger.close()
        await asyncio.to_thread(store.close)

    run(main())


def test_what_comes_back_in_one_turn_of_the_loop_is_offered_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gives something back does not go through the whole line for it: with 1,000 in it that took 12 ms each time."""
    asked: list[str] = []
    may_try = Ledger._may_try

    def counted(ledger: Ledger, given: Claim, *rest: Any) -> bool:
        asked.append(given.id)
        return may_try(ledger, given, *rest)

    async def main() -> None:
        ledger = ledger_on(file, limit(100))
        await taught(ledger, 90)
        held = [await ledger.reserve(claim(10)) for _ in range(5)]
        monkeypatch.setattr(Ledger, "_may_try", counted)
        waits = [asyncio.create_task(ledger.reserve(exact(90), until=0.01)) for _ in range(3)]
        await soon()
        asked.clear()
        for each in held[:3]:
            each.settle(spent(0))
        assert asked == []
        await soon()
        assert len(asked) == len(set(asked)) == 3
        assert len(await asyncio.gather(*waits, return_exceptions=True)) == 3
        for each in held[3:]:
            each.settle(spent(0))

    run(main())


def test_what_comes_back_while_somebody_tries_is_offered_again() -> None:
    """Its figures were older than that; and without it nobody would be asked before the next look."""

    async def main() -> None:
        line = Line(has_changed=lambda: False, refresh=lambda: None)
        pairs: tuple[Pair, ...] = (("all", ""),)
        tries, other = line.place(pairs), line.place(pairs, lambda: False)
        turn = asyncio.create_task(tries.wait_turn(30.0))
        waits = asyncio.create_task(other.wait_turn(30.0))
        await soon()
        line.wake()
        assert await turn
        line.wake()
        await soon()
        assert await tries.wait_turn(30.0), "it got nothing, and is asked again at once"
        assert asyncio.get_running_loop().time() == 0.0
        tries.leave(is_served=False)
        waits.cancel()
        other.leave(is_served=False)
        line.close()

    run(main())
