"""The matrix as tests: the page's five programs, in each condition, end as the page's text says they should."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from . import page
from .matrix import Cell, cells, try_cell
from .world import World

pytestmark = [pytest.mark.seed, pytest.mark.netns, pytest.mark.engine]


@pytest.fixture(scope="module")
def programs(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    reason = page.absent()
    if reason is not None and os.environ.get("CI"):
        pytest.fail(f"in CI the page's programs must run: {reason}")
    if reason is not None:
        pytest.skip(reason)
    return page.cut(tmp_path_factory.mktemp("page"))


@pytest.mark.parametrize("cell", list(cells()), ids=str)
def test_program_in_condition(cell: Cell, world: World, programs: dict[str, Path]) -> None:
    """It prints what it should, and nothing that it should not."""
    result = try_cell(cell, programs[cell.program], world)
    assert not result.problems, "\n".join([*result.problems, result.output])
