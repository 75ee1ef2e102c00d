"""The link: pure in its middle, real packets at its ends, and nothing left behind, however its owner ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.errors import ConfigurationError
from oblix.testing import badlink, netns
from oblix.testing.badlink import BadLink, Way
from oblix.testing.badlink_engine import Direction

Require = Callable[[object, str], None]
FOLDER = Path("/var/run/netns")
_ECHO = """
import socket
echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
echo.bind(("0.0.0.0", 7777))
print("ready", flush=True)
while True:
    data, peer = echo.recvfrom(2000)
    echo.sendto(data, peer)
"""
_ASK = """
import socket, sys, time
host, number, patience = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ask:
    ask.settimeout(patience)
    for count in range(number):
        began = time.perf_counter()
        try:
            ask.sendto(count.to_bytes(4, "big") * 25, (host, 7777))
            while ask.recv(2000)[:4] != count.to_bytes(4, "big"):
                pass
        except OSError as error:
            print(type(error).__name__)
        else:
            print(1000 * (time.perf_counter() - began))
"""
_SWALLOW = """
import socket, time
with socket.create_server(("0.0.0.0", 8888)) as server:
    print("ready", flush=True)
    taker, _ = server.accept()
    began, count = time.perf_counter(), 0
    while data := taker.recv(1 << 16):
        count += len(data)
    print(count * 8e-6 / (time.perf_counter() - began), flush=True)
"""
_SEND = "import socket, sys; socket.create_connection((sys.argv[1], 8888)).sendall(bytes(int(sys.argv[2])))"
_OWN = """
from oblix.testing.badlink import BadLink
link = BadLink().open()
link.look_names_up_at("10.77.7.2")
print(link.home, link.away, flush=True)
input()
"""


# --- one direction, without a clock ---


def passed(direction: Direction, packets: list[bytes], at: float, until: float) -> list[bytes]:
    for packet in packets:
        direction.take(packet, at)
    return list(direction.leaving(until))


def test_a_packet_is_as_late_as_it_is_told() -> None:
    direction = Direction("seed")
    direction.way = Way(delay_ms=150)
    assert passed(direction, [b"one"], 10.0, 10.1499) == []
    assert direction.due() == pytest.approx(10.15)
    assert list(direction.leaving(10.15)) == [b"one"]
    assert direction.due() == float("inf")


@given(st.lists(st.floats(0.0, 0.1), min_size=2), st.floats(0.0, 300.0), st.floats(0.0, 300.0))
def test_jitter_keeps_the_order_and_its_limits(gaps: list[float], delay: float, jitter: float) -> None:
    direction, now, sent = Direction("seed"), 0.0, []
    direction.way = Way(delay_ms=delay, jitter_ms=jitter)
    for number, gap in enumerate(gaps):
        now += gap
        direction.take(number.to_bytes(4, "big"), now)
        sent.append(now)
    for number, at in enumerate(sent):
        due = direction.due()
        assert at + delay / 1000 - 1e-9 <= due <= at + (delay + jitter) / 1000 + max(gaps) * len(gaps) + 1e-9
        assert next(iter(direction.leaving(due))) == number.to_bytes(4, "big")


def test_jitter_is_spread_evenly() -> None:
    direction = Direction("seed")
    direction.way = Way(delay_ms=10, jitter_ms=40)
    late = []
    for number in range(2000):
        direction.take(b"x", float(number))
        late.append(1000 * (direction.due() - number))
        assert list(direction.leaving(direction.due())) == [b"x"]
    assert min(late) == pytest.approx(10, abs=0.5)
    assert max(late) == pytest.approx(50, abs=0.5)
    assert sum(late) / len(late) == pytest.approx(30, abs=1.0)


def test_a_rate_spaces_packets_and_a_full_queue_drops_them() -> None:
    direction = Direction("seed")
    direction.way = Way(rate_mbps=1.0, queue_bytes=5000)  # 125,000 bytes a second
    assert passed(direction, [bytes(1250)] * 6, 0.0, 0.0351) == [bytes(1250)] * 3
    assert direction.counts.overflowed == 2
    assert direction.due() == pytest.approx(0.04)
    direction.take(bytes(1250), 1.0)  # the line was free since
    assert list(direction.leaving(0.04)) == [bytes(1250)]
    assert direction.due() == pytest.approx(1.01)


@given(st.floats(0.0, 1.0), st.integers())
def test_what_is_lost_is_counted(loss: float, seed: int) -> None:
    direction = Direction(str(seed))
    direction.way = Way(loss=loss)
    arrived = passed(direction, [b"x"] * 1000, 0.0, 0.0)
    assert len(arrived) + direction.counts.lost == 1000
    assert abs(direction.counts.lost - 1000 * loss) <= 5 * (1000 * loss * (1 - loss)) ** 0.5 + 1


def test_a_cut_swallows_what_comes_and_delivers_what_is_under_way() -> None:
    direction = Direction("seed")
    direction.way = Way(delay_ms=100)
    direction.take(b"before", 0.0)
    direction.way = Way(delay_ms=100, cut=True)
    direction.take(b"after", 0.05)
    assert list(direction.leaving(10.0)) == [b"before"]
    assert direction.counts.swallowed == 1


def test_segments_with_data_are_counted_apart() -> None:
    def segment(data: bytes, protocol: int = socket.IPPROTO_TCP) -> bytes:
        return bytes([0x45, *[0] * 8, protocol, *[0] * 10]) + bytes(12) + bytes([0x50]) + bytes(7) + data

    direction = Direction("seed")
    for packet in (segment(b"data"), segment(b""), segment(b"data", socket.IPPROTO_UDP), b"short"):
        direction.take(packet, 0.0)
    assert (direction.counts.segments, direction.counts.segments_dropped) == (1, 0)
    direction.way = Way(loss=1.0)
    direction.take(segment(b"data"), 0.0)
    assert direction.counts.segment_loss_percent == 50.0


# --- the link, with real packets ---


@pytest.fixture(scope="module")
def whole_link(require: Require) -> Iterator[BadLink]:
    require(badlink.available() is None, str(badlink.available()))
    with BadLink(seed=1) as link:
        echo = subprocess.Popen([*link.in_away, sys.executable, "-c", _ECHO], stdout=subprocess.PIPE)
        assert echo.stdout is not None
        echo.stdout.readline()
        yield link
        echo.kill()
        echo.communicate()


@pytest.fixture
def link(whole_link: BadLink) -> BadLink:
    whole_link.both(Way())
    return whole_link


def ask(link: BadLink, number: int = 10, patience: float = 2.0) -> list[str]:
    """Round trips in milliseconds, or what went wrong."""
    command = [*link.in_home, sys.executable, "-c", _ASK, link.away_address, str(number), str(patience)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.netns
def test_the_delay_is_true(link: BadLink) -> None:
    """Medians, with room for a machine that is busy otherwise; on a quiet one the error is below 1 ms (docs/network.md)."""
    empty = median(map(float, ask(link, 20)))
    assert empty < 5.0
    link.set(up=Way(delay_ms=20), down=Way(delay_ms=40))
    assert median(map(float, ask(link))) == pytest.approx(60 + empty, abs=5.0)


@pytest.mark.netns
def test_the_counters_know_what_was_lost(link: BadLink) -> None:
    before = link.counts()
    link.set(up=Way(loss=0.3), down=Way(loss=0.1))
    told = ask(link, 200, 0.05)
    after = link.counts()
    lost_up, lost_down = after.up.lost - before.up.lost, after.down.lost - before.down.lost
    assert after.up.passed - before.up.passed == 200 - lost_up
    assert after.down.passed - before.down.passed == 200 - lost_up - lost_down
    # Where the machine is slow, an echo comes after its asker has given up; then it is told as lost, and was not.
    assert told.count("TimeoutError") >= lost_up + lost_down
    assert 30 <= lost_up <= 90
    assert 3 <= lost_down <= 35


@pytest.mark.netns
def test_the_rate_is_true(link: BadLink) -> None:
    with subprocess.Popen([*link.in_away, sys.executable, "-c", _SWALLOW], stdout=subprocess.PIPE, text=True) as taker:
        assert taker.stdout is not None
        taker.stdout.readline()
        link.set(up=Way(rate_mbps=4))
        subprocess.run([*link.in_home, sys.executable, "-c", _SEND, link.away_address, "400000"], check=True)
        assert float(taker.stdout.readline()) == pytest.approx(4.0, rel=0.15)


@pytest.mark.netns
def test_a_cut_is_silent_and_ends(link: BadLink) -> None:
    before = link.counts().up.swallowed
    link.cut()
    assert ask(link, 3, 0.1) == ["TimeoutError"] * 3
    assert link.counts().up.swallowed == before + 3
    link.mend()
    assert "TimeoutError" not in ask(link, 3)


@pytest.mark.netns
def test_a_pulled_link_and_a_missing_route_are_told_at_once(link: BadLink) -> None:
    for away, back in ((link.pull_link, link.plug_link), (link.remove_route, link.add_route)):
        away()
        assert ask(link, 1) == ["OSError"]
        back()
        assert float(ask(link, 1)[0]) < 1000


@pytest.mark.netns
def test_it_says_when_a_change_took_place(link: BadLink) -> None:
    began = time.monotonic()
    assert began <= link.both(Way(delay_ms=1)) <= time.monotonic()
    assert (link.up, link.down) == (Way(delay_ms=1), Way(delay_ms=1))


@pytest.mark.netns
def test_the_names_are_looked_up_where_it_is_said(link: BadLink) -> None:
    link.look_names_up_at("10.77.7.2")
    told = subprocess.run([*link.in_home, "cat", "/etc/resolv.conf"], check=True, capture_output=True, text=True).stdout
    assert told == "nameserver 10.77.7.2\n"


@pytest.mark.netns
@pytest.mark.parametrize("end", ["closed", "owner killed", "engine killed"])
def test_nothing_is_left_however_it_ends(end: str, require: Require) -> None:
    require(badlink.available() is None, str(badlink.available()))
    owner = subprocess.Popen([sys.executable, "-c", _OWN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    names = owner.stdout.readline().split()
    (engine,) = [int(pid) for pid in Path(f"/proc/{owner.pid}/task/{owner.pid}/children").read_text().split()]
    watched = os.pidfd_open(engine)
    assert all((FOLDER / name).exists() for name in names)
    if end == "owner killed":
        owner.kill()
    elif end == "engine killed":
        os.kill(engine, signal.SIGKILL)
    owner.communicate("\n")
    _wait_for_end(watched)
    netns.remove_stale()  # what nobody could remove any more, as both were killed, goes with the next link
    assert not any((FOLDER / name).exists() or Path("/etc/netns", name).exists() for name in names)
    assert {name for _, name in socket.if_nameindex()} & {badlink.BadLink.device} == set()


def _wait_for_end(process: int) -> None:
    """A descriptor of a process can be read when the process is over."""
    import select

    try:
        assert select.select([process], [], [], 30.0)[0]
    finally:
        os.close(process)


@pytest.mark.parametrize("wrong", [Way(loss=1.5), Way(loss=-0.1), Way(delay_ms=-1), Way(rate_mbps=0)])
def test_a_way_that_cannot_be_is_refused(wrong: Way) -> None:
    with pytest.raises(ConfigurationError):
        BadLink().both(wrong)


def test_a_link_that_is_not_open_says_so() -> None:
    with pytest.raises(ConfigurationError, match="not open"):
        BadLink().counts()
