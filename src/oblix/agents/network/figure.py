"""A measured figure, with its age and how it was come by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

Source = Literal["traffic", "probe"]
FORGET = 300.0  # seconds after which a figure says nothing of the present any more


class Figure(NamedTuple):
    """One figure.

    Attributes:
        at: When the newest sample in it was taken, on the clock of the exchanges, in seconds.
        by: `traffic`: real calls told it. `probe`: we looked because nobody called.
    """

    value: float
    at: float
    by: Source


def fresh(figure: Figure | None, now: float) -> Figure | None:
    """The figure, unless it is older than five minutes."""
    return figure if figure is not None and now - figure.at <= FORGET else None


def median(values: Iterable[float]) -> float:
    """The middle one; of an even number the mean of the two in the middle. `statistics` takes ten times as long."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
