"""A hundred kills at random tokens: each answer comes whole, or ends in the error that says so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from .kills import Round, run

KILLS = 100
SEED = 20261123


@pytest.mark.engine
@pytest.mark.timeout(600)  # 65 s on two free cores
def test_a_hundred_kills_lose_nothing_and_nobody_elsewhere_notices(weights: Path) -> None:
    tally = asyncio.run(run(weights, KILLS, seed=SEED))
    print(f"seed={SEED}", tally.line())
    assert tally.complaints == []
    assert tally.kills == KILLS
    assert tally.whole + tally.typed == 2 * (tally.kills + tally.missed)
    assert tally.noticed_elsewhere == 0


def test_the_same_seed_gives_the_same_kills() -> None:
    assert [Round.draw(7, number) for number in range(50)] == [Round.draw(7, number) for number in range(50)]
