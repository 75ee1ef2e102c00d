"""Reserve, top up, settle: what a client does with its books."""

from __future__ import annotations

import asyncio
from datetime import UTC
from math import inf
from pathlib import Path

import pytest

from oblix.errors import AttemptFailed, FailureKind
from oblix.ledger import Ledger, books
from oblix.ledger.balances import SHARED
from oblix.ledger.estimate import FEW, ROUNDED
from oblix.ledger.owner import me
from oblix.testing import run
from oblix.types.money import IN_FLIGHT
from oblix.types.spec import Price

from .booking import DAY, NOON, Clock, claim, figures, is_sound, ledger_on, limit, spent, store_of, told, written


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "oblix.db"


async def _learn(ledger: Ledger, tokens: int, *, is_steady: bool) -> None:
    """Enough answers of a model that its next ones are known to be so long, and to come while they are written, or not."""
    for _ in range(FEW):
        (await ledger.reserve(claim(tokens + 1))).settle(spent(0, output_tokens=tokens, is_steady=is_steady))


def test_what_is_reserved_is_charged_as_it_came(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file)
        hold = await ledger.reserve(claim(100))
        assert (hold.micro_usd, hold.cap_micro_usd, hold.cap_tokens) == (100, None, None)
        assert figures(await written(ledger)) == [(0, 100, 0)]
        hold.settle(spent(30))
        assert figures(await written(ledger)) == [(30, 0, 0)]
        assert told(await written(ledger)) == [("reserve", 100), ("settle", 30)]
        assert is_sound(await written(ledger))
        ledger.close()

    run(main())


def test_settling_twice_charges_once(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file)
        hold = await ledger.reserve(claim(100))
        hold.settle(spent(30))
        hold.settle(spent(40))
        assert not await hold.raise_to(500)
        ledger._settle(hold.call, spent(50))  # even where the same process forgot that it did
        assert figures(await written(ledger)) == [(30, 0, 0)]
        assert is_sound(await written(ledger))

    run(main())


def test_a_stored_limit_refuses_and_names_the_budget(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file)
        await ledger.set_limit(limit(100))
        first = await ledger.reserve(claim(60))
        with pytest.raises(AttemptFailed, match="'day' has no room for openai:a") as caught:
            await ledger.reserve(claim(60))
        assert caught.value.kind is FailureKind.BUDGET
        room = caught.value.room
        assert room is not None
        assert (room.name, room.limit_usd, room.left_usd, room.held_usd) == ("day", 100e-6, 40e-6, 60e-6)
        assert room.resets_at == ledger._calendar.resets_at("day", "2026-11-23")
        first.settle(spent(10))
        second = await ledger.reserve(claim(90))
        assert second.cap_micro_usd == 90
        assert figures(await written(ledger)) == [(10, 90, 0)]

    run(main())


def test_a_call_fits_all_of_its_budgets_or_none(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file, limit(1000), limit(30, "tag", "total", "work"))
        await ledger.set_limit(limit(25, "model", "month", "openai:a"))
        await ledger.set_limit(limit(20, "key", "day", "digest"))
        with pytest.raises(AttemptFailed, match="'tag work'"):
            await ledger.reserve(claim(31, tags=("work", "work"), model="openai:b"))
        with pytest.raises(AttemptFailed, match="'key digest a day'"):
            await ledger.reserve(claim(21, key="digest"))
        with pytest.raises(AttemptFailed, match="'model openai:a a month'"):
            await ledger.reserve(claim(26))
        store = await written(ledger)
        assert all(row[1] == 0 for scope in ("all", "tag", "model", "key") for row in figures(store, scope))
        hold = await ledger.reserve(claim(20, tags=("work", "work"), key="digest"))
        other = await ledger.reserve(claim(900, model="openai:b"))
        hold.settle(spent(20))
        other.settle(spent(900))
        assert figures(await written(ledger), "tag", "total", "work") == [(20, 0, 0)]
        assert figures(await written(ledger), "model", "month", "openai:a") == [(20, 0, 0)]
        assert figures(await written(ledger)) == [(920, 0, 0)]
        assert is_sound(await written(ledger))

    run(main())


def test_the_stricter_of_two_limits_counts(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file, limit(30), limit(10), limit(20))
        await ledger.set_limit(limit(15))
        assert ledger.has_limits
        rooms = ledger.rooms(["openai:a"])
        assert rooms["openai:a"] is not None
        assert rooms["openai:a"].limit_usd == 10e-6
        with pytest.raises(AttemptFailed):
            await ledger.reserve(claim(11))
        assert [(each.limit.micro_usd, each.is_own) for each in ledger.standing()] == [
            (15, False), (30, True), (10, True), (20, True),
        ]  # fmt: skip

    run(main())


def test_the_last_money_goes_to_whom_it_will_probably_do_for(file: Path) -> None:
    """With nobody else to give anything back, a call begins with what is left, if that pays a usual answer."""

    async def main() -> None:
        ledger = ledger_on(file, limit(100))
        for _ in range(20):
            (await ledger.reserve(claim(5, model="openai:short"))).settle(spent(1, output_tokens=1))
        (await ledger.reserve(claim(80))).settle(spent(30))
        hold = await ledger.reserve(claim(0, most_tokens=None, grows=True, prompt=10))  # would like 788
        assert (hold.micro_usd, hold.cap_micro_usd) == (50, 50)
        assert hold.pays_tokens == 50 - 10 - 32
        assert hold.cap_tokens == 40
        with pytest.raises(AttemptFailed) as caught:  # not even a sentence
            await ledger.reserve(claim(0, most_tokens=None, grows=True, prompt=10))
        assert caught.value.room is not None
        assert caught.value.room.left_usd == 0

    run(main())


def test_newcomers_leave_something_for_answers_that_grow(file: Path) -> None:
    """An eighth of what is held; those that have begun may use it."""

    async def main() -> None:
        ledger = ledger_on(file, limit(100))
        hold = await ledger.reserve(claim(80))
        with pytest.raises(AttemptFailed, match="kept"):
            await ledger.reserve(claim(11))
        assert (await ledger.reserve(claim(10))).micro_usd == 10
        assert hold.cap_micro_usd == 80
        assert await hold.raise_to(90)
        approved = await ledger.reserve(claim(0, most_tokens=0, approved=True))
        assert approved.micro_usd == 0
        assert told(await written(ledger), where="kind = 'allow'") == []

    run(main())


def test_money_is_topped_up_ahead_of_the_tokens(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file, limit(2000))
        await _learn(ledger, 300, is_steady=True)
        hold = await ledger.reserve(claim(0, most_tokens=None, grows=True, prompt=10))
        assert (hold.micro_usd, hold.cap_micro_usd) == (10 + 300 + IN_FLIGHT + ROUNDED, 2000)
        tokens, writes = 0, 0
        while tokens < 5000:
            tokens += 1
            if tokens > hold.pays_tokens:
                writes += 1
                if not await hold.top_up(tokens):
                    break
            assert hold.micro_usd >= 10 + tokens + 32  # what is on its way is paid
        assert hold.micro_usd <= 2000
        assert 1900 < tokens <= 2000 - 10 - 32 + 1
        assert writes < 12
        hold.settle(spent(10 + tokens))
        assert ledger.overrun == hold.overrun == 0
        assert is_sound(await written(ledger))

    run(main())


def test_a_bound_is_never_reserved_beyond(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file)
        hold = await ledger.reserve(claim(2000, grows=True))
        assert hold.micro_usd == 778 + 32 + 2
        assert await hold.top_up(790)
        assert await hold.top_up(1500)
        assert (hold.micro_usd, hold.pays_tokens) == (2000, float("inf"))
        small = await ledger.reserve(claim(20, grows=True))
        assert (small.micro_usd, small.pays_tokens) == (20, float("inf"))

    run(main())


def test_what_costs_nothing_for_an_answer_needs_no_top_up(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file, limit(100))
        free = claim(0, most_tokens=None, grows=True, prompt=40)
        hold = await ledger.reserve(
            type(free)(free.id, free.request_id, free.model_id, "cloud", 40, Price(1.0, 0.0, ""))
        )
        assert (hold.micro_usd, hold.pays_tokens, hold.cap_tokens) == (40, float("inf"), None)

    run(main())


def test_hidden_tokens_are_reserved_in_full(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file)
        assert (await ledger.reserve(claim(0, most_tokens=None))).micro_usd == 25_000
        hold = await ledger.reserve(claim(4000))
        assert (hold.micro_usd, hold.pays_tokens) == (4000, float("inf"))

    run(main())


def test_what_is_charged_above_the_reservation_is_a_debt(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file, limit(100))
        hold = await ledger.reserve(claim(80))
        hold.settle(spent(130))
        assert (hold.overrun, ledger.overrun) == (50, 50)
        assert figures(await written(ledger)) == [(130, 0, 0)]
        with pytest.raises(AttemptFailed) as caught:
            await ledger.reserve(claim(1))
        assert caught.value.room is not None
        assert caught.value.room.left_usd == 0

    run(main())


def test_what_was_never_reserved_is_charged_and_a_debt(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file, limit(100))
        await ledger.open()
        ledger.charge(claim(80), spent(130))
        assert figures(await written(ledger)) == [(130, 0, 0)]
        with pytest.raises(AttemptFailed):
            await ledger.reserve(claim(1))
        assert is_sound(await written(ledger))

    run(main())


def test_an_estimate_is_marked_as_such(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file)
        (await ledger.reserve(claim(80))).settle(spent(50, certain=False, outcome="failed", input_tokens=3))
        assert told(
            await written(ledger), "kind, certain, outcome, input_tokens, output_tokens", "kind = 'settle'"
        ) == [("settle", 0, "failed", 3, None)]

    run(main())


def test_what_the_user_approves_passes_and_is_written_down(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file, limit(100))
        await ledger.set_limit(limit(120))
        (await ledger.reserve(claim(90))).settle(spent(90))
        hold = await ledger.reserve(claim(100, approved=True, grows=True, most_tokens=50))
        assert hold.cap_micro_usd is None
        assert figures(await written(ledger)) == [(90, 50, 40)]
        assert await hold.raise_to(70)
        assert figures(await written(ledger)) == [(90, 70, 60)]
        assert told(await written(ledger), where="kind = 'allow'") == [("allow", 40), ("allow", 20)]
        hold.settle(spent(30))
        assert figures(await written(ledger)) == [(120, 0, 20)]  # what it did not use nobody else may have
        with pytest.raises(AttemptFailed):
            await ledger.reserve(claim(1))
        assert is_sound(await written(ledger))

    run(main())


def test_what_is_approved_has_all_that_it_may_come_to(file: Path) -> None:
    """It is told no bound of ours, so that less than its own would be passed."""

    async def main() -> None:
        ledger = ledger_on(file, limit(100))
        for asked in (claim(1000, approved=True), claim(1000, approved=True, grows=True)):
            hold = await ledger.reserve(asked)
            assert (hold.micro_usd, hold.cap_tokens) == (1000, None)
            settled, reserved, allowed = figures(await written(ledger))[0]
            assert settled + reserved == 100 + allowed
            hold.settle(spent(1000))
            assert hold.overrun == 0
        assert figures(await written(ledger)) == [(2000, 0, 1900)]

    run(main())


def test_of_two_limits_that_are_short_the_tighter_one_counts(file: Path) -> None:
    """For what is left at the beginning, for what is added, and for what is allowed beyond; whichever comes first."""

    async def main() -> None:
        for number, (everybody, model) in enumerate(((520, 500), (500, 520))):
            ledger = ledger_on(
                file.with_name(f"{number}.db"), limit(everybody), limit(model, "model", subject="openai:a")
            )
            (await ledger.reserve(claim(5000))).settle(spent(0))
            last = await ledger.reserve(claim(5000))
            assert (last.micro_usd, last.cap_micro_usd) == (500, 500)
            last.settle(spent(0))
            await _learn(ledger, 30, is_steady=True)
            hold = await ledger.reserve(claim(0, most_tokens=None, grows=True))
            while await hold.top_up(int(hold.pays_tokens) + 1):
                assert hold.micro_usd <= 500
            assert hold.micro_usd == 500
            hold.settle(spent(0))
            approved = await ledger.reserve(claim(1200, approved=True))
            store = await written(ledger)
            assert [figures(store)[0][2], figures(store, "model", "day", "openai:a")[0][2]] == [
                1200 - everybody,
                1200 - model,
            ]
            assert await approved.raise_to(1300)
            assert told(await written(ledger), where="kind = 'allow'") == [("allow", 700), ("allow", 100)]

    run(main())


def test_of_a_stored_limit_and_ones_own_the_stricter_one_says_what_is_allowed(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file, limit(120))
        await ledger.set_limit(limit(100))
        await ledger.reserve(claim(150, approved=True))
        assert figures(await written(ledger)) == [(0, 150, 50)]

    run(main())


def test_nobody_waits_where_one_of_two_limits_has_nothing_to_come_back(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file, limit(100), limit(50, "model", subject="openai:a"))
        (await ledger.reserve(claim(50))).settle(spent(50))
        await ledger.reserve(claim(40, model="openai:b"))
        with pytest.raises(AttemptFailed):
            await ledger.reserve(claim(20), until=30.0)
        assert asyncio.get_running_loop().time() == 0.0

    run(main())


def test_what_a_reaper_took_is_not_topped_up_under_a_stored_limit(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file)
        await ledger.set_limit(limit(100))
        hold = await ledger.reserve(claim(20))
        (await written(ledger)).write_now(lambda db: books.reap(db, me(), before=inf, at=NOON))
        assert not await hold.raise_to(30)

    run(main())


def test_what_cannot_be_topped_up_leaves_room_for_others(file: Path) -> None:
    """The first one takes all that its model is told; beside it others get a part of what is left, but what is safe at least."""

    async def main() -> None:
        ledger = ledger_on(file, limit(3000))
        await _learn(ledger, 16, is_steady=False)
        holds = [await ledger.reserve(claim(1000, grows=True)) for _ in range(4)]
        taken = [hold.micro_usd for hold in holds]
        assert taken == [1000, 2000 // SHARED, 1750 // SHARED, 1532 // SHARED]
        assert [hold.cap_tokens for hold in holds] == taken
        assert all(hold.pays_tokens < hold.micro_usd for hold in holds[1:])
        others = [await ledger.reserve(claim(1000, grows=True)) for _ in range(10)]
        assert others[-1].micro_usd == 16 + IN_FLIGHT + ROUNDED
        assert await holds[0].raise_to(1100)

    run(main())


def test_a_budget_set_in_mid_window_starts_with_what_the_window_has_seen(file: Path) -> None:
    async def main() -> None:
        clock = Clock(NOON - DAY)
        ledger = ledger_on(file, wall=clock)
        (await ledger.reserve(claim(10, tags=("a", "b"), key="k"))).settle(spent(10))
        clock.now = NOON
        held = await ledger.reserve(claim(40, tags=("b",)))
        (await ledger.reserve(claim(7, model="openai:b", key="k"))).settle(spent(5))
        for each in (limit(100), limit(100, "all", "month"), limit(100, "all", "total"), limit(100, "tag", "total", "b"),
                     limit(100, "model", "month", "openai:a"), limit(100, "key", "day", "k")):  # fmt: skip
            await ledger.set_limit(each)
        store = await written(ledger)
        assert figures(store) == [(10, 0, 0), (5, 40, 0)]
        assert figures(store, "all", "month") == figures(store, "all", "total") == [(15, 40, 0)]
        assert figures(store, "tag", "total", "b") == figures(store, "model", "month", "openai:a") == [(10, 40, 0)]
        assert figures(store, "key", "day", "k") == [(5, 0, 0)]
        held.settle(spent(20))
        await written(ledger)
        assert figures(store, "tag", "total", "b") == [(30, 0, 0)]
        assert is_sound(store)

    run(main())


def test_a_new_day_gives_new_room_and_late_charges_go_to_their_own_day(file: Path) -> None:
    async def main() -> None:
        clock = Clock()
        ledger = ledger_on(file, limit(100), limit(162, "all", "month"), wall=clock)
        late = await ledger.reserve(claim(90))
        clock.now += DAY
        with pytest.raises(AttemptFailed, match="'month'"):
            await ledger.reserve(claim(90))
        second = await ledger.reserve(claim(60))
        assert await late.raise_to(90)
        late.settle(spent(80))
        second.settle(spent(60))
        assert figures(await written(ledger)) == [(80, 0, 0), (60, 0, 0)]
        assert figures(await written(ledger), "all", "month") == [(140, 0, 0)]
        assert ledger.spent() == 60
        assert ledger.spent("all", "month") == 140
        assert ledger.spent("tag", "day", "x") is None

    run(main())


def test_a_clock_that_is_set_back_opens_no_window_again(file: Path) -> None:
    async def main() -> None:
        clock = Clock()
        ledger = ledger_on(file, limit(100), wall=clock)
        (await ledger.reserve(claim(100))).settle(spent(100))
        clock.now -= DAY
        with pytest.raises(AttemptFailed):
            await ledger.reserve(claim(100))
        rooms = ledger.rooms(["openai:a"])
        assert rooms["openai:a"] is not None
        assert rooms["openai:a"].left_usd == 0
        clock.now -= 10 * 365 * DAY  # ten years: the earlier clock was wrong
        assert (await ledger.reserve(claim(100))).micro_usd == 100

    run(main())


def test_a_limit_can_be_taken_away(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file)
        assert not await ledger.reset_limit("all", "day")
        await ledger.set_limit(limit(10))
        assert ledger.has_limits
        assert await ledger.reset_limit("all", "day")
        assert not ledger.has_limits
        assert ledger.standing() == []
        assert ledger.rooms(["openai:a"]) == {"openai:a": None}
        assert (await ledger.reserve(claim(100))).cap_micro_usd is None
        assert told(await written(ledger), "kind, micro, tags", "kind IN ('limit', 'reset')") == [
            ("limit", 10, '["all","","day"]'),
            ("reset", 0, '["all","","day"]'),
        ]

    run(main())


def test_limits_of_a_client_s_own_can_change(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file)
        (await ledger.reserve(claim(40, tags=("a",)))).settle(spent(40))
        ledger.watch([limit(50, "tag", "day", "a")])
        with pytest.raises(AttemptFailed):
            await ledger.reserve(claim(20, tags=("a",)))
        ledger.watch([])
        assert (await ledger.reserve(claim(20, tags=("a",)))).micro_usd == 20

    run(main())


def test_a_limit_that_another_process_sets_is_seen_at_once(file: Path) -> None:
    async def main() -> None:
        ledger, other = ledger_on(file), ledger_on(file)
        (await ledger.reserve(claim(30))).settle(spent(30))
        assert ledger.rooms(["openai:a"]) == {"openai:a": None}
        await other.set_limit(limit(100))
        room = ledger.rooms(["openai:a"])["openai:a"]
        assert room is not None
        assert room.left_usd == 70e-6
        await other.reset_limit("all", "day")
        assert ledger.rooms(["openai:a"]) == {"openai:a": None}

    run(main())


def test_the_day_is_told_where_the_user_lives(file: Path) -> None:
    assert ledger_on(file, zone=UTC).today() == "2026-11-23"


def test_rooms_tell_the_tightest_budget_of_each_model(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file, limit(1000), limit(100, "model", "day", "openai:a"), limit(50, "key", "day", "k2"))
        assert (await ledger.reserve(claim(30, key="k2"))).cap_micro_usd == 30
        rooms = ledger.rooms(["openai:a", "openai:b", "openai:c"], keys={"openai:a": "k1", "openai:c": "k2"})
        named = {model: room and (room.name, room.left_usd, room.held_usd) for model, room in rooms.items()}
        assert named == {
            "openai:a": ("model openai:a a day", 70e-6, 30e-6),
            "openai:b": ("day", 970e-6, 30e-6),
            "openai:c": ("key k2 a day", 20e-6, 30e-6),
        }
        assert ledger.rooms(["openai:b"], key="k2")["openai:b"] == rooms["openai:c"]

    run(main())


def test_answers_are_written_down_together(file: Path) -> None:
    async def main() -> None:
        clock = Clock()
        ledger = ledger_on(file, wall=clock)
        await ledger.open()
        for number in range(3):
            ledger.answer(
                f"r{number}", "ollama:a", "edge", spent(0, input_tokens=4, output_tokens=5), saved_micro_usd=9
            )
        assert told(await written(ledger)) == []
        ledger.flush()
        assert told(await written(ledger), "kind, request_id, saved, output_tokens")[0] == ("answer", "r0", 9, 5)
        for number in range(64):
            ledger.answer(f"s{number}", "ollama:a", "edge", spent(0))
        assert len(told(await written(ledger))) == 67
        ledger.answer("last", "ollama:a", "edge", spent(0), tags=("t",))
        ledger.close()
        assert told(await written(ledger), "request_id, tags")[-1] == ("last", '["t"]')
        assert is_sound(await written(ledger))

    run(main())


def test_the_next_process_learns_from_the_books(file: Path) -> None:
    async def main() -> None:
        ledger = ledger_on(file)
        for tokens in (10, 20, 30, 40, 50, 60, 70, 80, 90, 100):
            hold = await ledger.reserve(claim(tokens, most_tokens=None, grows=True))
            hold.settle(spent(tokens, output_tokens=tokens))
        for _ in range(50):  # their own bound ended them
            (await ledger.reserve(claim(5, grows=True))).settle(spent(5, output_tokens=5))
        outcomes = [row[0] for row in told(await written(ledger), "outcome", "kind = 'settle'")]
        assert outcomes == ["ok"] * 10 + ["bounded"] * 50
        assert (await ledger.reserve(claim(0, most_tokens=None, grows=True))).micro_usd == 100 + 32 + 2
        ledger.close()
        await asyncio.to_thread(store_of(ledger).close)
        again = ledger_on(file)
        hold = await again.reserve(claim(0, most_tokens=None, grows=True))
        assert hold.micro_usd == 100 + 32 + 2

    run(main())
