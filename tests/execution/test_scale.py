"""How many tokens a model counts for what we estimate."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oblix.execution.scale import FEW, HIGHEST, LOWEST, SHORT, Scale


def noted(*answers: tuple[int, int]) -> float:
    scale = Scale()
    for counted, estimated in answers:
        scale.note(counted, estimated)
    return scale.factor


def test_a_few_answers_teach_nothing() -> None:
    assert noted(*[(50, 100)] * (FEW - 1)) == 1.0


def test_the_largest_ratio_counts() -> None:
    assert noted((50, 100), (70, 100), (60, 100)) == 0.7


def test_short_answers_are_left_out() -> None:
    assert noted(*[(1, SHORT - 1)] * 9) == 1.0


def test_what_is_no_matter_of_tokenizers_is_cut_off() -> None:
    assert noted(*[(9000, 100)] * FEW) == HIGHEST
    assert noted(*[(1, 100)] * FEW) == LOWEST


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 5000))))
def test_it_stays_within_its_bounds(answers: list[tuple[int, int]]) -> None:
    assert LOWEST <= noted(*answers) <= HIGHEST
