"""What the kernel knows of a TCP connection: Linux (`TCP_INFO`) and macOS (`TCP_CONNECTION_INFO`) tell, others do not."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable
from typing import NamedTuple

from oblix.types.traffic import TcpInfo

# struct tcp_info of include/uapi/linux/tcp.h grows at its end: an older kernel gives less of it. What we do not use is skipped (x).
_LINUX = struct.Struct(
    "=2x B B B 2x B 44x"  # 2 retransmits, 3 probes, 4 backoff, 7 delivery_rate_app_limited (the lowest bit)
    "I I 8x I I 24x I 16x"  # 52 last_data_recv, 56 last_ack_recv (ms), 68 rtt, 72 rttvar (µs), 100 total_retrans
    "Q Q 12x"  # 120 bytes_acked, 128 bytes_received: since Linux 4.1
    "I 4x I"  # 148 min_rtt (µs), 156 data_segs_out: 4.6
    "Q Q 40x I"  # 160 delivery_rate (bytes/s): 4.9; 168 busy_time (µs): 4.10; 216 dsack_dups: 4.19
)
_LINUX_PROGRESS = struct.Struct(
    "=16x I 48x I 28x I 16x Q Q 16x"  # 16 snd_mss, 68 rtt (µs), 100 total_retrans, 120 bytes_acked, 128 bytes_received
    "I 12x Q Q Q I"  # 152 data_segs_in, 168 busy_time, 176 rwnd_limited, 184 sndbuf_limited (µs), 192 delivered: 4.18
)
# struct tcp_connection_info of bsd/netinet/tcp.h in Apple's published xnu sources, since macOS 10.11. Written by that header and tried on
# bytes only: no test of ours runs on a Mac.
_MACOS = struct.Struct(
    "=44x I I 4x"  # 44 srtt, 48 rttvar (ms)
    "Q 24x Q 8x Q"  # 56 txpackets, 88 rxbytes, 104 txretransmitpackets
)
_LINUX_OPTION = 11  # TCP_INFO; `socket` has the name on Linux only
_MACOS_OPTION = 0x106
_ROOM = 256  # bytes asked for; what a newer kernel knows beyond that is cut off
_OLDEST = 104  # bytes of struct tcp_info that every kernel gives
_UNSET = 0xFFFFFFFF  # min_rtt before the first sample


class Progress(NamedTuple):
    """How far a connection has come, counted in segments: those that came behind a lost one count when they come, not when it is there.

    Attributes:
        delivered: Segments that the peer says it has got.
        arrived: Segments with data that came.
        resent: Segments sent again.
        full: Bytes in a full segment.
        rtt: Smoothed round trip, in seconds.
        busy: Seconds for which something waited to be sent or acknowledged.
        held: How many of them the peer's window, or the buffer on this side, was the reason for.
    """

    delivered: int
    arrived: int
    resent: int
    acked_bytes: int
    received_bytes: int
    full: int
    rtt: float
    busy: float
    held: float


def read(sock: socket.socket) -> TcpInfo | None:
    """The counters of a connection, in 3 µs; `None` where this system does not tell, or the socket is closed."""
    try:
        return _READ(sock) if _READ is not None else None
    except OSError:
        return None


def progress(sock: socket.socket) -> Progress | None:
    """How far a connection has come, in 1.5 µs; `None` where this system does not tell (Linux 4.18 does), or the socket is closed."""
    if sys.platform != "linux":
        return None
    try:
        raw = sock.getsockopt(socket.IPPROTO_TCP, _LINUX_OPTION, _LINUX_PROGRESS.size)
    except OSError:
        return None
    if len(raw) < _LINUX_PROGRESS.size:
        return None
    full, rtt, resent, acked, received, arrived, busy, by_peer, by_us, delivered = _LINUX_PROGRESS.unpack(raw)
    held = by_peer + by_us
    return Progress(delivered, arrived, resent, acked, received, full, rtt / 1e6, busy / 1e6, held / 1e6)


def from_linux(raw: bytes) -> TcpInfo | None:
    """What the bytes of `struct tcp_info` say; each field that an older kernel does not have is `None`."""
    size = len(raw)
    if size < _OLDEST:
        return None
    if size < _LINUX.size:
        raw = raw.ljust(_LINUX.size, b"\0")
    values = _LINUX.unpack_from(raw)
    retransmits, probes, backoff, limited, data_ago, ack_ago, rtt, rtt_var = values[:8]
    resent, acked, received, min_rtt, segments, rate, busy, spurious = values[8:]
    return TcpInfo(
        rtt_ms=rtt / 1000 if rtt else None,
        rtt_var_ms=rtt_var / 1000 if rtt else None,
        min_rtt_ms=min_rtt / 1000 if 0 < min_rtt < _UNSET else None,
        segments=segments if size >= 160 else None,
        resent=resent,
        spurious=spurious if size >= 220 else None,
        acked_bytes=max(0, acked - 1) if size >= 136 else None,  # the SYN of the side that dials counts as a byte
        received_bytes=received if size >= 136 else None,
        busy_seconds=busy / 1e6 if size >= 176 else None,
        unanswered=max(retransmits, probes, backoff),
        silence=min(data_ago, ack_ago) / 1000,  # data acknowledges as well, and is noted apart
        delivery_mbps=rate * 8e-6 if size >= 168 and rate and not limited & 1 else None,
    )


def from_macos(raw: bytes) -> TcpInfo | None:
    """What the bytes of `struct tcp_connection_info` say: neither what was acknowledged nor how long the peer is silent."""
    if len(raw) < _MACOS.size:
        return None
    rtt, rtt_var, segments, received, resent = _MACOS.unpack_from(raw)
    return TcpInfo(
        rtt_ms=float(rtt) if rtt else None,
        rtt_var_ms=float(rtt_var) if rtt else None,
        segments=segments,
        resent=resent,
        received_bytes=received,
    )


def _read_linux(sock: socket.socket) -> TcpInfo | None:
    return from_linux(sock.getsockopt(socket.IPPROTO_TCP, _LINUX_OPTION, _ROOM))


def _read_macos(sock: socket.socket) -> TcpInfo | None:
    return from_macos(sock.getsockopt(socket.IPPROTO_TCP, _MACOS_OPTION, _ROOM))


_READ: Callable[[socket.socket], TcpInfo | None] | None = {"linux": _read_linux, "darwin": _read_macos}.get(
    sys.platform
)
