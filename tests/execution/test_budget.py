"""What retries and hedges may cost in all: a share of the requests, whatever happens."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from oblix.execution import budget
from oblix.execution.budget import HEDGE_EVERY, HedgeQuota, RetryBudget, Throttle, asked, throttled, withdraw


def drain(state: RetryBudget, now: float) -> tuple[RetryBudget, int]:
    """Withdraw until it refuses."""
    taken = 0
    while True:
        state, granted = withdraw(state, now)
        if not granted:
            return state, taken
        taken += 1


def test_the_first_request_may_be_retried_twice() -> None:
    assert drain(asked(RetryBudget(), 0.0), 0.0)[1] == 2


def test_five_requests_pay_for_one_retry() -> None:
    state, _ = drain(RetryBudget(0.0, 0.0), 0.0)
    for _ in range(4):
        state = asked(state, 0.0)
    assert drain(state, 0.0)[1] == 0
    assert drain(asked(state, 0.0), 0.0)[1] == 1


def test_a_thousand_requests_pay_for_two_hundred_retries() -> None:
    state, retries = RetryBudget(0.0, 0.0), 0
    for _ in range(1000):
        state, granted = withdraw(asked(state, 0.0), 0.0)
        retries += granted
    assert retries == 200


def test_five_seconds_pay_for_one_retry() -> None:
    state, _ = drain(RetryBudget(), 0.0)
    assert drain(state, 4.99)[1] == 0
    assert drain(state, 5.0)[1] == 1


def test_a_quiet_night_saves_up_ten() -> None:
    assert drain(RetryBudget(0.0, 0.0), 1e6)[1] == 10


class Requests(RuleBasedStateMachine):
    """Any order of requests and retries, against a list of what happened."""

    def __init__(self) -> None:
        super().__init__()
        self.state = RetryBudget()
        self.now = 0.0
        self.requests: list[float] = []
        self.retries: list[float] = []

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.3, 1.0, 7.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(count=st.integers(1, 30))
    def request(self, count: int) -> None:
        for _ in range(count):
            self.state = asked(self.state, self.now)
            self.requests.append(self.now)

    @rule(times=st.integers(1, 5))
    def retry(self, times: int) -> None:
        for _ in range(times):
            before = self.state
            self.state, granted = withdraw(before, self.now)
            if granted:
                self.retries.append(self.now)

    @invariant()
    def in_any_window_retries_are_a_fifth_of_the_requests_and_the_floor(self) -> None:
        for start in self.retries:
            retries = sum(at >= start for at in self.retries)
            requests = sum(at >= start for at in self.requests)
            assert retries <= 10 + 0.2 * requests + 0.2 * (self.now - start) + 1e-6

    @invariant()
    def since_the_start_they_are_two_more_at_most(self) -> None:
        assert len(self.retries) <= 2 + 0.2 * len(self.requests) + 0.2 * self.now + 1e-6

    @invariant()
    def it_never_holds_more_than_ten_nor_less_than_none(self) -> None:
        assert 0 <= self.state.tokens <= 10 * budget.TOKEN


TestRequests = Requests.TestCase
TestRequests.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_throttle_shuts_after_five_failures_and_opens_with_one_success() -> None:
    state = Throttle()
    for _ in range(4):
        state = throttled(state, ok=False)
    assert not state.is_shut
    state = throttled(state, ok=False)
    assert state.is_shut
    assert not throttled(state, ok=True).is_shut


def test_what_fails_often_needs_ten_successes_per_failure() -> None:
    state = Throttle(0)
    for _ in range(50):
        assert state.is_shut
        state = throttled(state, ok=True)
    assert state.is_shut
    assert not throttled(state, ok=True).is_shut


@given(st.lists(st.booleans(), max_size=200))
def test_a_throttle_stays_within_its_ten_tokens(outcomes: list[bool]) -> None:
    state = Throttle()
    for ok in outcomes:
        state = throttled(state, ok=ok)
        assert 0 <= state.tokens <= 100


@pytest.mark.parametrize(("requests", "hedges"), [(19, 0), (20, 1), (39, 1), (40, 2), (1000, 50)])
def test_every_twentieth_request_may_be_hedged(requests: int, hedges: int) -> None:
    state, started = HedgeQuota(), 0
    for _ in range(requests):
        state = budget.earned(state)
        if state.has_one:
            state, started = budget.spent(state), started + 1
    assert started == hedges


@given(st.lists(st.booleans(), max_size=400))
def test_hedges_are_five_in_a_hundred_of_any_first_requests(wishes: list[bool]) -> None:
    state, hedges = HedgeQuota(), 0
    for requests, wish in enumerate(wishes, 1):
        state = budget.earned(state)
        if wish and state.has_one:
            state, hedges = budget.spent(state), hedges + 1
        assert HEDGE_EVERY * hedges <= requests
        assert 0 <= state.requests <= HEDGE_EVERY
