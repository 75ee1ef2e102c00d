"""Backoff: exponential, capped, half of it left to chance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.execution.backoff import delay


@pytest.mark.parametrize(("attempt", "most"), [(1, 0.1), (2, 0.2), (3, 0.4), (6, 3.2), (7, 5.0), (10**6, 5.0)])
def test_the_longest_delay_doubles_up_to_its_cap(attempt: int, most: float) -> None:
    assert delay(attempt, share=1.0) == pytest.approx(most)


@given(
    attempt=st.integers(1, 10_000),
    base=st.floats(0.001, 10),
    cap=st.floats(0.001, 60),
    share=st.floats(0, 1, exclude_max=True),
)
def test_chance_spreads_it_from_half_to_the_longest(attempt: int, base: float, cap: float, share: float) -> None:
    longest = delay(attempt, base=base, cap=cap, share=1.0)
    assert longest <= cap
    assert delay(attempt, base=base, cap=cap, share=share) == pytest.approx((1 + share) / 2 * longest)
