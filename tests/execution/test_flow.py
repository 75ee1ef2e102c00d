"""Whether an answer comes while it is written."""

from __future__ import annotations

import pytest

from oblix.execution.flow import LONG, Flow
from oblix.types.money import IN_FLIGHT


def read(*pieces: tuple[float, float]) -> bool | None:
    """Pieces of so many tokens, each so many seconds after the one before."""
    flow, now = Flow(), 0.0
    for tokens, pause in pieces:
        now += pause
        flow.came(tokens, now)
    return flow.is_steady


@pytest.mark.parametrize(
    ("pieces", "is_steady"),
    [
        pytest.param([(1, 0.01)] * 500, True, id="a quick cloud, token by token"),
        pytest.param([(20, 0.2)] * 20, True, id="in small parts"),
        pytest.param([(1, 0.01)] * 20, None, id="too short to tell"),
        pytest.param([(1, 0.0)] * IN_FLIGHT, None, id="short, and at once"),
        pytest.param([(1, 0.0)] * 500, False, id="all at once, in pieces"),
        pytest.param([(500, 9.0)], False, id="all at once, in one piece"),
        pytest.param([(100, 0.5)] * 5, False, id="in large parts"),
        pytest.param([(1, 0.0005)] * 500, False, id="quicker than we can stop it"),
        pytest.param([(1, 0.01)] * 100 + [(1, 0.0)] * 50, False, id="held up once"),
        pytest.param([], None, id="nothing"),
    ],
)
def test_an_answer_flows_if_it_never_runs_ahead(pieces: list[tuple[float, float]], is_steady: bool | None) -> None:
    assert read(*pieces) is is_steady


def test_long_enough_to_tell() -> None:
    assert read(*[(1, 0.01)] * LONG) is True
