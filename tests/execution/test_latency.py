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
    assert limits(spec, learned, 100) == start


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
def test_learned_limits_stay_within_their_clamps(
    spec: ModelSpec, samples: list[Timing], prompt_tokens: int, misses: int
) -> None:
    learned = history(*samples, times=1)
    learned.misses = misses
    found = limits(spec, learned, prompt_tokens)
    for seconds, (least, most) in (
        (found.first_token, FIRST_TOKEN[spec.place]),
        (found.idle, IDLE[spec.place]),
        (found.load, LOAD),
    ):
        assert least <= seconds <= most


@given(spec=specs, first=durations, gap=durations, load=durations, factor=st.floats(1, 10))
def test_a_slower_model_never_gets_less_patience(
    spec: ModelSpec, first: float, gap: float, load: float, factor: float
) -> None:
    fast = limits(spec, history(timing(first, gap, load)), 100)
    slow = limits(spec, history(timing(first * factor, gap * factor, load * factor)), 100)
    assert slow.first_token >= fast.first_token
    assert slow.idle >= fast.idle
    assert slow.load >= fast.load


@given(tokens=st.lists(st.integers(1, 10**6), min_size=2, max_size=2).map(sorted))
def test_a_longer_prompt_never_gets_less_patience(tokens: list[int]) -> None:
    learned = history(timing(8.0))
    short, long = (limits(PHI, learned, count).first_token for count in tokens)
    assert short <= long


def test_at_home_a_long_prompt_gets_time_in_proportion() -> None:
    learned = history(timing(10.0, prompt_tokens=1000))
    usual = limits(PHI, learned, 1000).first_token
    assert limits(PHI, learned, 10).first_token == usual
    assert limits(PHI, learned, 5000).first_token == pytest.approx(5 * usual, rel=0.1)


def test_a_cloud_reads_long_prompts_in_the_usual_time() -> None:
    learned = history(timing(10.0, prompt_tokens=1000))
    assert limits(GPT, learned, 100_000).first_token == limits(GPT, learned, 10).first_token


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
