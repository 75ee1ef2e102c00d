"""How fast the way is, from how segments came over it: the pace that most of them kept, where it was the way that set it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

# The least of a slot. Less would be noise of when we looked: over 20 ms that is one segment of the 17 that 10 Mbit/s bring.
SLOT_SEGMENTS, SLOT_SECONDS = 12, 0.02
FEWEST_SLOTS = 4
ALIKE = 1.3  # the fastest of the slots that count may be so much faster than the slowest
MOST = 0.5  # share of the segments that they have to hold
LASTING = 1.5  # round trips that they have to reach over
# Seconds within which a wireless link passes on what came for it, in one bundle; and how much may come between two looks, as a multiple
# of what an even flow in such bundles would bring. A sender that writes, and waits, is above; so is one whose window losses keep small.
BUNDLE, BUNDLED = 0.006, 1.4


class Look(NamedTuple):
    """How many segments had come when we looked."""

    at: float
    segments: int


class _Slot(NamedTuple):
    looks: Sequence[Look]
    segments: int
    seconds: float

    @property
    def pace(self) -> float:
        return self.segments / self.seconds


def rate(looks: Sequence[Look], *, round_trip: float, must_flow: bool = True) -> float | None:
    """Segments a second, as the way spaces them that come back to back; `None` where it was not the way that spaced them.

    The mean would tell how careful the sender was: TCP feels its way, in bursts with pauses between them (Reno, Cubic) or evenly and
    faster with every round trip (BBR), until the narrowest link does not let it. So the flow is cut into slots of a few segments, and
    the densest group of slots that are alike counts: pauses are slots like any other, but hold few segments. The group has to reach
    over more than a round trip, for which a sender that still feels its way would not have kept one pace. Tried on 129 recorded
    transfers of 300 kB and 1 MB over 16 links (to 20 % loss, 40 ms of jitter, 300 ms round trip), by BBR and Reno: right within 25 %, or
    `None`, but for two uploads that loss alone held at 2 and 3 Mbit/s.

    Args:
        looks: In order of time, some milliseconds apart; unevenly, where the loop was busy.
        round_trip: Seconds, of the empty way.
        must_flow: Also ask for an even flow within the slots. Else a sender that writes a little and waits a little would be taken for
            a slow way. Not needed for what we send ourselves.
    """
    slots = list(_slots(looks))
    alike = _densest(slots)
    segments, seconds = sum(slot.segments for slot in alike), sum(slot.seconds for slot in alike)
    if len(alike) < FEWEST_SLOTS or segments < MOST * sum(slot.segments for slot in slots):
        return None
    begin, end = min(slot.looks[0].at for slot in alike), max(slot.looks[-1].at for slot in alike)
    if end - begin < LASTING * round_trip:
        return None
    pace = segments / seconds
    return None if must_flow and _bundling(alike, pace) > BUNDLED else pace


def _slots(looks: Sequence[Look]) -> Iterator[_Slot]:
    first = 0
    for last, look in enumerate(looks):
        segments, seconds = look.segments - looks[first].segments, look.at - looks[first].at
        if segments >= SLOT_SEGMENTS and seconds >= SLOT_SECONDS:
            yield _Slot(looks[first : last + 1], segments, seconds)
            first = last


def _densest(slots: Iterable[_Slot]) -> Sequence[_Slot]:
    """Of all groups of slots that are alike the one with the most segments."""
    ordered = sorted(slots, key=lambda slot: slot.pace)
    first = segments = most = 0
    best = slice(0)
    for last, slot in enumerate(ordered):
        segments += slot.segments
        while slot.pace > ALIKE * ordered[first].pace:
            segments -= ordered[first].segments
            first += 1
        if segments > most:
            most, best = segments, slice(first, last + 1)
    return ordered[best]


def _bundling(slots: Iterable[_Slot], pace: float) -> float:
    """What the mean segment saw come with it, as a multiple of what would have come at that pace (and at least itself)."""
    total = seen = 0.0
    for slot in slots:
        for before, look in pairwise(slot.looks):
            came = look.segments - before.segments
            total += came
            seen += came * came / max(1.0, pace * (look.at - before.at + BUNDLE))
    return seen / total
