"""How many of the packets that we send are lost, with an interval that holds the truth 99 times in 100.

What the other side sends and does not arrive, a receiver cannot see: that direction stays `None`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

SPAN = 180.0  # seconds that are pooled, unless the loss changed meanwhile
BIN = 1.0  # seconds; what happened within one is added up
ENOUGH = 700  # segments from which the estimate stands on its own: within 5 points at 20 %, 99.9 times in 100
_Z99 = 2.576  # standard deviations, for 99 % of a normal distribution
_Z_CHANGE = 4.0  # so far do two shares lie apart by chance once in 16,000 looks
_LEAST_BLOCK = 60  # segments on both sides of a change, below which nothing is made of it


class Loss(NamedTuple):
    """The share lost on the way there, in percent.

    Attributes:
        low: Lower end of the interval.
        high: Upper end of the interval.
        segments: What it stands on.
        resent_share: Share of segments sent again for any reason, in [0, 1]: what was lost here or on the way back, or came late.
    """

    percent: float
    low: float
    high: float
    segments: int
    resent_share: float
    at: float

    def is_above(self, percent: float) -> bool:
        """Whether the loss surely is higher, or is, by an estimate that stands on enough."""
        return self.low > percent or (self.segments >= ENOUGH and self.percent > percent)


class LossCount:
    """Adds up what was sent, and what of it was lost."""

    def __init__(self) -> None:
        self._bins: deque[_Bin] = deque()
        self._segments = self._lost = self._resent = 0  # in all bins

    def add(self, at: float, segments: int, lost: int, resent: int) -> None:
        """Take in what one connection sent since the last look at it."""
        if not segments:
            return
        if not self._bins or at - self._bins[-1].at >= BIN:
            self._forget_before_change()
            self._bins.append(_Bin(at, 0, 0, 0))
        newest = self._bins[-1]
        newest.segments, newest.lost, newest.resent = (
            newest.segments + segments,
            newest.lost + lost,
            newest.resent + resent,
        )
        self._segments, self._lost, self._resent = self._segments + segments, self._lost + lost, self._resent + resent

    def forget_since(self, at: float) -> None:
        """What was sent since then met no lossy way, but a cut one."""
        while self._bins and self._bins[-1].at > at - BIN:
            self._drop(self._bins.pop())

    def estimate(self, now: float) -> Loss | None:
        """The loss of the last minutes; `None` where nothing was sent."""
        while self._bins and now - self._bins[0].at > SPAN:
            self._drop(self._bins.popleft())
        if not self._bins:
            return None
        segments, lost, resent = self._segments, self._lost, self._resent
        # What had arrived after all is told by packets that may be lost themselves: half of as many again might have.
        low, _ = wilson(lost - min(lost, (resent - lost) / 2), segments)
        _, high = wilson(lost, segments)
        share = lost / segments
        return Loss(100 * share, 100 * low, 100 * high, segments, min(1.0, resent / segments), self._bins[-1].at)

    def _forget_before_change(self) -> None:
        """Drop what was before the loss changed: the newest segments must be unlike the older ones beyond chance."""
        new_segments = new_lost = kept = 0
        while kept < len(self._bins) and new_segments < _LEAST_BLOCK:
            kept += 1
            new_segments += self._bins[-kept].segments
            new_lost += self._bins[-kept].lost
        old_segments, old_lost = self._segments - new_segments, self._lost - new_lost
        if min(new_segments, old_segments) < _LEAST_BLOCK:
            return
        share = self._lost / self._segments
        spread = sqrt(share * (1 - share) * (1 / new_segments + 1 / old_segments))
        if abs(new_lost / new_segments - old_lost / old_segments) > _Z_CHANGE * spread:
            while len(self._bins) > kept:
                self._drop(self._bins.popleft())

    def _drop(self, old: _Bin) -> None:
        self._segments -= old.segments
        self._lost -= old.lost
        self._resent -= old.resent


@dataclass(slots=True)
class _Bin:
    at: float
    segments: int
    lost: int
    resent: int


def wilson(count: float, total: float, z: float = _Z99) -> tuple[float, float]:
    """Interval for a share of which `count` in `total` were seen, both ends in [0, 1].

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927; with Newcombe's correction for continuity
    (1998), because a narrow interval that misses the truth is worse than a wide one.
    """
    share = count / total
    middle, below = 2 * count + z * z, 2 * (total + z * z)
    low = (middle - 1 - z * sqrt(max(0.0, z * z - 2 - 1 / total + 4 * share * (total * (1 - share) + 1)))) / below
    high = (middle + 1 + z * sqrt(max(0.0, z * z + 2 - 1 / total + 4 * share * (total * (1 - share) - 1)))) / below
    return (0.0 if count <= 0 else max(0.0, min(low, share)), 1.0 if count >= total else min(1.0, max(high, share)))
