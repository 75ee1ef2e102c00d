"""What the kernel's counters of a connection gained between two looks at it."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from oblix.types.traffic import Exchange, TcpInfo

MOST_CONNECTIONS = (
    128  # the counters of the latest ones; a connection that is used again after so many others begins anew
)
_NEW = TcpInfo()
_SHARE = 1 / 8  # of a new sample in the kernel's smoothed round trip (RFC 6298)


class Gain(NamedTuple):
    """What happened on one connection since the last look.

    Attributes:
        since: When the last look was; that of this one for a new connection.
        lost: Segments that were sent again and had not arrived.
        resent: All segments that were sent again.
        bulk: Bytes that were sent and acknowledged, or received: the larger.
        busy: Seconds for which something waited for its acknowledgement.
        round_trip_ms: The newest round trip itself, not smoothed; `None` where there was none.
    """

    since: float
    segments: int = 0
    lost: int = 0
    resent: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    busy: float = 0.0
    round_trip_ms: float | None = None


class Counters:
    """The last look at each connection."""

    def __init__(self) -> None:
        self._last: OrderedDict[int, tuple[float, TcpInfo]] = OrderedDict()

    def gain(self, exchange: Exchange) -> Gain | None:
        """What was gained; `None` where the kernel tells nothing."""
        tcp, key = exchange.tcp, exchange.connection
        if tcp is None:
            return None
        since, before = self._last.get(key, (exchange.at, _NEW))
        self._last[key] = (exchange.at, tcp)
        self._last.move_to_end(key)
        if len(self._last) > MOST_CONNECTIONS:
            self._last.popitem(last=False)
        if (
            exchange.step == "connect"
        ):  # what was sent again was the first packet, of which nobody knows the way it was lost on
            return Gain(exchange.at)
        segments, resent = _more(tcp.segments, before.segments), _more(tcp.resent, before.resent)
        return Gain(
            since,
            segments,
            min(segments, max(0, resent - _more(tcp.spurious, before.spurious))),
            resent,
            _more(tcp.acked_bytes, before.acked_bytes),
            _more(tcp.received_bytes, before.received_bytes),
            (tcp.busy_seconds or 0.0) - (before.busy_seconds or 0.0),
            None if resent else newest_round_trip(before.rtt_ms, tcp, segments),
        )


def newest_round_trip(before_ms: float | None, tcp: TcpInfo, segments: int) -> float | None:
    """The round trip that brought the smoothed one from `before_ms` to where it is, in milliseconds.

    The kernel moves its mean by an eighth of each sample, so that after a jump, or behind a queue of our own, it is wrong for some twenty
    packets. One segment is one sample: then this is exact. Of several sent together every second one is acknowledged (RFC 5681, 4.2).
    """
    if tcp.rtt_ms is None or segments <= 0:
        return None
    if before_ms is None:
        return tcp.rtt_ms
    samples = (segments + 1) // 2
    found = before_ms + (tcp.rtt_ms - before_ms) / (1 - (1 - _SHARE) ** samples)
    return max(found, tcp.min_rtt_ms or 0.0) if found > 0 else None


def _more(now: int | None, before: int | None) -> int:
    return max(0, (now or 0) - (before or 0))
