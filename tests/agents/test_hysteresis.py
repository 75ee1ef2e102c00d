"""A limit is passed at once, and left only after some seconds well below it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.agents.hysteresis import BELOW, Band, Gate, step

BAND = Band(90.0, margin=5.0, hold=3.0)  # calm up to 85


def states(values: Sequence[float | None], *, every: float = 1.0, band: Band = BAND) -> str:
    """One letter for each value: `o`ver, or `-`."""
    gate, found = BELOW, ""
    for number, value in enumerate(values):
        gate = step(gate, value, number * every, band)
        found += "o" if gate.is_over else "-"
    return found


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([89.9, 90.0, 89.9, 86.0, 88.0, 89.0, 87.0], "-oooooo"),
        ([95.0, 85.0, 84.0, 84.0, 84.0], "oooo-"),
        ([95.0, 0.0, 0.0, 0.0, 0.0, 0.0], "oooo--"),
        ([95.0, 0.0, 0.0, 86.0, 0.0, 0.0, 0.0, 0.0], "ooooooo-"),
        ([95.0, 0.0, 0.0, 90.0, 0.0, 0.0, 0.0, 0.0], "ooooooo-"),
        ([0.0, 89.0, 0.0, 89.0], "----"),
        ([95.0, 0.0, 0.0, 0.0, 0.0, 89.9, 0.0], "oooo---"),
        ([None, 95.0, None, None, None, None], "-oooo-"),
        ([95.0, None, 0.0, None, 0.0], "oooo-"),
    ],
    ids=["held by the margin", "calm begins at the margin", "left after the hold", "not calm", "up again", "never", "left for good",
         "cannot be told", "cannot be told, and calm"],
)  # fmt: skip
def test_a_table(values: list[float | None], expected: str) -> None:
    assert states(values) == expected


def test_calm_is_counted_in_time_not_in_values() -> None:
    assert states([95.0] + [0.0] * 8, every=0.5) == "ooooooo--"
    assert states([95.0, 0.0, 0.0], every=60.0) == "oo-"
    assert step(Gate(is_over=True, calm_since=10.0), 0.0, 13.0, BAND) == BELOW


VALUES = st.none() | st.floats(0, 100) | st.sampled_from([84.9, 85.0, 85.1, 89.9, 90.0])


@given(st.lists(st.tuples(VALUES, st.floats(0.01, 5.0)), max_size=60))
def test_up_at_once_and_down_only_after_calm(steps: list[tuple[float | None, float]]) -> None:
    gate, at, calm_from = BELOW, 0.0, None
    for value, pause in steps:
        at += pause
        before, gate = gate, step(gate, value, at, BAND)
        is_calm = value is None or value <= 85.0
        calm_from = (at if calm_from is None else calm_from) if is_calm else None
        if value is not None and value >= 90.0:
            assert gate.is_over
        if gate.is_over and not before.is_over:
            assert value is not None
            assert value >= 90.0
        if before.is_over and not gate.is_over:
            assert calm_from is not None
            assert at - calm_from >= 3.0


@given(st.lists(st.floats(85.01, 100), min_size=1, max_size=60), st.floats(0.01, 10))
def test_around_a_limit_it_never_flaps(values: list[float], every: float) -> None:
    """Whatever goes on above the calm zone: at most one change, upwards."""
    assert "o-" not in states(values, every=every)


@given(st.lists(st.sampled_from([0.0, 100.0]), max_size=100))
def test_short_pauses_are_no_end(values: list[float]) -> None:
    """A load that comes and goes counts as one that stays, as long as it never pauses for three seconds."""
    found = states(values, every=0.5)
    for at in range(1, len(found)):
        if found[at - 1 : at + 1] == "o-":
            assert values[at - 6 : at + 1] == [0.0] * 7
