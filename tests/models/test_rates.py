"""The pace of a way, out of simulated flows: senders that feel their way, links that space segments, looks that come late."""

from __future__ import annotations

import bisect
import random
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.models.rates import Look, rate

ROUND_TRIPS = st.floats(0.005, 0.3)
PACES = st.floats(40, 2_500)  # segments a second: 0.5 to 30 Mbit/s


def link(sent: Iterable[float], pace: float, round_trip: float) -> list[float]:
    """When segments arrive that were sent at those times: one after the other, as the narrowest link lets them through."""
    arrived: list[float] = []
    free = 0.0
    for at in sent:
        free = max(at, free) + 1 / pace
        arrived.append(free + round_trip / 2)
    return arrived


def bursts(segments: int, round_trip: float, first: int = 10) -> list[float]:
    """Slow start without pacing: a window at once, then one twice as large with each round trip."""
    sent: list[float] = []
    window, at = first, 0.0
    while len(sent) < segments:
        sent += [at] * min(window, segments - len(sent))
        window, at = 2 * window, at + round_trip
    return sent


def paced(segments: int, round_trip: float, first: int = 10) -> list[float]:
    """Slow start with pacing: the same windows, each spread over its round trip."""
    sent: list[float] = []
    window, at = first, 0.0
    while len(sent) < segments:
        sent += [at + round_trip * number / window for number in range(min(window, segments - len(sent)))]
        window, at = 2 * window, at + round_trip
    return sent


def looks(arrived: list[float], *, late: float = 0.0, seed: int = 0) -> list[Look]:
    """A look every 5 ms, each up to `late` seconds late."""
    chance = random.Random(seed)
    at, found = arrived[0], []
    while at < arrived[-1] + 0.005:
        found.append(Look(at, bisect.bisect_right(arrived, at)))
        at += 0.005 + late * chance.random()
    return found


@given(PACES, ROUND_TRIPS, st.floats(0, 0.01), st.integers(0, 9), st.booleans())
def test_a_flow_that_fills_the_link(pace: float, round_trip: float, late: float, seed: int, must_flow: bool) -> None:
    """Whatever is sent at once has to pass one after the other, and a look that comes late counts for its time."""
    segments = max(700, int(4 * pace * round_trip))
    flow = link([0.0] * segments, pace, round_trip)
    said = rate(looks(flow, late=late, seed=seed), round_trip=round_trip, must_flow=must_flow)
    assert said == pytest.approx(pace, rel=0.1)


@given(st.floats(200, 1_600), st.floats(0.1, 0.3), st.integers(0, 9))
def test_slow_start_in_bursts(pace: float, round_trip: float, seed: int) -> None:
    """The mean is far below, because of the pauses; within each burst the link spaced the segments."""
    found = rate(looks(link(bursts(600, round_trip), pace, round_trip), late=0.002, seed=seed), round_trip=round_trip)
    assert found is None or found == pytest.approx(pace, rel=0.25)


@pytest.mark.parametrize("mbps", [1, 2, 5, 10])
def test_200_kilobytes_in_slow_start_on_a_link_of_300_ms(mbps: int) -> None:
    pace = mbps * 125_000 / 1_500
    assert rate(looks(link(bursts(145, 0.3), pace, 0.3)), round_trip=0.3) == pytest.approx(pace, rel=0.25)


@given(st.floats(0.04, 0.3), st.integers(100, 1_000))
def test_a_sender_that_feels_its_way_evenly_is_not_taken_for_the_way(round_trip: float, segments: int) -> None:
    """The link could take ten times what is sent; a pace that doubles with each round trip is the sender's."""
    flow = link(paced(segments, round_trip), 1e5, round_trip)
    assert rate(looks(flow), round_trip=round_trip) is None


@given(
    st.integers(8, 64), st.floats(0.03, 0.2)
)  # one that writes once in a round trip of 0.02 s looks like a full window
def test_a_sender_that_writes_and_waits_is_not_taken_for_the_way(together: int, pause: float) -> None:
    flow = link([number * pause for number in range(60) for _ in range(together)], 1e5, 0.02)
    assert rate(looks(flow), round_trip=0.02) is None


def test_bundles_of_a_wireless_link_are_no_pauses() -> None:
    """800 segments a second, passed on every 5 ms."""
    flow = sorted(0.005 * (1 + number // 4) for number in range(800))
    assert rate(looks(flow), round_trip=0.03) == pytest.approx(800, rel=0.1)


@pytest.mark.parametrize("number", [0, 1, 2, 20])
def test_too_few_looks(number: int) -> None:
    assert rate([Look(0.005 * at, at) for at in range(number)], round_trip=0.01) is None


def test_nothing_came() -> None:
    assert rate([Look(0.005 * at, 7) for at in range(1_000)], round_trip=0.01) is None


@given(st.lists(st.tuples(st.floats(1e-4, 0.05), st.integers(0, 40)), max_size=200), st.floats(1e-4, 1))
def test_any_looks_at_all(steps: list[tuple[float, int]], round_trip: float) -> None:
    """There is an answer, or none, and it lies within what was seen."""
    at, segments, seen = 0.0, 0, [Look(0.0, 0)]
    for seconds, more in steps:
        at, segments = at + seconds, segments + more
        seen.append(Look(at, segments))
    found = rate(seen, round_trip=round_trip)
    paces = [(b.segments - a.segments) / (b.at - a.at) for a, b in pairwise(seen)]
    assert found is None or min(paces) <= found <= max(paces)
