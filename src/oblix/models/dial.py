"""A connection to the cloud while it is being made: what each step of it took, and at which one it failed."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from oblix.models import tcp_info
from oblix.models.foreign import trouble_of
from oblix.types.traffic import Endpoint, Exchange, Step

if TYPE_CHECKING:
    import aiohttp

# Seconds. A peer that says nothing for so long is asked for a sign of life by the kernel, again and again: only so does a way that was cut
# under a silent stream show, and in the end break it. 15 unanswered ones leave a cut of some seconds time to heal.
PROBE_AFTER, PROBE_EVERY, PROBES = 1, 1, 15
GIVE_UP_AFTER = PROBE_AFTER + PROBE_EVERY * PROBES  # the same patience for what we sent and nobody acknowledged

# Seconds; a resolver that has said nothing for so long is told of while it is waited for. It asks again after 5 s only.
SLOW_LOOKUP = 1.0


class Dial:
    """One attempt at a connection, with all addresses that are tried for it.

    Args:
        number: Of the connection, in every `Exchange` about it.
        is_secure: TLS follows.
        clock: Monotonic, in seconds.
    """

    def __init__(
        self, endpoint: Endpoint, number: int, *, is_proxied: bool, is_secure: bool, clock: Callable[[], float]
    ) -> None:
        self.endpoint = endpoint
        self.number = number
        self.is_proxied = is_proxied
        self._is_secure = is_secure
        self._clock = clock
        self._asked_at: float | None = None  # for the address
        self._lookup_ms: float | None = None
        self._is_slow = False
        self._connect_ms: float | None = None
        self._stood: float | None = None  # since when TLS could begin
        self._sockets: list[tuple[socket.socket, float]] = []  # and when the first packet left
        self._carrier: socket.socket | None = None
        self._unanswered = 0

    @contextmanager
    def looking_up(self) -> Iterator[None]:
        """The name is looked up."""
        self._asked_at = self._clock()
        try:
            yield
        finally:
            self._lookup_ms = 1000 * (self._clock() - self._asked_at)

    def socket_for(self, address: aiohttp.AddrInfoType) -> socket.socket:
        """The socket for one of the addresses; its first packet leaves right after."""
        family, kind, protocol, _, _ = address
        sock = socket.socket(family, kind, protocol)
        keep_alive(sock)
        self._sockets.append((sock, self._clock()))
        return sock

    def reached(self) -> None:
        """A TCP connection stands, or a proxy's tunnel over it; what follows is TLS."""
        self._stood = self._clock()
        for sock, sent in self._sockets:
            # Of several addresses, those that lost the race have been closed by now.
            if sock.fileno() >= 0 and sock is not self._carrier:
                self._carrier, self._connect_ms = sock, 1000 * (self._stood - sent)

    def made(self) -> tuple[Exchange, socket.socket | None]:
        """The connection is there: what it took, and the socket that carries it."""
        now, sock = self._clock(), self._carrier
        tls_ms = 1000 * (now - self._stood) if self._is_secure and self._stood is not None else None
        tcp = None if sock is None else tcp_info.read(sock)
        return self._connect(now, tls_ms=tls_ms, tcp=tcp), sock

    def failed(self, error: BaseException) -> Exchange | None:
        """What came of it; `None` where it was given up by whoever asked, which says nothing about the way."""
        if not isinstance(error, Exception):
            return None
        is_lookup = isinstance(error, TimeoutError) and not self._sockets
        return self._connect(self._clock(), trouble="lookup" if is_lookup else trouble_of(error))

    def look(self, now: float) -> Exchange | None:
        """A pulse, where the look-up is slow (once), or something is unanswered that was answered at the last look, or the reverse."""
        if not self._sockets:
            return self._slow_lookup(now)
        told = [found for sock, _ in self._sockets if sock.fileno() >= 0 and (found := tcp_info.read(sock)) is not None]
        best = min(told, key=lambda found: found.unanswered or 0, default=None)  # of several addresses one is enough
        if best is None or (best.unanswered or 0) == self._unanswered:
            return None
        self._unanswered = best.unanswered or 0
        if self._stood is None:
            best = replace(best, silence=now - self._sockets[0][1])
        return self._told("pulse", now, tcp=best)

    def _slow_lookup(self, now: float) -> Exchange | None:
        if self._is_slow or self._asked_at is None or self._lookup_ms is not None or now - self._asked_at < SLOW_LOOKUP:
            return None
        self._is_slow = True
        return self._told("pulse", now, lookup_ms=1000 * (now - self._asked_at), trouble="lookup")

    def _connect(self, now: float, **found: Any) -> Exchange:
        return self._told("connect", now, lookup_ms=self._lookup_ms, connect_ms=self._connect_ms, **found)

    def _told(self, step: Step, now: float, **found: Any) -> Exchange:
        return Exchange(self.endpoint, now, step, connection=self.number, is_proxied=self.is_proxied, **found)


def keep_alive(sock: socket.socket) -> None:
    """Let the kernel watch over the connection, as far as this system can."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    wanted = {
        "TCP_KEEPIDLE": PROBE_AFTER,
        "TCP_KEEPALIVE": PROBE_AFTER,  # the same on macOS
        "TCP_KEEPINTVL": PROBE_EVERY,
        "TCP_KEEPCNT": PROBES,
        "TCP_USER_TIMEOUT": 1000 * GIVE_UP_AFTER,  # Linux; in ms
    }
    for name, value in wanted.items():
        option = getattr(socket, name, None)
        if option is not None:
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
