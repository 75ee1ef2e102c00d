"""How fast a model works, as its own answers tell."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.decision.prediction import START
from oblix.execution.latency import Timing
from oblix.execution.pace import UNHEARD, heard, pace_of
from oblix.types.spec import Place


def answer(prompt: int, tokens: int, *, start: float, read: float, write: float, load: float | None = None) -> Timing:
    """The timing of an answer by a model of exactly that pace."""
    first = start + read * prompt
    return Timing(first + write * (tokens - 1), first, load=load, prompt_tokens=prompt, answer_tokens=tokens)


def after(*timings: Timing, place: Place = "edge") -> tuple[float, float, float, float | None]:
    tempo = UNHEARD
    for timing in timings:
        tempo = heard(tempo, timing)
    pace = pace_of(tempo, place)
    assert pace is not None
    return pace.start, pace.read, pace.write, pace.load


def test_before_the_first_answer_nothing_is_known() -> None:
    assert pace_of(UNHEARD, "edge") is None
    assert pace_of(heard(UNHEARD, Timing(3.0)), "edge") is None


def test_different_lengths_tell_reading_from_starting() -> None:
    """A line through (length, seconds): its slope is the reading."""
    timings = [answer(prompt, 101, start=0.5, read=0.004, write=0.05) for prompt in (50, 3000, 400, 6000, 1500)]
    start, read, write, load = after(*timings)
    assert read == pytest.approx(0.004, rel=0.05)
    assert start == pytest.approx(0.5, abs=0.3)
    assert write == pytest.approx(0.05)
    assert load is None


def test_equal_lengths_say_nothing_of_reading() -> None:
    """Noise around one length is not taken for a slope; the seconds at that length are right all the same."""
    timings = [Timing(1.0 + noise, 1.0 + noise, prompt_tokens=100 + length, answer_tokens=2)
               for noise, length in ((0.0, 0), (0.1, -1), (-0.1, 1), (0.05, -1))]  # fmt: skip
    start, read, *_ = after(*timings, place="cloud")
    assert read == pytest.approx(START["cloud"].read, rel=0.5)
    assert start + 100 * read == pytest.approx(1.0, abs=0.1)


def test_recent_answers_count_more() -> None:
    slow = [answer(10, 101, start=1.0, read=0.0, write=0.2)] * 30
    quick = [answer(10, 101, start=0.1, read=0.0, write=0.01)] * 30
    start, _, write, _ = after(*slow, *quick)
    assert write == pytest.approx(0.01, rel=0.9)
    assert start < 0.2


def test_the_last_load_is_kept_while_the_model_stays_in_memory() -> None:
    cold, warm = (answer(10, 10, start=0.1, read=0.0, write=0.1, load=load) for load in (7.0, None))
    assert after(cold, warm)[3] == 7.0


seconds = st.floats(0, 600, allow_subnormal=False)
timings = st.builds(
    lambda first, rest, prompt, tokens, load: Timing(first + rest, first, None, load, prompt, tokens),
    seconds, seconds, st.integers(0, 200_000) | st.none(), st.integers(0, 10_000) | st.none(), seconds | st.none(),
)  # fmt: skip


@given(st.lists(timings, min_size=1, max_size=40), st.sampled_from(get_args(Place)))
def test_no_pace_is_below_zero_or_without_bounds(history: list[Timing], place: Place) -> None:
    start, read, write, load = after(*history, place=place)
    assert -1e-6 <= start <= 600.001
    assert 0 <= read <= max(600.0, START[place].read)
    assert 0 <= write <= 600.001
    assert load is None or load >= 0
