"""What the kernel tells of a connection: from real sockets, and from bytes as other kernels give them."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator

import pytest

from oblix.models import tcp_info

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO with this layout exists on Linux only")
# struct tcp_info up to Linux 4.19, with a telling number in each field that is read: offset, format, value.
FIELDS = (
    (2, "B", 3),  # retransmits
    (3, "B", 5),  # probes
    (4, "B", 2),  # backoff
    (52, "I", 700),  # last_data_recv
    (56, "I", 900),  # last_ack_recv
    (68, "I", 20_500),  # rtt
    (72, "I", 4_000),  # rttvar
    (100, "I", 7),  # total_retrans
    (120, "Q", 1_001),  # bytes_acked
    (128, "Q", 2_000),  # bytes_received
    (148, "I", 19_000),  # min_rtt
    (156, "I", 40),  # data_segs_out
    (160, "Q", 125_000),  # delivery_rate
    (168, "Q", 2_500_000),  # busy_time
    (216, "I", 1),  # dsack_dups
)


def linux(size: int = 232, **changed: int) -> bytes:
    """The bytes that a kernel gives which knows so many; `at_148=5` puts another number at that offset."""
    raw = bytearray(256)
    for offset, kind, value in FIELDS:
        struct.pack_into(f"={kind}", raw, offset, changed.get(f"at_{offset}", value))
    raw[7] = changed.get("at_7", 0)
    return bytes(raw[:size])


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection over loopback: the end that dialled, and the other one."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as ours:
        theirs, _ = listener.accept()
        with theirs:
            yield ours, theirs


def exchange(ours: socket.socket, theirs: socket.socket, *, there: int, back: int) -> None:
    """Send so many bytes there and back, and see them arrive."""
    for sender, reader, size in ((ours, theirs, there), (theirs, ours, back)):
        sender.sendall(b"x" * size)
        left = size
        while left:
            left -= len(reader.recv(left))


@on_linux
def test_a_real_connection(pair: tuple[socket.socket, socket.socket]) -> None:
    exchange(*pair, there=5_000, back=3_000)
    told = tcp_info.read(pair[0])
    assert told is not None
    assert (told.acked_bytes, told.received_bytes) == (5_000, 3_000)
    assert told.segments is not None
    assert told.segments >= 1
    assert (told.resent, told.spurious, told.unanswered) == (0, 0, 0)
    assert told.rtt_ms is not None
    assert told.min_rtt_ms is not None
    assert 0 < told.min_rtt_ms <= told.rtt_ms


@on_linux
def test_progress_of_a_real_connection(pair: tuple[socket.socket, socket.socket]) -> None:
    before = tcp_info.progress(pair[0])
    exchange(*pair, there=5_000, back=3_000)
    after = tcp_info.progress(pair[0])
    assert before is not None
    assert after is not None
    assert after.acked_bytes - before.acked_bytes == 5_000
    assert after.received_bytes - before.received_bytes == 3_000
    assert after.delivered > before.delivered
    assert after.arrived > before.arrived
    assert after.full > 0


def test_a_connection_before_its_first_sample_has_no_round_trip() -> None:
    told = tcp_info.from_linux(linux(at_68=0, at_148=0xFFFFFFFF))
    assert told is not None
    assert (told.rtt_ms, told.rtt_var_ms, told.min_rtt_ms) == (None, None, None)


def test_a_closed_socket_tells_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].close()
    assert tcp_info.read(pair[0]) is None
    assert tcp_info.progress(pair[0]) is None


def test_what_is_no_tcp_tells_nothing() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        assert tcp_info.read(datagrams) is None
        assert tcp_info.progress(datagrams) is None


def test_every_field_of_a_new_kernel() -> None:
    told = tcp_info.from_linux(linux())
    assert told is not None
    assert (told.rtt_ms, told.rtt_var_ms, told.min_rtt_ms) == (20.5, 4.0, 19.0)
    assert (told.segments, told.resent, told.spurious) == (40, 7, 1)
    assert (told.acked_bytes, told.received_bytes) == (1_000, 2_000)  # without the SYN
    assert (told.busy_seconds, told.unanswered, told.silence) == (2.5, 5, 0.7)
    assert told.delivery_mbps == pytest.approx(1.0)


def test_a_rate_that_the_program_set_is_none() -> None:
    """The kernel marks it: there was too little to send."""
    told = tcp_info.from_linux(linux(at_7=1))
    assert told is not None
    assert told.delivery_mbps is None


@pytest.mark.parametrize(
    ("size", "known"),
    [
        (104, set()),
        (136, {"acked_bytes", "received_bytes"}),
        (148, {"acked_bytes", "received_bytes"}),
        (160, {"acked_bytes", "received_bytes", "min_rtt_ms", "segments"}),
        (168, {"acked_bytes", "received_bytes", "min_rtt_ms", "segments", "delivery_mbps"}),
        (192, {"acked_bytes", "received_bytes", "min_rtt_ms", "segments", "delivery_mbps", "busy_seconds"}),
        (220, {"acked_bytes", "received_bytes", "min_rtt_ms", "segments", "delivery_mbps", "busy_seconds", "spurious"}),
    ],
    ids=["2.4", "4.1", "4.2", "4.6", "4.9", "4.10", "4.19"],
)
def test_what_an_older_kernel_does_not_know_is_none(size: int, known: set[str]) -> None:
    told = tcp_info.from_linux(linux(size))
    assert told is not None
    newer = ("acked_bytes", "received_bytes", "min_rtt_ms", "segments", "delivery_mbps", "busy_seconds", "spurious")
    assert {name for name in newer if getattr(told, name) is not None} == known
    assert (told.rtt_ms, told.resent, told.unanswered) == (20.5, 7, 5)


@pytest.mark.parametrize("size", [0, 1, 64, 103])
def test_too_little_to_be_the_struct(size: int) -> None:
    assert tcp_info.from_linux(linux(size)) is None


def test_a_mac() -> None:
    """By Apple's header; it tells no acknowledged bytes and no silence."""
    raw = bytearray(112)
    for offset, kind, value in ((44, "I", 21), (48, "I", 5), (56, "Q", 90), (88, "Q", 4_000), (104, "Q", 3)):
        struct.pack_into(f"={kind}", raw, offset, value)
    told = tcp_info.from_macos(bytes(raw))
    assert told is not None
    assert (told.rtt_ms, told.rtt_var_ms, told.segments, told.resent, told.received_bytes) == (21.0, 5.0, 90, 3, 4_000)
    assert (told.acked_bytes, told.unanswered, told.silence, told.spurious) == (None, None, None, None)
    assert tcp_info.from_macos(bytes(raw[:100])) is None


def test_a_system_that_does_not_tell(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp_info, "_READ", None)
    monkeypatch.setattr(sys, "platform", "win32")
    assert tcp_info.read(pair[0]) is None
    assert tcp_info.progress(pair[0]) is None
