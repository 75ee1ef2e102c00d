"""What real traffic to the cloud tells about the way there: each connection and each answer as an `Exchange`, and pulses in between."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import count
from typing import Protocol
from urllib.parse import urlsplit

from oblix.models import tcp_info
from oblix.models.dial import Dial
from oblix.models.meter import LOOK_EVERY, Meter
from oblix.types.traffic import Endpoint, Exchange, TcpInfo, Trouble

PULSE = 0.25  # seconds between two looks at what is awaited
SILENT = 0.5  # seconds; a longer silence is told at every pulse, while something is unanswered
GROWN = 8_000  # bytes between two pulses: 0.26 Mbit/s; from there on what is measured may queue behind our own traffic, and is told as such
TELL_EVERY = 0.05  # seconds
PIECE = 200_000  # bytes of one answer, or of one request, that a rate is taken from
BULK = 1_000  # bytes that come at once; less is a model writing
MUCH = (
    8_000  # bytes of such pieces within a pulse: 0.26 Mbit/s, from where it is metered; ten times what a model writes
)
LONG = 64_000  # bytes; the sending of a longer request is metered
_log = logging.getLogger("oblix.traffic")
_numbers = count(1)  # of the connections of all clients in this process: one agent may hear of several


@lru_cache(64)
def endpoint_of(address: str) -> Endpoint:
    """Scheme, host and port of an address; the scheme's own port where it names none."""
    parts = urlsplit(address)
    return Endpoint(parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))


class Watched(Protocol):
    """What pulses are taken of: a connection that is being made, or whose answer is awaited."""

    def look(self, now: float) -> Exchange | None:
        """What is new about it, as a pulse."""


class Tap:
    """What a connection to the cloud tells about the way. It is given sizes and times, and never what is said."""

    def __init__(self, dial: Dial, sock: socket.socket | None) -> None:
        self.number = dial.number
        self.endpoint = dial.endpoint
        self.is_proxied = dial.is_proxied
        self.is_asked = False
        self.is_read = True  # somebody takes what comes
        self.heard_at: float | None = None  # when the first byte of the answer came
        self.bulk = 0  # bytes that came in big pieces since the last pulse
        self.trouble: Trouble | None = None
        self.meter: Meter | None = None
        self._socket = sock
        self._asked_at = 0.0
        self._told_at = float("-inf")
        self._answers = 0
        self._acked = self._received = 0  # bytes, when the last answer ended
        self._seen = 0  # bytes, there and back, at the last pulse
        self._unanswered = 0

    def ask(self, now: float) -> None:
        """A request begins."""
        self.is_asked, self._asked_at = True, now
        self.heard_at = self.trouble = self.meter = None
        self.bulk = 0

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """The head of the answer. Without TLS anybody on the way may have written it: a page, or the way to one, is a portal's."""
        if status == 511:  # Network Authentication Required (RFC 6585)
            self.trouble = "portal"
        elif self.endpoint.scheme == "http" and status < 400:
            led_to = urlsplit(headers.get("location", "")).hostname if status >= 300 else None
            if led_to not in (None, self.endpoint.host) or headers.get("content-type", "").startswith("text/html"):
                self.trouble = "portal"

    def look(self, now: float) -> Exchange | None:
        """A pulse, where something is unanswered, is answered again, or has grown by much."""
        self.bulk = 0
        tcp = self._read()
        if tcp is None:
            return None
        seen, unanswered = (tcp.acked_bytes or 0) + (tcp.received_bytes or 0), tcp.unanswered or 0
        has_grown = seen - self._seen >= GROWN
        is_silent = unanswered > 0 and (tcp.silence or 0.0) > SILENT
        self._seen = seen
        if unanswered == self._unanswered and not has_grown and not is_silent:
            return None
        self._unanswered = unanswered
        return Exchange(self.endpoint, now, "pulse", connection=self.number, is_proxied=self.is_proxied, tcp=tcp)

    def end(self, now: float, *, every: float = 0.0) -> Exchange | None:
        """The answer, which came to its end, or broke; `None` where it says nothing about the way.

        Args:
            every: Of answers that came to a good end within so many seconds one is told; the counters of the next one hold theirs.
        """
        self.is_asked = False
        self._answers += 1
        if self.trouble is None and self.meter is None and now - self._told_at < every:
            return None
        if self.trouble in ("reset", "other") and self.heard_at is None and self._answers > 1:
            return None  # the peer had given up a connection that was kept for too long
        self._told_at = now
        if self.meter is not None:
            self.meter.look(now)  # by now every gap in what came is filled
        tcp = self._read()
        up, down = self._rates(tcp)
        return Exchange(
            self.endpoint,
            now,
            "answer",
            connection=self.number,
            is_proxied=self.is_proxied,
            first_byte_ms=None if self.heard_at is None else 1000 * (self.heard_at - self._asked_at),
            down_mbps=down,
            up_mbps=up,
            tcp=tcp,
            trouble=self.trouble,
        )

    def begin_meter(self) -> Meter | None:
        """A meter for the present answer, if it is not metered yet, and can be."""
        if self.meter is None and self._socket is not None:
            self.meter = Meter(self._socket)
        return self.meter

    def _read(self) -> TcpInfo | None:
        return None if self._socket is None else tcp_info.read(self._socket)

    def _rates(self, tcp: TcpInfo | None) -> tuple[float | None, float | None]:
        """Mbit/s there and back, of what went over the connection since its last answer."""
        if tcp is None:
            return None, None
        acked, received = tcp.acked_bytes or 0, tcp.received_bytes or 0
        sent, came = acked - self._acked, received - self._received
        self._acked, self._received, self._seen = acked, received, acked + received
        meter, self.meter = self.meter, None
        if meter is None or tcp.min_rtt_ms is None:
            return None, None
        round_trip = tcp.min_rtt_ms / 1000
        return (
            meter.up_mbps(round_trip) if sent >= PIECE else None,
            meter.down_mbps(round_trip) if came >= PIECE else None,
        )


class Traffic:
    """The connections of a client to the cloud, and who hears about them.

    Args:
        endpoint: That of the present task's request.
        clock: Monotonic, in seconds.

    Attributes:
        sink: Is told of every contact, on the loop. It must not block; what it raises hurts no answer.
        tell_every: Of the good answers of a connection that end within so many seconds one is told. A model takes longer than that for
            one; this is for short answers from near by, where telling would cost 30 of the 700 µs of a call.
    """

    def __init__(self, endpoint: Callable[[], Endpoint], clock: Callable[[], float] = time.monotonic) -> None:
        self.sink: Callable[[Exchange], None] | None = None
        self.tell_every = TELL_EVERY
        self.clock = clock
        self._endpoint = endpoint
        self._watched: set[Watched] = set()
        self._pulse: asyncio.TimerHandle | None = None
        self._metered: set[Tap] = set()
        self._tick: asyncio.TimerHandle | None = None

    def dial(self, *, is_proxied: bool, is_secure: bool) -> Dial:
        """A connection is about to be made; it ends with `connected` or `failed`."""
        dial = Dial(self._endpoint(), next(_numbers), is_proxied=is_proxied, is_secure=is_secure, clock=self.clock)
        self._watch(dial)
        return dial

    def connected(self, dial: Dial) -> Tap:
        """It was made."""
        self._leave(dial)
        exchange, sock = dial.made()
        self._tell(exchange)
        return Tap(dial, sock)

    def failed(self, dial: Dial, error: BaseException) -> None:
        """It could not be made."""
        if dial in self._watched:
            self._leave(dial)
            if (exchange := dial.failed(error)) is not None:
                self._tell(exchange)

    def asked(self, tap: Tap, size: int) -> None:
        """A request of so many bytes is sent."""
        tap.ask(self.clock())
        self._watch(tap)
        if size >= LONG:
            self._meter(tap)

    def took(self, tap: Tap, size: int) -> None:
        """A big piece came."""
        if not tap.is_asked:
            return
        tap.bulk += size
        if tap.bulk >= MUCH and (tap.meter is None or not tap.meter.is_looking):
            self._meter(tap)

    def ended(self, tap: Tap) -> None:
        """The answer came to its end, or broke, or is not wanted any more; once for each that was asked for."""
        if tap.is_asked:
            self._leave(tap)
            self._metered.discard(tap)
            if (exchange := tap.end(self.clock(), every=self.tell_every)) is not None:
                self._tell(exchange)

    def close(self) -> None:
        """Forget what is awaited."""
        for timer in (self._pulse, self._tick):
            if timer is not None:
                timer.cancel()
        self._pulse = self._tick = None
        self._watched.clear()
        self._metered.clear()

    def _watch(self, watched: Watched) -> None:
        self._watched.add(watched)
        if self._pulse is None:
            self._pulse = asyncio.get_running_loop().call_later(PULSE, self._take_pulses)

    def _leave(self, watched: Watched) -> None:
        self._watched.discard(
            watched
        )  # the timer lapses; to set one for each request would be most of what the feed costs

    def _take_pulses(self) -> None:
        self._pulse = None
        if not self._watched:
            return
        self._pulse = asyncio.get_running_loop().call_later(PULSE, self._take_pulses)
        now = self.clock()
        for watched in tuple(self._watched):
            if (exchange := watched.look(now)) is not None:
                self._tell(exchange)

    def _meter(self, tap: Tap) -> None:
        if tap.begin_meter() is None:
            return
        self._metered.add(tap)
        if self._tick is None:
            self._read_meters()

    def _read_meters(self) -> None:
        now = self.clock()
        for tap in tuple(self._metered):
            if tap.meter is None or not tap.meter.look(now, is_read=tap.is_read):
                self._metered.discard(tap)
        self._tick = None
        if self._metered:
            self._tick = asyncio.get_running_loop().call_later(LOOK_EVERY, self._read_meters)

    def _tell(self, exchange: Exchange) -> None:
        if self.sink is None:
            return
        try:
            self.sink(exchange)
        except Exception:  # noqa: BLE001  the door to subscribers
            _log.exception("a listener to the traffic raised")
