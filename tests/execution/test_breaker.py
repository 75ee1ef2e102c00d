"""The breaker: when it opens, for how long, who may probe, and how gently it closes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from oblix.execution.breaker import (
    CLOSED,
    FIRST_REST,
    LONGEST_COOLDOWN,
    LONGEST_REST,
    PROBE_PATIENCE,
    RAMP,
    Breaker,
    admit,
    failed,
    is_calm,
    is_open,
    left,
    succeeded,
)

chances = st.floats(0, 1, exclude_max=True)


def after(outcomes: str, *, every: float = 1.0) -> Breaker:
    """The breaker after outcomes at 0, `every`, … seconds: `f` failed, `F` failed with weight 3, `s` succeeded, `c` was cancelled."""
    state = CLOSED
    for number, outcome in enumerate(outcomes):
        now = number * every
        if outcome in "fF":
            state = failed(state, now, weight=3 if outcome == "F" else 1)
        else:
            state = succeeded(state, now) if outcome == "s" else left(state, now)
    return state


def opened(now: float = 0.0) -> Breaker:
    """Opened at `now` for five seconds."""
    return failed(CLOSED, now, weight=3)


def probing(now: float = 5.0) -> Breaker:
    """The probe of the breaker that opened at 0 is under way since `now`."""
    state, gone = admit(opened(), now)
    assert gone
    return state


@pytest.mark.parametrize(
    ("outcomes", "opens"),
    [
        ("ff", False),
        ("fff", True),
        ("F", True),
        ("ffsff", True),  # half of five and more
        ("ssssffsff", False),
        ("sssssssfff", True),
        ("fcfcf", True),
        ("ccccc", False),
        ("fsfs", False),
        ("fsfsf", True),
        ("sfsfs", False),
        ("ssfsfsff", True),  # exactly half
    ],
)
def test_three_in_a_row_or_half_of_five_open_it(outcomes: str, opens: bool) -> None:
    assert is_open(after(outcomes), float(len(outcomes))) == opens


def test_failures_far_apart_are_no_share_of_anything() -> None:
    """One success between two failures, and half a minute between all of them."""
    assert after("fsfsfsfsfs", every=31.0).phase == "closed"


def test_the_window_remembers_fifteen_seconds_at_least() -> None:
    state = CLOSED
    for now, outcome in ((0.0, "s"), (14.0, "f"), (14.5, "f"), (14.9, "s"), (29.0, "f")):
        state = succeeded(state, now) if outcome == "s" else failed(state, now)
    assert is_open(state, 29.0)


def test_the_window_forgets_after_thirty_seconds() -> None:
    state = CLOSED
    for now, outcome in ((0.0, "s"), (14.0, "f"), (14.5, "f"), (14.9, "s"), (30.1, "f")):
        state = succeeded(state, now) if outcome == "s" else failed(state, now)
    assert not is_open(state, 30.1)


@given(trips=st.integers(0, 2000), chance=chances)
def test_a_rest_doubles_up_to_five_minutes_within_its_jitter(trips: int, chance: float) -> None:
    rest = failed(Breaker(trips=trips), 0.0, weight=3, chance=chance).until
    usual = min(FIRST_REST * 2 ** min(trips, 20), LONGEST_REST)
    assert 0.8 * usual <= rest <= 1.2 * usual <= 300.0


@pytest.mark.parametrize(("chance", "rest"), [(0.0, 4.0), (0.5, 5.0), (0.999999, 6.0)])
def test_chance_places_the_rest(chance: float, rest: float) -> None:
    assert failed(CLOSED, 0.0, weight=3, chance=chance).until == pytest.approx(rest, abs=1e-4)


@pytest.mark.parametrize(
    ("cooldown", "rest"), [(2.0, 5.0), (60.0, 60.0), (1e9, LONGEST_COOLDOWN), (-1.0, 5.0), (float("nan"), 5.0)]
)
def test_a_cooldown_is_the_least_it_rests(cooldown: float, rest: float) -> None:
    assert failed(CLOSED, 0.0, weight=3, cooldown=cooldown).until == rest


def test_a_cooldown_opens_it_at_the_first_failure() -> None:
    state = failed(CLOSED, 10.0, cooldown=2.0)
    assert [is_open(state, now) for now in (10.0, 11.9, 12.0)] == [True, True, False]


def test_a_cooldown_counts_as_a_rest() -> None:
    state, _ = admit(failed(CLOSED, 0.0, cooldown=2.0), 2.0)
    assert failed(state, 3.0).until == 13.0


def test_an_answer_begun_before_the_last_word_on_the_cooldown_does_not_shorten_it() -> None:
    state = failed(opened(), 2.0, cooldown=60.0)
    assert succeeded(state, 3.0, started=1.0) is state
    assert succeeded(state, 3.0, started=2.5).phase == "ramp"


def test_while_open_only_a_longer_cooldown_changes_it() -> None:
    state = opened()
    assert failed(state, 1.0, weight=3) is state
    assert failed(state, 1.0, cooldown=3.0) is state
    assert failed(state, 1.0, cooldown=9.0).until == 10.0


def test_after_its_rest_one_probe_goes_and_no_second_one() -> None:
    state = opened()
    answers = []
    for now in (0.0, 4.99, 5.0, 5.0, 30.0):
        state, gone = admit(state, now)
        answers.append(gone)
    assert answers == [False, False, True, False, False]


def test_a_probe_that_is_never_reported_is_given_up() -> None:
    state = probing(5.0)
    assert not admit(state, 5.0 + PROBE_PATIENCE - 0.01)[1]
    state, gone = admit(state, 5.0 + PROBE_PATIENCE)
    assert gone
    assert not admit(state, 5.0 + PROBE_PATIENCE + 1.0)[1]


def test_the_owner_of_a_probe_that_was_given_up_frees_no_other() -> None:
    state, _ = admit(probing(5.0), 5.0 + PROBE_PATIENCE)
    assert left(state, 70.0, started=5.0) is state
    assert failed(state, 70.0, weight=3, started=5.0) is state


def test_a_probe_that_fails_doubles_the_rest() -> None:
    state = failed(probing(5.0), 6.0, started=5.0)
    assert state.until == 16.0
    state, _ = admit(state, 16.0)
    assert failed(state, 17.0).until == 37.0


def test_a_probe_that_is_left_is_free_again() -> None:
    state = left(probing(5.0), 6.0, started=5.0)
    assert not is_open(state, 6.0)
    state, gone = admit(state, 6.0)
    assert gone
    assert failed(state, 7.0).until == 17.0  # it has not forgotten that this is the second time


@pytest.mark.parametrize("state", [CLOSED, after("ff"), opened(), succeeded(probing(), 6.0)])
def test_cancellations_change_nothing(state: Breaker) -> None:
    assert left(state, 7.0) is state


def test_slow_start_lets_through_a_growing_share() -> None:
    state = succeeded(probing(), 10.0)
    admitted = []
    for step in range(1000):
        state, gone = admit(state, 10.0 + step / 100)
        admitted.append(gone)
    tenths = [sum(admitted[start : start + 100]) for start in range(0, 1000, 100)]
    assert tenths == sorted(tenths)
    assert tenths[0] in range(13, 16)
    assert tenths[-1] in range(94, 98)
    assert sum(admitted) == pytest.approx(550, abs=5)


def test_after_slow_start_everybody_may_go() -> None:
    state = succeeded(probing(), 10.0)
    assert not is_calm(state, 10.0 + RAMP - 0.01)
    assert is_calm(state, 10.0 + RAMP)
    state, gone = admit(state, 10.0 + RAMP)
    assert gone
    assert state.phase == "closed"


def test_a_relapse_in_slow_start_rests_twice_as_long() -> None:
    state = succeeded(probing(), 10.0)
    for _ in range(3):
        state = failed(state, 12.0)
    assert state.until == 22.0


def test_a_success_after_slow_start_lets_the_rest_fall_back() -> None:
    state = succeeded(succeeded(probing(), 10.0), 10.0 + RAMP)
    assert failed(state, 30.0, weight=3).until == 35.0


def test_one_failure_in_slow_start_is_no_relapse() -> None:
    assert failed(succeeded(probing(), 10.0), 12.0).phase == "ramp"


@pytest.mark.parametrize(
    "state", [opened(10.0), probing(10.0), succeeded(probing(9.0), 10.0)], ids=lambda state: state.phase
)
def test_news_of_an_attempt_from_before_is_old(state: Breaker) -> None:
    assert failed(state, 20.0, weight=3, started=9.0) is state
    assert succeeded(state, 20.0, started=9.0) is state
    assert left(state, 20.0, started=9.0) is state


def test_an_old_failure_may_still_ask_for_time() -> None:
    state = failed(succeeded(probing(), 10.0), 12.0, cooldown=60.0, started=2.0)
    assert is_open(state, 71.9)
    assert not is_open(state, 72.0)


def test_the_last_candidate_that_was_asked_all_the_same_may_succeed() -> None:
    assert succeeded(opened(), 3.0, started=2.0).phase == "ramp"


class Stateful(RuleBasedStateMachine):
    """Any order of events, against a model that knows only who is out there."""

    def __init__(self) -> None:
        super().__init__()
        self.state = CLOSED
        self.now = 0.0
        self.probe: float | None = None  # when the probe under way began
        self.opened_at = 0.0

    @rule(seconds=st.sampled_from([0.0, 0.5, 4.0, 6.0, 11.0, 61.0, 400.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        if self.probe is not None and self.now - self.probe >= PROBE_PATIENCE:
            self.probe = None  # given up: its owner is taken to be dead

    @rule()
    def ask(self) -> None:
        half_open = self.state.phase in ("open", "probing")
        self.state, gone = admit(self.state, self.now)
        if gone and half_open:
            assert self.probe is None, "a second probe is in flight"
            self.probe = self.now

    def report(self, state: Breaker) -> None:
        if state.phase == "open" and self.state.phase != "open":
            self.opened_at = self.now
        self.state = state
        if state.phase != "probing":
            self.probe = None

    @rule(weight=st.sampled_from([1, 3]), chance=chances, cooldown=st.sampled_from([0.0, 0.0, 30.0, 1e6]))
    def fail(self, weight: int, chance: float, cooldown: float) -> None:
        before = self.state
        state = failed(before, self.now, weight=weight, chance=chance, cooldown=cooldown)
        if before.phase == "probing":
            assert is_open(state, self.now)
        self.report(state)

    @rule()
    def succeed(self) -> None:
        state = succeeded(self.state, self.now)
        assert state.streak == 0
        assert state.phase in ("closed", "ramp")
        self.report(state)

    @rule()
    def cancel(self) -> None:
        before = self.state
        state = left(before, self.now)
        assert state == before or (before.phase == "probing" and not is_open(state, self.now))
        assert state.trips == before.trips
        self.report(state)

    @rule(age=st.floats(0.01, 100.0), weight=st.sampled_from([1, 3]))
    def hear_old_news(self, age: float, weight: int) -> None:
        started = self.state.since - age
        assert (
            failed(self.state, self.now, weight=weight, started=started) is self.state or self.state.phase == "closed"
        )
        assert left(self.state, self.now, started=started) is self.state

    @invariant()
    def it_is_never_open_for_more_than_an_hour(self) -> None:
        assert not is_open(self.state, self.now + max(LONGEST_COOLDOWN, PROBE_PATIENCE))

    @invariant()
    def a_closed_one_lets_everybody_through(self) -> None:
        if self.state.phase == "closed":
            assert admit(self.state, self.now) == (self.state, True)

    @invariant()
    def what_it_says_of_itself_is_what_it_does(self) -> None:
        if is_open(self.state, self.now):
            assert not admit(self.state, self.now)[1]

    @precondition(lambda self: self.state.phase != "closed")
    @rule()
    def heal(self) -> None:
        """Whatever happened: from here, a probe that succeeds and ten seconds close it."""
        state, now = self.state, self.now + LONGEST_COOLDOWN
        state, gone = admit(state, now)
        assert gone
        state = succeeded(state, now, started=now)
        assert is_calm(state, now + RAMP)


TestStateful = Stateful.TestCase
TestStateful.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
