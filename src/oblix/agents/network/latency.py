"""The round trip of one way: from handshakes and acknowledgements, without what queued behind ourselves."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import NamedTuple

from oblix.agents.network.figure import FORGET, Figure, Source, median

SPAN = 60.0  # seconds that an estimate looks back, while there are that many samples
MOST = 40  # samples; the middle of so many stays within 5 % where single ones vary by a quarter
JUMP = 4  # samples in a row beyond the old ones are another network: by chance once in 10,000
_DRAIN = 0.5  # seconds until the queue is empty that our own data made
_LEAST_HELD = 1.0  # milliseconds; a packet with a prompt in it takes longer on a slow line than an empty one
# Milliseconds for which a receiver may hold an acknowledgement back, hoping to send it with data (Linux: TCP_DELACK_MIN, 40 ms). An answer
# that takes longer to think of comes too late for that, so that acknowledgements alone would tell 60 ms of a way of 20 ms.
MOST_HELD = 45.0
_ALIKE_MS = 2.5


class Sample(NamedTuple):
    """One round trip."""

    at: float
    ms: float
    by: Source
    is_handshake: bool


class Latency:
    """Keeps the latest samples of one way.

    A handshake is answered by the kernel at once; an acknowledgement may be held back. Where the acknowledgements that lie near a handshake
    are all longer by up to `MOST_HELD`, so much is taken off.
    """

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=MOST)
        self._before_jump: list[Sample] = []
        self._queued: Sample | None = None  # the newest one that waited behind our own data: better than nothing
        self._busy_until = float("-inf")
        self._busy_since = float("-inf")
        self._middle = 0.0  # as it was last told
        self._held = 0.0
        self._checked_at = float("-inf")  # when a handshake last stood beside acknowledgements

    def add(self, sample: Sample) -> None:
        """Take a sample in."""
        if self._busy_since <= sample.at <= self._busy_until + _DRAIN:
            self._queued = sample
            return
        self._samples.append(sample)
        self._calibrate(sample)
        self._forget_before_jump()

    def disturbed(self, since: float, until: float) -> None:
        """Our own data filled the way in this time: what was measured then says how long our queue was."""
        if since > self._busy_until:
            self._busy_since = since
        self._busy_since, self._busy_until = min(self._busy_since, since), max(self._busy_until, until)
        kept = [sample for sample in self._samples if not since <= sample.at <= until]
        if len(kept) < len(self._samples):
            self._queued = self._samples[-1]
            # What looked like a jump was that queue: then the samples from before it are right still.
            self._before_jump = [sample for sample in self._before_jump if not since <= sample.at <= until]
            self._samples = deque(kept or self._before_jump, maxlen=MOST)

    def estimate(self, now: float) -> Figure | None:
        """Milliseconds there and back; `None` where nothing was measured in the last five minutes."""
        newest = self._samples[-1] if self._samples else self._queued
        if newest is None or now - newest.at > FORGET:
            return None
        values = [self._value(sample) for sample in self._samples if now - sample.at <= SPAN]
        self._middle = median(values) if values else self._value(newest)
        return Figure(self._middle, newest.at, newest.by)

    def is_in_doubt(self, now: float) -> bool:
        """Whether acknowledgements came later than the last handshake allows, and only a new one can say whether the way grew longer."""
        newest = self._samples[-1] if self._samples else None
        return self._held > 0 and newest is not None and not newest.is_handshake and now - self._checked_at > SPAN / 2

    def _value(self, sample: Sample) -> float:
        return sample.ms if sample.is_handshake else sample.ms - self._held

    def _calibrate(self, newest: Sample) -> None:
        handshake = next((sample for sample in reversed(self._samples) if sample.is_handshake), None)
        if handshake is None or newest.at - handshake.at > SPAN / 6:
            return
        self._checked_at = handshake.at
        near = [s.ms for s in self._samples if not s.is_handshake and abs(s.at - handshake.at) <= SPAN / 6]
        if len(near) >= JUMP:
            middle, least = median(near), min(near) - handshake.ms
            # All of them, and by more than they differ: with jitter the handshake may merely have been the luckiest packet.
            is_constant = least > _LEAST_HELD and least > 2 * (middle - min(near))
            self._held = middle - handshake.ms if is_constant and middle - handshake.ms <= MOST_HELD else 0.0

    def _forget_before_jump(self) -> None:
        """Take the newest alone, if they are unlike all before."""
        newest = [self._value(sample) for sample in islice(self._samples, max(0, len(self._samples) - JUMP), None)]
        if not self._is_beyond(min(newest), max(newest), self._middle, self._middle):
            return  # mostly: looking at all of them takes ten times as long
        old = sorted(self._value(sample) for sample in islice(self._samples, len(self._samples) - len(newest)))
        if old and self._is_beyond(min(newest), max(newest), old[len(old) // 10], old[-1 - len(old) // 10]):
            self._before_jump = [*self._before_jump, *islice(self._samples, len(old))][-MOST:]
            self._samples = deque(islice(self._samples, len(old), None), maxlen=MOST)

    @staticmethod
    def _is_beyond(least: float, most: float, low: float, high: float) -> bool:
        return least > 1.1 * high + _ALIKE_MS or most < 0.9 * low - _ALIKE_MS
