"""What a client may try beyond first attempts, and how long it waits: the budgets and the patience of the health book."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.execution.latency import CLOUD, EDGE, Timing

from .test_health import GPT, LLAMA, PHI, K, a_book, after

# --- patience ---


def test_patience_is_learned_from_answers() -> None:
    book = a_book()
    assert book.limits(PHI, 0) == EDGE
    assert book.usual_first_token(PHI) is None
    assert book.usual_load(PHI) is None
    for _ in range(20):
        book.succeeded(PHI, 0.0, Timing(30.0, 20.0, 8.0, 2.0, 100))
    assert book.limits(PHI, 10).first_token == pytest.approx(30.0, rel=0.1)
    assert book.limits(PHI, 10).idle == pytest.approx(12.0, rel=0.1)
    assert book.usual_first_token(PHI) == pytest.approx(20.0, rel=0.1)
    assert book.usual_load(PHI) == pytest.approx(2.0, rel=0.1)
    assert book.limits(GPT, 10) == CLOUD


def test_a_crowd_that_waited_together_doubles_the_patience_once() -> None:
    book = a_book()
    for _ in range(20):
        book.succeeded(GPT, 0.0, Timing(5.0, 4.0, 4.0))
    usual = book.limits(GPT, 10).first_token
    for _ in range(50):
        book.failed(GPT, K.TIMEOUT_FIRST_TOKEN, "silent", 10.0)
    assert book.limits(GPT, 10).first_token == pytest.approx(2 * usual)


# --- further attempts ---


def test_a_retry_is_paid_for_by_requests() -> None:
    book = a_book()
    book.asked(0.0)
    assert [book.may_retry(PHI, 0.0) for _ in range(3)] == [True, True, False]


def test_who_fails_all_the_time_is_not_asked_twice() -> None:
    book = after(*[K.SERVER_ERROR] * 5)
    assert not book.may_retry(PHI, 0.0)
    assert book.may_retry(LLAMA, 0.0)
    book.succeeded(PHI, 0.0)
    assert book.may_retry(PHI, 0.0)


def test_caller_errors_do_not_throttle() -> None:
    assert after(*[K.BAD_REQUEST] * 50).may_retry(PHI, 0.0)


def test_the_twentieth_request_may_be_hedged_and_not_the_nineteenth() -> None:
    book = a_book()
    for _ in range(19):
        book.asked(0.0)
    assert not book.may_hedge(GPT, 0.0)
    book.asked(0.0)
    assert [book.may_hedge(GPT, 0.0) for _ in range(2)] == [True, False]


def test_a_hedge_that_the_quota_refuses_costs_no_retry() -> None:
    book = a_book()
    book.asked(0.0)
    assert not book.may_hedge(GPT, 0.0)
    assert [book.may_retry(GPT, 0.0) for _ in range(2)] == [True, True]


def test_a_hedge_that_was_refused_for_its_target_is_kept_for_another() -> None:
    book = after(*[K.SERVER_ERROR] * 5)
    for _ in range(20):
        book.asked(0.0)
    assert not book.may_hedge(PHI, 0.0)
    assert book.may_hedge(GPT, 0.0)


@given(st.lists(st.tuples(st.sampled_from(["asked", "retry", "hedge"]), st.floats(0, 0.5)), max_size=200))
def test_retries_and_hedges_together_stay_within_their_share(events: list[tuple[str, float]]) -> None:
    book, now, requests, hedges, extra = a_book(), 0.0, 0, 0, 0
    for event, pause in events:
        now += pause
        if event == "asked":
            book.asked(now)
            requests += 1
        elif event == "retry":
            extra += book.may_retry(GPT, now)
        elif book.may_hedge(GPT, now):
            hedges, extra = hedges + 1, extra + 1
        assert 20 * hedges <= requests
        assert extra <= 2 + 0.2 * requests + 0.2 * now + 1e-6
