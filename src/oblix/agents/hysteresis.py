"""Hysteresis: a limit is passed at once, and left only after some seconds well below it. Pure."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass


@dataclass(frozen=True, slots=True)
class Band:
    """A limit, and what it takes to leave it.

    Attributes:
        limit: At this value or above it, the limit is passed.
        margin: A value that is at least so far below the limit is calm; between the two nothing changes.
        hold: Seconds for which every value must be calm before the limit is left.
    """

    limit: float
    _: KW_ONLY
    margin: float
    hold: float


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether a limit is passed, and since when its values have been calm.

    Attributes:
        calm_since: The time of the first calm value of those that came last; `None` where the last one was not calm.
    """

    is_over: bool = False
    calm_since: float | None = None


BELOW = Gate()


def step(gate: Gate, value: float | None, at: float, band: Band) -> Gate:
    """The gate after one more value.

    Args:
        value: `None`: nobody can tell; that speaks for nothing, and counts as calm.
        at: When, in seconds on any clock that does not go back.
    """
    if value is not None and value >= band.limit:
        return Gate(is_over=True)
    if not gate.is_over:
        return BELOW
    if value is not None and value > band.limit - band.margin:
        return Gate(is_over=True)
    since = at if gate.calm_since is None else gate.calm_since
    return BELOW if at - since >= band.hold else Gate(is_over=True, calm_since=since)
