"""Looks at a connection every few milliseconds while much goes over it, and tells how fast the way was."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable

from oblix.models import tcp_info
from oblix.models.rates import Look, rate
from oblix.models.tcp_info import Progress

LOOK_EVERY = 0.005  # seconds; 0.3 % of a core while it lasts
QUIET = 0.5  # seconds without a segment, after which nobody looks any more; longer than any round trip worth the name
MOST_LOOKS = 2_000  # 10 s
# Share of a full segment that segments hold on average where more waits to be sent. 16 kB that are sent as soon as they are written: 0.94.
FULL = 0.96
LOSSY = 0.02  # share of the segments sent again
QUEUED, UNEVEN = 1.05, 0.003  # a round trip that is longer by this factor, and these seconds, waited in a queue
HELD = 0.5  # share of the time; where a reader here, or the peer's window, was the limit for longer we say nothing


class Meter:
    """The looks at one connection during one answer."""

    def __init__(self, sock: socket.socket) -> None:
        self.is_looking = False
        self._socket = sock
        self._looks: deque[tuple[float, Progress]] = deque(maxlen=MOST_LOOKS)
        self._moved_at = 0.0
        self._unread = 0

    def look(self, now: float, *, is_read: bool = True) -> bool:
        """Look once; whether it is worth to look again soon.

        Args:
            is_read: Somebody on this side takes what comes.
        """
        found = tcp_info.progress(self._socket)
        if found is None:
            self.is_looking = False
            return False
        before = self._looks[-1][1] if self._looks else None
        if before is None or (found.arrived, found.delivered) != (before.arrived, before.delivered):
            self._moved_at = now
        self._looks.append((now, found))
        self._unread += not is_read
        self.is_looking = now - self._moved_at < QUIET
        return self.is_looking

    def down_mbps(self, round_trip: float) -> float | None:
        """Mbit/s of the way here, without headers; `None` where it was not the way that set the pace.

        Args:
            round_trip: Seconds, of the empty way.
        """
        segments, size = self._went(lambda found: found.arrived), self._went(lambda found: found.received_bytes)
        if not segments or size < FULL * segments * self._looks[-1][1].full or self._unread > HELD * len(self._looks):
            return None  # what was written in small pieces, each of them sent at once, did not wait for the way
        pace = rate([Look(at, found.arrived) for at, found in self._looks], round_trip=round_trip)
        return None if pace is None else 8e-6 * pace * size / segments

    def up_mbps(self, round_trip: float) -> float | None:
        """The same of the way there."""
        segments, size = self._went(lambda found: found.delivered), self._went(lambda found: found.acked_bytes)
        if not segments or self._is_held() or self._is_held_by_loss(segments, round_trip):
            return None
        looks = [Look(at, found.delivered) for at, found in self._looks]
        # What we send was given to the kernel at once, so that no pause is ours.
        pace = rate(looks, round_trip=round_trip, must_flow=False)
        return None if pace is None else 8e-6 * pace * size / segments

    def _is_held(self) -> bool:
        """Whether the peer's window, or a buffer here, was the limit."""
        return self._went(lambda found: found.held) > HELD * self._went(lambda found: found.busy)

    def _is_held_by_loss(self, segments: float, round_trip: float) -> bool:
        """Whether packets got lost though none had to wait. A link that is full loses packets as well, but others queue for it."""
        slowest = max(found.rtt for _, found in self._looks)
        return self._went(lambda found: found.resent) > LOSSY * segments and slowest < QUEUED * round_trip + UNEVEN

    def _went(self, what: Callable[[Progress], float]) -> float:
        """By how much it grew from the first look to the last."""
        return what(self._looks[-1][1]) - what(self._looks[0][1]) if self._looks else 0.0
