"""How many tokens a model counts for what we estimate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.execution.scale import (
    FEW,
    HIGHEST,
    LOWEST,
    SHORT,
    UNKNOWN,
    UNKNOWN_WORDLESS,
    WORDLESS,
    PromptScale,
    Scale,
    kind_of,
)


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


PROSE = "Tell me of the sea and of those who sail it."


def test_a_prompt_has_a_margin_until_a_few_of_its_kind_are_known() -> None:
    scale, prose, keys = PromptScale(), kind_of([PROSE]), kind_of(["x7Kq9" * 400])
    assert (scale.safe(prose), scale.safe(keys)) == (UNKNOWN, UNKNOWN_WORDLESS)
    for number in range(FEW):
        assert scale.factor(prose) == 1.0
        scale.note(prose, 90, 100)
        assert (scale.safe(prose) == 1.0) is (number == FEW - 1), "never less than we estimate"
    for _ in range(FEW):
        scale.note(keys, 250, 100)
    assert (scale.safe(prose), scale.safe(keys), scale.factor(keys)) == (1.0, 2.5, 2.5)


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        pytest.param([PROSE, PROSE], 3, id="prose"),
        pytest.param(["1 2 3 4 5 6 7 8"], 1, id="figures"),
        pytest.param(["x" * 500], WORDLESS, id="no words"),
        pytest.param([PROSE, "x" * 500], WORDLESS, id="mostly no words"),
        pytest.param(["海" * 500], -1, id="a script without spaces"),
        pytest.param([], 0, id="nothing"),
    ],
)
def test_texts_are_told_apart_by_their_words(texts: list[str], kind: int) -> None:
    assert kind_of(texts) == kind
