"""What real traffic, and a look when there is none, tells about the way to a cloud endpoint."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal, NamedTuple

Step = Literal["connect", "pulse", "answer"]
Trouble = Literal["lookup", "no_route", "silence", "refused", "reset", "certificate", "portal", "other"]
# Troubles that begin on this side of the way; the others are words of the host, or of what stands before it.
OURS: frozenset[Trouble] = frozenset({"lookup", "no_route", "silence", "portal"})


class Endpoint(NamedTuple):
    """Where a hooked cloud model is reached."""

    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """What the kernel knows of one connection, since it was made. `None`: this system does not tell.

    Attributes:
        rtt_ms: Smoothed round trip; `None` before the first sample.
        segments: Data segments sent, those that were sent again included.
        resent: Segments sent again, the first packet of the connection (SYN) included.
        spurious: Of those, how many had arrived after all (DSACK).
        acked_bytes: Sent and acknowledged.
        received_bytes: Received in order.
        busy_seconds: Time for which something that was sent waited for its acknowledgement.
        unanswered: Packets in a row (data sent again, keep-alive probes) that got no answer, up to now.
        silence: Seconds since the peer last acknowledged anything.
        delivery_mbps: Rate at which the latest data was delivered; `None` where the program had too little to send to tell.
    """

    _: KW_ONLY
    rtt_ms: float | None = None
    rtt_var_ms: float | None = None
    min_rtt_ms: float | None = None
    segments: int | None = None
    resent: int | None = None
    spurious: int | None = None
    acked_bytes: int | None = None
    received_bytes: int | None = None
    busy_seconds: float | None = None
    unanswered: int | None = None
    silence: float | None = None
    delivery_mbps: float | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """One contact with a hooked cloud endpoint, or a look at one that goes on.

    Attributes:
        at: When, on the monotonic clock, in seconds.
        step: `connect`: a connection was made, or was not. `pulse`: one that is in use, looked at while its answer is awaited.
            `answer`: an answer came to its end, or broke.
        connection: Tells connections apart; the counters of `tcp` go on within one. 0 where there is none.
        is_probe: We looked because nobody else did.
        is_proxied: The times up to the connection are those of a proxy.
        lookup_ms: Of the name; `None` where none was looked up.
        connect_ms: From the first packet to the connection.
        tls_ms: From there to the secured one.
        first_byte_ms: From the request to the first byte of an answer.
        down_mbps: Rate of the way here, where so much came in one piece (200 kB) that it was the way that limited it.
        up_mbps: The same of the way there.
        trouble: Why it failed; `None` when it did not.
    """

    endpoint: Endpoint
    at: float
    step: Step
    _: KW_ONLY
    connection: int = 0
    is_probe: bool = False
    is_proxied: bool = False
    lookup_ms: float | None = None
    connect_ms: float | None = None
    tls_ms: float | None = None
    first_byte_ms: float | None = None
    down_mbps: float | None = None
    up_mbps: float | None = None
    tcp: TcpInfo | None = None
    trouble: Trouble | None = None
