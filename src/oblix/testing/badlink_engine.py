"""The process in the middle of a `BadLink`: packets come out of one TUN device, wait, and go into the other.

It runs as a file, with nothing but the standard library, so that it starts in 50 ms; `oblix.testing.badlink` is its owner and talks to
it over a socket: each message holds new ways and gets the counts in return. When that socket ends, because its owner closed it or was
killed, the engine removes both namespaces and ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

DEVICE = "link0"  # the interface's name, the same at both ends
MOST_AT_ONCE = 64  # packets read from one end before the other end is looked at again
LONGEST = 1 << 16  # bytes; above the MTU of any TUN device
_TUNSETIFF = 0x400454CA  # <linux/if_tun.h>
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000  # <linux/sched.h>
_PRIORITY = 10  # of real time; the engine needs 0.2 % of a core, but on time


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What one direction of a link does to packets.

    Attributes:
        delay_ms: Every packet is so late.
        jitter_ms: Up to so much later still, evenly spread over [0, jitter_ms], drawn anew for each packet, so that the mean is
            `delay_ms + jitter_ms / 2`. The order is kept, as by the queues of real links: a packet never passes the one before it. (TCP
            takes a packet that was passed for a lost one, and then no count of what was sent again would tell the true loss.)
        loss: Share of the packets that vanish, in [0, 1], each for itself, after they took their time in the queue.
        rate_mbps: Mbit/s, `None` for no limit.
        queue_bytes: What may wait for the rate; a packet that finds the queue full is dropped.
        cut: A black hole: everything that comes from now on vanishes in silence. What is under way arrives.
    """

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    rate_mbps: float | None = None
    queue_bytes: int = 64 << 10
    cut: bool = False


@dataclass(slots=True)
class Counts:
    """What truly became of the packets of one direction; those under way are in none of the counts.

    Attributes:
        passed: Delivered.
        passed_bytes: The same in bytes, IP headers included.
        lost: Vanished by `loss`.
        overflowed: Found the queue full.
        swallowed: Met a cut, or an end that was down.
        segments: TCP segments with data that came, whatever became of them (but for those that met a cut).
        segments_dropped: Of these, those that were lost or found the queue full. A full queue takes them, and spares the small packets
            between them, so that this is what a sender sees.
    """

    passed: int = 0
    passed_bytes: int = 0
    lost: int = 0
    overflowed: int = 0
    swallowed: int = 0
    segments: int = 0
    segments_dropped: int = 0

    @property
    def loss_percent(self) -> float:
        """Share of the packets that met neither a cut nor an end that was down, and yet did not arrive."""
        gone = self.lost + self.overflowed
        return 100 * gone / max(1, gone + self.passed)

    @property
    def segment_loss_percent(self) -> float:
        """The same of TCP segments with data."""
        return 100 * self.segments_dropped / max(1, self.segments)


class Direction:
    """One direction: packets in the order in which they came, each with the time at which it is due. Time is an argument."""

    def __init__(self, seed: str) -> None:
        self.way = Way()
        self.counts = Counts()
        self._chance = random.Random(seed)  # noqa: S311  no secret, and it must come out the same again
        self._free_at = 0.0  # when all that waits for the rate has left
        self._latest_due = 0.0
        self._under_way: deque[tuple[float, bytes]] = deque()

    def take(self, packet: bytes, now: float) -> None:
        """A packet came."""
        way = self.way
        if way.cut:
            self.counts.swallowed += 1
            return
        is_segment = _has_data(packet)
        self.counts.segments += is_segment
        leaves = now
        if way.rate_mbps is not None:
            bytes_per_second = way.rate_mbps * 125_000
            begins = max(now, self._free_at)
            if (begins - now) * bytes_per_second + len(packet) > way.queue_bytes:
                self.counts.overflowed += 1
                self.counts.segments_dropped += is_segment
                return
            leaves = self._free_at = begins + len(packet) / bytes_per_second
        if way.loss and self._chance.random() < way.loss:
            self.counts.lost += 1
            self.counts.segments_dropped += is_segment
            return
        late = way.delay_ms + (way.jitter_ms * self._chance.random() if way.jitter_ms else 0.0)
        self._latest_due = due = max(self._latest_due, leaves + late / 1000)
        self._under_way.append((due, packet))

    def due(self) -> float:
        """When the next packet is due; infinite when there is none."""
        return self._under_way[0][0] if self._under_way else float("inf")

    def leaving(self, now: float) -> Iterator[bytes]:
        """The packets that are due."""
        under_way = self._under_way
        while under_way and under_way[0][0] <= now:
            yield under_way.popleft()[1]


class Engine:
    """Moves packets between two TUN devices (`home`, `away`: file descriptors that do not block) until its control socket ends."""

    def __init__(self, home: int, away: int, control: socket.socket, seed: str) -> None:
        self._control = control
        self._up, self._down = Direction(f"{seed} up"), Direction(f"{seed} down")
        self._from = {home: self._up, away: self._down}
        self._into = ((self._up, away), (self._down, home))

    def run(self) -> None:
        """Until the owner is gone."""
        readers = [*self._from, self._control.fileno()]
        while True:
            now = time.monotonic()
            for direction, end in self._into:
                for packet in direction.leaving(now):
                    _deliver(packet, end, direction.counts)
            wait = min(self._up.due(), self._down.due()) - time.monotonic()
            # select() waits to the microsecond, where epoll rounds up to whole milliseconds.
            ready, _, _ = select.select(readers, (), (), max(0.0, wait) if wait != float("inf") else None)
            for end in ready:
                if end in self._from:
                    _accept(end, self._from[end])
                elif not self._obey():
                    return

    def _obey(self) -> bool:
        """One message of the owner; `False` when there will be none any more."""
        message = self._control.recv(LONGEST)
        if not message:
            return False
        wished: dict[str, dict[str, Any]] = json.loads(message)
        for name, direction in (("up", self._up), ("down", self._down)):
            if name in wished:
                direction.way = Way(**wished[name])
        told = {"at": time.monotonic(), "up": asdict(self._up.counts), "down": asdict(self._down.counts)}
        self._control.send(json.dumps(told).encode())
        return True


def _has_data(packet: bytes) -> bool:
    """Whether an IPv4 packet is a TCP segment with something in it (RFC 791, RFC 9293)."""
    if len(packet) < 40 or packet[9] != socket.IPPROTO_TCP:
        return False
    header = (packet[0] & 15) * 4
    return len(packet) > header + (packet[header + 12] >> 4) * 4


def _accept(end: int, direction: Direction) -> None:
    now = time.monotonic()
    for _ in range(MOST_AT_ONCE):
        try:
            packet = os.read(end, LONGEST)
        except OSError:  # nothing more, or the end is down
            return
        direction.take(packet, now)


def _deliver(packet: bytes, end: int, counts: Counts) -> None:
    try:
        os.write(end, packet)
    except OSError:  # the end is down
        counts.swallowed += 1
    else:
        counts.passed += 1
        counts.passed_bytes += len(packet)


def _tun(namespace: str) -> int:
    """A TUN device in that namespace, which this thread enters; it lives as long as the descriptor."""
    import ctypes

    with Path("/var/run/netns", namespace).open("rb") as file:
        # os.setns() came with Python 3.12.
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns to {namespace}")
    # IPv4 only: with IPv6 the kernel itself speaks on every new link, and the counts are to be those of the programs.
    with suppress(FileNotFoundError):
        Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
    return tun


def main(arguments: Sequence[str]) -> None:
    """The descriptor of the socket to the owner, the namespaces `home` and `away`, a seed, and the path of `ip`."""
    control_number, home, away, seed, ip = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner, who then closes the socket
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    control = socket.socket(fileno=int(control_number))
    try:
        engine = Engine(_tun(home), _tun(away), control, seed)
        with suppress(PermissionError):  # in some containers root may not; then a busy machine makes packets late
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
        control.send(b"{}")
        with suppress(ConnectionError):
            engine.run()
    finally:
        for name in (home, away):
            subprocess.run((ip, "netns", "delete", name), check=False, capture_output=True, timeout=10)
            shutil.rmtree(Path("/etc/netns") / name, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
