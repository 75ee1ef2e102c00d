"""A small race for the same budget; `make race` runs the large one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from .race import run


@pytest.mark.parametrize("kind", ["plain", "rough", "hidden"])
@pytest.mark.parametrize("share", [0.5, 0.05])
def test_a_budget_is_never_passed(share: float, kind: str, tmp_path: Path) -> None:
    """In four processes, whatever fails: nothing above the limit at any moment, no bill above what was charged, and the books add up."""
    race = asyncio.run(run(tmp_path, share, calls=80, rough=kind == "rough", hidden=kind == "hidden"))
    assert race.troubles == []
    assert race.overrun == 0
    assert race.settled <= race.limit
    assert race.limit * 0.8 < race.peak <= race.limit, "it was a race, and it was seen"
    if kind == "plain":
        assert race.settled <= race.billed * 1.02 + race.cut * 400
