"""Latency, loss and the kernel's counters: what comes out for links whose truth is known."""

from __future__ import annotations

import random
from statistics import median as exact_median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.agents.network.counters import Counters, newest_round_trip
from oblix.agents.network.figure import FORGET, Figure, fresh, median
from oblix.agents.network.latency import JUMP, Latency, Sample
from oblix.agents.network.loss import ENOUGH, LossCount, wilson
from oblix.types.traffic import Endpoint, Exchange, TcpInfo

HOST = Endpoint("https", "api.example", 443)
seeds = st.integers(0, 2**32)


def handshake(at: float, ms: float) -> Sample:
    return Sample(at, ms, "traffic", True)


def acknowledged(at: float, ms: float) -> Sample:
    return Sample(at, ms, "traffic", False)


def told(latency: Latency, now: float) -> float:
    figure = latency.estimate(now)
    assert figure is not None
    return figure.value


# --- latency ---


@given(st.floats(1, 500), st.floats(0, 0.5), seeds)
def test_with_jitter_the_middle_is_told(ms: float, share: float, seed: int) -> None:
    rng, latency = random.Random(seed), Latency()
    latency.add(handshake(0.0, ms * (1 + share * rng.uniform(-1, 1))))
    for i in range(60):
        latency.add(acknowledged(0.3 * i, ms * (1 + share * rng.uniform(-1, 1))))
    assert told(latency, 20.0) == pytest.approx(ms, rel=0.3, abs=5)


def test_jitter_of_a_third_stays_within_fifteen_percent() -> None:
    wrong = 0
    for seed in range(300):
        rng, latency = random.Random(seed), Latency()
        for i in range(40):
            latency.add(Sample(0.3 * i, 100 + rng.uniform(-30, 30), "traffic", i % 13 == 0))
        wrong += abs(told(latency, 12.0) - 100) > 15
    assert wrong <= 3


@pytest.mark.parametrize(("before", "after"), [(20.0, 300.0), (300.0, 20.0), (20.0, 40.0)])
def test_a_jump_is_told_after_a_few_exchanges(before: float, after: float) -> None:
    latency = Latency()
    for i in range(200):
        latency.add(acknowledged(0.3 * i, before + i % 3))
    for i in range(JUMP):
        assert told(latency, 60.0) == pytest.approx(before + 1, abs=1)
        latency.add(acknowledged(60.0 + 0.3 * i, after))
    assert told(latency, 62.0) == pytest.approx(after)


def test_what_queued_behind_our_own_upload_is_not_the_way() -> None:
    latency = Latency()
    for i in range(10):
        latency.add(acknowledged(0.3 * i, 20.0))
    for i in range(20):
        latency.add(acknowledged(10 + 0.1 * i, 900.0))
    latency.disturbed(10.0, 12.0)  # told at the end of the upload
    latency.add(acknowledged(11.9, 900.0))
    assert told(latency, 12.0) == 20.0
    latency.add(acknowledged(12.9, 22.0))
    assert told(latency, 13.0) == pytest.approx(20.0, abs=2)


def test_two_jumps_of_one_queue_are_taken_back() -> None:
    latency = Latency()
    for i in range(10):
        latency.add(acknowledged(0.3 * i, 26.0))
    for i, ms in enumerate((215.0, 214.0, 216.0, 215.0, 79.0, 80.0, 78.0, 79.0)):
        latency.add(acknowledged(10 + 0.1 * i, ms))
        latency.estimate(10 + 0.1 * i)
    latency.disturbed(9.5, 11.0)
    assert told(latency, 11.0) == 26.0


def test_a_queue_is_better_than_nothing() -> None:
    latency = Latency()
    latency.disturbed(0.0, 5.0)
    latency.add(acknowledged(1.0, 900.0))
    assert told(latency, 2.0) == 900.0


def test_acknowledgements_that_are_held_back_are_told_apart_by_a_handshake() -> None:
    """A peer that thinks for long holds its acknowledgements back for 40 ms; nobody holds a handshake back."""
    latency = Latency()
    latency.add(handshake(0.0, 20.0))
    for i in range(8):
        latency.add(acknowledged(0.3 * i, 60.0 + i % 2))
    assert told(latency, 3.0) == pytest.approx(20.0, abs=2)
    assert not latency.is_in_doubt(3.0)
    assert latency.is_in_doubt(100.0)  # by now the way itself may have grown
    latency.add(handshake(100.0, 60.0))
    for i in range(8):
        latency.add(acknowledged(100.0 + 0.3 * i, 60.0))
    assert told(latency, 103.0) == pytest.approx(60.0, abs=2)
    assert not latency.is_in_doubt(200.0)


def test_old_latencies_are_forgotten() -> None:
    latency = Latency()
    assert latency.estimate(0.0) is None
    latency.add(acknowledged(0.0, 20.0))
    assert latency.estimate(FORGET) is not None
    assert latency.estimate(FORGET + 1) is None


# --- loss ---


@pytest.mark.parametrize("loss", [0.0, 0.01, 0.05, 0.2, 0.5])
def test_the_interval_holds_the_truth_and_narrows(loss: float) -> None:
    missed, off = 0, 0
    for seed in range(200):
        rng, count = random.Random(seed), LossCount()
        for i in range(ENOUGH):
            lost = rng.random() < loss
            count.add(0.1 * i, 1, lost, lost)
        found = count.estimate(0.1 * ENOUGH)
        assert found is not None
        missed += not found.low <= 100 * loss <= found.high
        off += abs(found.percent - 100 * loss) > 5
    assert missed <= 6  # 1 in 100 is promised
    assert off <= 2 or loss == 0.5


@given(st.integers(1, 2000), st.data())
def test_the_interval_lies_around_the_share(total: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, total))
    low, high = wilson(count, total)
    assert 0.0 <= low <= count / total <= high <= 1.0


def test_a_loss_that_begins_is_told_soon() -> None:
    rng, count = random.Random(1), LossCount()
    for i in range(1000):
        count.add(0.1 * i, 1, 0, 0)
    for i in range(200):
        lost = rng.random() < 0.2
        count.add(100 + 0.1 * i, 1, lost, lost)
    found = count.estimate(120.0)
    assert found is not None
    assert found.percent == pytest.approx(20, abs=7)
    assert found.is_above(10)


def test_what_arrived_after_all_is_not_lost_and_a_cut_is_no_loss() -> None:
    count = LossCount()
    assert count.estimate(0.0) is None
    count.add(0.0, 0, 0, 0)
    assert count.estimate(0.0) is None
    count.add(0.0, 100, 0, 30)
    count.add(50.0, 100, 100, 100)
    count.forget_since(50.0)
    found = count.estimate(50.0)
    assert found is not None
    assert (found.percent, found.segments, found.resent_share) == (0.0, 100, 0.3)
    assert not found.is_above(0.1)
    assert count.estimate(500.0) is None


# --- the kernel's counters ---


@given(st.lists(st.floats(1, 2000), min_size=1, max_size=50))
def test_the_newest_round_trip_is_found_behind_the_kernels_mean(samples: list[float]) -> None:
    smoothed: float | None = None
    for sample in samples:
        before, smoothed = smoothed, sample if smoothed is None else smoothed + (sample - smoothed) / 8
        assert newest_round_trip(before, TcpInfo(rtt_ms=smoothed), 1) == pytest.approx(sample, rel=1e-6)


def test_no_round_trip_is_made_up() -> None:
    assert newest_round_trip(None, TcpInfo(), 1) is None
    assert newest_round_trip(20.0, TcpInfo(rtt_ms=20.0), 0) is None
    assert newest_round_trip(2000.0, TcpInfo(rtt_ms=10.0), 1) is None  # the mean cannot have fallen so fast
    assert newest_round_trip(20.0, TcpInfo(rtt_ms=19.0, min_rtt_ms=15.0), 1) == 15.0


def look(at: float, tcp: TcpInfo | None, step: str = "answer", connection: int = 1) -> Exchange:
    return Exchange(HOST, at, step, connection=connection, tcp=tcp)  # type: ignore[arg-type]  # one of the steps


def test_counters_tell_what_was_gained_on_each_connection() -> None:
    counters = Counters()
    assert counters.gain(look(0.0, None)) is None
    first = counters.gain(look(1.0, TcpInfo(resent=1), "connect"))
    assert first is not None
    assert (first.segments, first.resent, first.lost) == (0, 0, 0)  # a first packet says nothing of the way there alone
    second = counters.gain(look(2.0, TcpInfo(segments=10, resent=4, spurious=1, acked_bytes=5000, busy_seconds=0.5)))
    assert second is not None
    assert (second.since, second.segments, second.resent, second.lost) == (1.0, 10, 3, 2)
    assert (second.sent_bytes, second.busy, second.round_trip_ms) == (5000, 0.5, None)
    other = counters.gain(look(3.0, TcpInfo(segments=2, rtt_ms=20.0), connection=2))
    assert other is not None
    assert (other.since, other.segments, other.round_trip_ms) == (3.0, 2, 20.0)
    for number in range(3, 200):
        counters.gain(look(4.0, TcpInfo(segments=1), connection=number))
    again = counters.gain(look(5.0, TcpInfo(segments=10)))
    assert again is not None
    assert again.since == 5.0  # forgotten among so many


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_the_median_is_the_median(values: list[float]) -> None:
    assert median(values) == pytest.approx(exact_median(values))


def test_a_figure_is_forgotten_after_five_minutes() -> None:
    figure = Figure(1.0, 0.0, "probe")
    assert fresh(figure, FORGET) is figure
    assert fresh(figure, FORGET + 1) is None
    assert fresh(None, 0.0) is None
