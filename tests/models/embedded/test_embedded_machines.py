"""The engine's small machines on their own: may it be loaded again, does it still move, how did it end."""

from __future__ import annotations

import asyncio
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.errors import FailureKind
from oblix.models.embedded import obituary, reload
from oblix.models.embedded.obituary import Ending
from oblix.models.embedded.pulse import Pulse
from oblix.testing import run


def now() -> float:
    return asyncio.get_running_loop().time()


# --- may it be loaded again ---


def test_three_deaths_that_repeat_bar_the_load_until_the_first_is_ten_minutes_old() -> None:
    state = reload.Deaths()
    for at in (0.0, 10.0, 20.0):
        assert reload.pause(state, at) == 0.0
        state = reload.died(state, at, repeats=True)
    assert reload.pause(state, 20.0) == 580.0
    assert reload.pause(state, 599.0) == 1.0
    assert reload.pause(state, 600.0) == 0.0


def test_a_death_in_the_middle_of_an_answer_bars_nothing() -> None:
    state = reload.Deaths()
    for at in range(100):
        state = reload.died(state, float(at), repeats=False)
    assert reload.pause(state, 100.0) == 0.0


@given(steps=st.lists(st.tuples(st.floats(0.0, 900.0), st.booleans()), max_size=60))
def test_never_more_than_three_loads_that_die_within_ten_minutes(steps: list[tuple[float, bool]]) -> None:
    state, clock, deaths = reload.Deaths(), 0.0, list[float]()
    for wait, repeats in steps:
        clock += wait
        if reload.pause(state, clock) > 0:
            continue
        state = reload.died(state, clock, repeats=repeats)
        deaths += [clock] * repeats
        assert sum(clock - at < reload.WITHIN for at in deaths) <= reload.MOST


# --- does it still move ---


class Patient:
    """Somebody who is asked for a sign of life; remembers when."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.given_up: list[float] = []
        self.pulse = Pulse(lambda: self.asked.append(now()), lambda: self.given_up.append(now()), patience=5.0)


def test_who_gives_no_sign_is_given_up_after_the_patience_once() -> None:
    async def main() -> Patient:
        patient = Patient()
        await asyncio.sleep(10.0)
        patient.pulse.doubt()
        await asyncio.sleep(1.0)
        patient.pulse.doubt()  # doubted already
        await asyncio.sleep(60.0)
        return patient

    patient = run(main())
    assert patient.asked == [10.0, 12.5]
    assert patient.given_up == [15.0]


def test_who_gives_a_sign_in_the_second_half_is_not_given_up() -> None:
    async def main() -> Patient:
        patient = Patient()
        patient.pulse.doubt()
        await asyncio.sleep(4.9)
        patient.pulse.heard()
        await asyncio.sleep(60.0)
        return patient

    assert run(main()).given_up == []


def test_waiting_lasts_as_long_as_the_doubt() -> None:
    async def main() -> None:
        patient = Patient()
        await patient.pulse.wait_steady()
        assert now() == 0.0
        patient.pulse.doubt()
        asyncio.get_running_loop().call_later(3.0, patient.pulse.heard)
        await patient.pulse.wait_steady()
        assert now() == 3.0

    run(main())


def test_a_loop_that_stood_still_gives_the_sign_time_to_be_read() -> None:
    async def main() -> Patient:
        patient = Patient()
        loop = asyncio.get_running_loop()
        patient.pulse.doubt()
        # The loop is busy past both halves; what lies in the pipe is read only two turns after it is free again.
        await asyncio.sleep(2.5)
        loop.call_soon(lambda: loop.call_soon(patient.pulse.heard))
        await asyncio.sleep(60.0)
        return patient

    assert run(main()).given_up == []


# --- how did it end ---


def test_a_death_for_want_of_memory_says_so_and_repeats() -> None:
    end = Ending(7, -signal.SIGKILL, starved=True)
    assert end.repeats
    failed = obituary.failure(end)
    assert failed.kind is FailureKind.ENGINE_CRASH
    assert "want of memory" in failed.message
    assert "smaller" in str(failed.hint)


@pytest.mark.parametrize(
    ("end", "repeats", "kind"),
    [
        (Ending(7, -signal.SIGSEGV), False, FailureKind.ENGINE_CRASH),
        (Ending(7, -signal.SIGKILL), False, FailureKind.ENGINE_CRASH),
        (Ending(7, -signal.SIGKILL, hung=True), False, FailureKind.ENGINE_CRASH),
        (Ending(7, 1), False, FailureKind.ENGINE_CRASH),
        (Ending(7, -250), False, FailureKind.ENGINE_CRASH),
        (Ending(7, -signal.SIGSEGV, loading=True), True, FailureKind.MODEL_UNLOADABLE),
        (Ending(7, -signal.SIGKILL, loading=True), True, FailureKind.ENGINE_CRASH),
        (Ending(7, 0, closed=True), False, FailureKind.CANCELLED),
        (Ending(7, -signal.SIGKILL, closed=True, loading=True), False, FailureKind.CANCELLED),
    ],
)
def test_each_ending_has_its_kind(end: Ending, repeats: bool, kind: FailureKind) -> None:
    assert end.repeats is repeats
    assert obituary.failure(end).kind is kind


def test_a_death_while_loading_is_no_requests_fault() -> None:
    assert obituary.failure(Ending(7, -signal.SIGKILL, loading=True)).certainty == "not_sent"
    assert obituary.failure(Ending(7, -signal.SIGKILL)).certainty is None


@pytest.mark.parametrize(
    ("code", "before", "after", "starved"),
    [
        (-signal.SIGKILL, 3, 4, True),
        (-signal.SIGKILL, 3, 3, False),  # somebody else's signal
        (-signal.SIGSEGV, 3, 4, False),  # another process was killed at the same time
        (-signal.SIGKILL, None, None, True),  # the system does not count
        (1, None, None, False),
    ],
)
def test_a_kill_is_for_want_of_memory_when_the_system_counts_one_more(
    code: int, before: int | None, after: int | None, starved: bool
) -> None:
    assert obituary.was_starved(code, before, after) is starved
