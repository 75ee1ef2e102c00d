"""What history teaches: quantiles that are never too short, and limits within their clamps."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.execution.latency import (
    CLOUD,
    EDGE,
    EDGES,
    ENOUGH,
    FIRST_TOKEN,
    GROWTH,
    HALVE_EVERY,
    IDLE,
    LOAD,
    LONGEST,
    Histogram,
    Learned,
    Limits,
    Timing,
    limits,
    median_load,
    p95_first_token,
)
from oblix.types.spec import ModelSpec, Timeouts

PHI = ModelSpec("ollama:phi", "ollama", "phi", "edge", endpoint="http://localhost:11434")
GPT = ModelSpec("openai:gpt", "openai", "gpt", "cloud", endpoint="https://api.openai.com/v1")
specs = st.sampled_from([PHI, GPT])
durations = st.floats(0.001, 3600)


def history(*timings: Timing, times: int = ENOUGH) -> Learned:
    learned = Learned()
    for timing in timings * times:
        learned.record(timing)
    return learned


def of(samples: list[float]) -> Histogram:
    histogram = Histogram()
    for sample in samples:
        histogram.record(sample)
    return histogram


def timing(first_token: float, gap: float = 0.1, load: float | None = None, prompt_tokens: int = 100) -> Timing:
    return Timing(first_token + 1.0, first_token, gap, load, prompt_tokens)


# --- quantiles ---


@given(samples=st.lists(durations, min_size=1, max_size=400), share=st.floats(0.01, 0.999))
def test_a_quantile_is_at_most_a_tenth_too_long_and_never_too_short(samples: list[float], share: float) -> None:
    exact = sorted(samples)[min(int(share * len(samples)), len(samples) - 1)]
    told = of(samples).quantile(share)
    assert told is not None
    below = sorted(samples)[max(0, int(share * len(samples) - 1e-9) - 1)]
    assert below <= told * (1 + 1e-9)
    assert told <= max(exact * GROWTH, EDGES[0]) * (1 + 1e-9)


@given(st.lists(durations, min_size=1, max_size=100), st.floats(1, 3))
def test_a_slower_history_never_has_a_shorter_quantile(samples: list[float], factor: float) -> None:
    slower = of([factor * sample for sample in samples])
    for share in (0.5, 0.95, 0.999):
        assert (slower.quantile(share) or 0.0) >= (of(samples).quantile(share) or 0.0)


def test_without_samples_there_is_no_quantile() -> None:
    assert Histogram().quantile(0.5) is None


@pytest.mark.parametrize(("value", "told"), [(0.0, EDGES[0]), (-1.0, EDGES[0]), (1e9, EDGES[-1])])
def test_what_lies_outside_counts_as_the_end(value: float, told: float) -> None:
    assert of([value]).quantile(0.5) == told


def test_old_samples_fade() -> None:
    histogram = of([100.0] * HALVE_EVERY)
    for _ in range(HALVE_EVERY * 10):
        histogram.record(1.0)
    assert histogram.quantile(0.99) == pytest.approx(1.0, rel=0.1)
    for _ in range(HALVE_EVERY * 10):
        histogram.record(1.0)
    assert histogram.quantile(1.0) == pytest.approx(1.0, rel=0.1)


def test_a_history_weighs_no_more_than_a_thousand_answers() -> None:
    assert of([1.0] * 20_000).weight <= 2 * HALVE_EVERY


# --- limits ---


@pytest.mark.parametrize(("spec", "start"), [(PHI, EDGE), (GPT, CLOUD)])
@pytest.mark.parametrize(
    "learned", [None, Learned(), history(timing(1.0), times=ENOUGH - 1)], ids=["none", "new", "few"]
)
def test_before_twenty_successes_the_start_values_hold(spec: ModelSpec, start: Limits, learned: Learned | None) -> None:
    assert limits(spec, learned, 0) == start


@pytest.mark.parametrize("learned", [None, history(timing(1.0), times=ENOUGH - 1)], ids=["none", "few"])
@pytest.mark.parametrize(("prompt_tokens", "seconds"), [(0, 30.0), (100, 35.0), (2000, 130.0), (50_000, 300.0)])
def test_at_home_a_first_token_starts_with_half_a_minute_and_time_to_read(
    learned: Learned | None, prompt_tokens: int, seconds: float
) -> None:
    """20 tokens a second: an old machine with 2 cores reads 24 when busy. What hangs is known sooner than after 5 minutes."""
    assert limits(PHI, learned, prompt_tokens).first_token == pytest.approx(seconds)


def test_a_few_answers_lengthen_a_limit_and_do_not_shorten_it() -> None:
    few = history(timing(100.0, gap=35.0), times=1)
    assert limits(PHI, few, 100).first_token == pytest.approx(150.0, rel=0.1)
    assert limits(PHI, few, 100).idle == EDGE.idle
    assert limits(GPT, few, 100).idle == pytest.approx(52.5, rel=0.1)


def test_limits_follow_the_models_own_history() -> None:
    learned = history(timing(20.0, gap=10.0))
    found = limits(GPT, learned, 100)
    assert found.first_token == pytest.approx(30.0, rel=0.1)
    assert found.idle == pytest.approx(15.0, rel=0.1)
    assert found.connect == CLOUD.connect


@given(
    spec=specs,
    samples=st.lists(
        st.builds(timing, durations, durations, durations, st.integers(1, 10**6)), min_size=20, max_size=40
    ),
    prompt_tokens=st.integers(0, 10**7),
    misses=st.integers(0, 5000),
)
def test_no_limit_is_below_its_clamp_or_above_ten_minutes(
    spec: ModelSpec, samples: list[Timing], prompt_tokens: int, misses: int
) -> None:
    learned = history(*samples, times=1)
    learned.misses = misses
    found = limits(spec, learned, prompt_tokens)
    for seconds, least, most in (
        (found.first_token, FIRST_TOKEN[spec.place][0], LONGEST),
        (found.idle, IDLE[spec.place][0], LONGEST),
        (found.load, *LOAD),
    ):
        assert least <= seconds <= most


@given(
    spec=specs,
    samples=st.lists(
        st.builds(timing, st.floats(0.001, 30), st.floats(0.001, 15), durations, st.integers(1, 10**6)),
        min_size=1,
        max_size=40,
    ),
    prompt_tokens=st.integers(0, 10**7),
)
def test_what_answers_have_not_shown_stays_within_its_clamp(
    spec: ModelSpec, samples: list[Timing], prompt_tokens: int
) -> None:
    found = limits(spec, history(*samples, times=1), prompt_tokens)
    assert found.first_token <= FIRST_TOKEN[spec.place][1]
    assert found.idle <= IDLE[spec.place][1]


@given(spec=specs, first=durations, gap=durations, load=durations, factor=st.floats(1, 10))
def test_a_slower_model_never_gets_less_patience(
    spec: ModelSpec, first: float, gap: float, load: float, factor: float
) -> None:
    fast = limits(spec, history(timing(first, gap, load)), 100)
    slow = limits(spec, history(timing(first * factor, gap * factor, load * factor)), 100)
    assert slow.first_token >= fast.first_token
    assert slow.idle >= fast.idle
    assert slow.load >= fast.load


@given(
    spec=specs,
    tokens=st.lists(st.integers(1, 10**6), min_size=2, max_size=2).map(sorted),
    answers=st.sampled_from([0, 1, ENOUGH]),
)
def test_a_longer_prompt_never_gets_less_patience(spec: ModelSpec, tokens: list[int], answers: int) -> None:
    learned = history(timing(8.0), times=answers)
    for order in (tokens, tokens[::-1]):  # what is kept for the next prompt must not be that of this one
        found = {count: limits(spec, learned, count).first_token for count in order}
        assert found[tokens[0]] <= found[tokens[1]]


@pytest.mark.parametrize(("spec", "seconds"), [(PHI, 40.0), (GPT, 6.0)])
def test_a_long_prompt_gets_time_in_proportion(spec: ModelSpec, seconds: float) -> None:
    learned = history(timing(seconds, prompt_tokens=1000))
    usual = limits(spec, learned, 1000).first_token
    assert limits(spec, learned, 10).first_token == usual
    assert limits(spec, learned, 4000).first_token == pytest.approx(4 * usual, rel=0.1)


def test_a_prompt_of_new_length_gets_the_reading_time_of_a_start_value_at_least() -> None:
    """The short ones may have been in the model's cache: 0.2 s for 1,000 tokens say nothing of the next 2,000."""
    learned = history(timing(0.2, prompt_tokens=1000))
    assert limits(PHI, learned, 3000).first_token == pytest.approx(100.0, rel=0.1)
    assert limits(GPT, learned, 40_000).first_token == pytest.approx(12.0, rel=0.1)


def test_when_long_prompts_are_forgotten_their_times_are_forgotten_with_them() -> None:
    """Or else a long prompt, measured against one of last week but timed like those of today, would never be answered again."""
    learned = history(timing(100.0, prompt_tokens=30_000))
    for _ in range(20 * HALVE_EVERY):
        learned.record(timing(0.2, prompt_tokens=20))
    assert limits(PHI, learned, 20).first_token == FIRST_TOKEN["edge"][0]
    assert limits(PHI, learned, 30_000).first_token == FIRST_TOKEN["edge"][1]


def test_a_load_has_three_times_its_history_and_a_minute_at_least() -> None:
    assert limits(PHI, history(timing(1.0, load=2.0)), 100).load == 60.0
    assert limits(PHI, history(timing(1.0, load=50.0)), 100).load == pytest.approx(150.0, rel=0.1)


def test_every_limit_that_was_passed_doubles_the_patience_until_a_success() -> None:
    learned = history(timing(6.0))
    usual = limits(GPT, learned, 100).first_token
    learned.missed()
    assert limits(GPT, learned, 100).first_token == 2 * usual
    learned.missed()
    assert limits(GPT, learned, 100).first_token == 4 * usual
    learned.record(timing(6.0))
    assert limits(GPT, learned, 100).first_token == usual


@pytest.mark.parametrize(("spec", "misses"), [(GPT, 4), (PHI, 5)])
def test_patience_doubles_beyond_the_clamp_up_to_ten_minutes(spec: ModelSpec, misses: int) -> None:
    learned = Learned()
    start = limits(spec, learned, 0).first_token
    told = []
    for _ in range(misses):
        learned.missed()
        told.append(limits(spec, learned, 0).first_token)
    assert told == [min(start * 2**miss, LONGEST) for miss in range(1, misses + 1)]
    assert told[-1] == LONGEST


@pytest.mark.parametrize("before", [0, ENOUGH], ids=["new", "known as quick"])
def test_a_model_that_thinks_for_minutes_in_silence_is_believed_once_it_has_answered(before: int) -> None:
    learned = history(timing(40.0), times=before)
    while limits(GPT, learned, 100).first_token < 200.0:
        learned.missed()
    learned.record(timing(200.0))
    assert learned.misses == 0
    assert limits(GPT, learned, 100).first_token == pytest.approx(300.0, rel=0.1)


@pytest.mark.parametrize("phase", ["connect", "load", "first_token", "idle"])
@pytest.mark.parametrize("learned", [None, history(timing(6.0, load=100.0))], ids=["start", "learned"])
def test_what_the_caller_sets_wins_and_leaves_the_rest(phase: str, learned: Learned | None) -> None:
    usual = limits(GPT, learned, 100)
    wished = replace(GPT, timeouts=Timeouts(**{phase: 0.01}))
    assert limits(wished, learned, 100) == replace(usual, **{phase: 0.01})


# --- what is usual ---


def test_the_p95_of_first_tokens_needs_twenty() -> None:
    assert p95_first_token(history(timing(1.0), times=19)) is None
    assert p95_first_token(history(timing(1.0), times=20)) == pytest.approx(1.0, rel=0.1)


def test_the_p95_leaves_one_in_twenty_out() -> None:
    learned = history(timing(1.0), times=96)
    for _ in range(4):
        learned.record(timing(50.0))
    assert p95_first_token(learned) == pytest.approx(1.0, rel=0.1)


def test_one_load_says_what_is_usual() -> None:
    assert median_load(Learned()) is None
    assert median_load(history(timing(1.0, load=30.0), times=1)) == pytest.approx(30.0, rel=0.1)
