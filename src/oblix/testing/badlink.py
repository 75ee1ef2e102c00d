"""Two network namespaces joined by a link that can be slow, lossy, narrow or silent, per direction and while it runs (Linux, root).

No kernel module is needed (netem is missing from many kernels): two TUN devices and a process of its own between them, see
`oblix.testing.badlink_engine`. Measured on Linux 6.18: a round trip over an empty link takes 0.25 ms.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from oblix.errors import ConfigurationError
from oblix.testing import badlink_engine, netns
from oblix.testing.badlink_engine import DEVICE, LONGEST, Counts, Way

__all__ = ["BadLink", "BothCounts", "Counts", "Way"]
_ANSWERS_WITHIN = 60.0  # seconds: only against hanging; the engine starts in 50 ms and answers in less than 1 ms


class BothCounts(NamedTuple):
    """The counts of both directions, seen from `home`."""

    up: Counts
    down: Counts


class BadLink(netns.Namespaces):
    """Two namespaces and the link between them, for `with`, or `open()` and `close()`.

    It begins as a good link. When the owner ends, however it ends, everything is removed.

    Args:
        subnet: The third number of the addresses.
        seed: Decides what is lost, and how the jitter falls.

    Attributes:
        up: The way from `home` to `away`, as last set.
        down: The way back.
    """

    device = DEVICE

    def __init__(self, subnet: int = 7, *, seed: int = 0) -> None:
        super().__init__(subnet)
        self.up = Way()
        self.down = Way()
        self._seed = seed
        self._engine: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @property
    def is_open(self) -> bool:
        """Whether the link is there."""
        return self._control is not None

    def set(self, up: Way | None = None, down: Way | None = None) -> float:
        """Change one or both ways, for packets that come from now on.

        Returns:
            When they were changed, on the monotonic clock.
        """
        for way in (up, down):
            if way is not None:
                _check(way)
        self.up, self.down = up or self.up, down or self.down
        return float(self._ask(up=asdict(self.up), down=asdict(self.down))["at"])

    def both(self, way: Way) -> float:
        """The same way in both directions; when it was set."""
        return self.set(way, way)

    def cut(self) -> float:
        """Make a black hole of it, in both directions; when that was."""
        return self.set(replace(self.up, cut=True), replace(self.down, cut=True))

    def mend(self) -> float:
        """End the cut; the rest is as it was. When that was."""
        return self.set(replace(self.up, cut=False), replace(self.down, cut=False))

    def counts(self) -> BothCounts:
        """What became of the packets until now."""
        told = self._ask()
        return BothCounts(Counts(**told["up"]), Counts(**told["down"]))

    def close(self) -> None:
        """Remove both namespaces and the link. Closing twice does no harm."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._engine is not None:
            try:
                self._engine.wait(_ANSWERS_WITHIN)
            except subprocess.TimeoutExpired:
                self._engine.kill()
                self._engine.wait()
            self._engine = None
        super().close()

    def _join(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(_ANSWERS_WITHIN)
        with theirs:
            self._engine = subprocess.Popen(
                (
                    sys.executable,
                    "-I",
                    badlink_engine.__file__,
                    str(theirs.fileno()),
                    self.home,
                    self.away,
                    str(self._seed),
                    netns.ip_path(),
                ),
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )
        self._control = ours
        self._receive()  # it has made its devices

    def _ask(self, **message: object) -> dict[str, Any]:
        if self._control is None:
            raise ConfigurationError("This link is not open.", hint="Enter it with `with`, or call open().")
        self._control.send(json.dumps(message).encode())
        return self._receive()

    def _receive(self) -> dict[str, Any]:
        assert self._control is not None
        told = self._control.recv(LONGEST)
        if not told:
            raise OSError("the process of the link has ended; its standard error says why")
        answer: dict[str, Any] = json.loads(told)
        return answer


def _check(way: Way) -> None:
    if not 0 <= way.loss <= 1:
        raise ConfigurationError(f"loss={way.loss!r} is no share of packets.", hint="Give a number from 0 to 1.")
    if min(way.delay_ms, way.jitter_ms) < 0:
        raise ConfigurationError(f"{way!r} would deliver packets before they come.", hint="Give no negative times.")
    if way.rate_mbps is not None and not way.rate_mbps > 0:
        raise ConfigurationError(f"rate_mbps={way.rate_mbps!r} is no rate.", hint="For a black hole set `cut`.")


def available() -> str | None:
    """Why such a link cannot be made here, or `None` when it can."""
    if (reason := netns.available()) is not None:
        return reason
    if not os.access(Path("/dev/net/tun"), os.R_OK | os.W_OK):
        return "/dev/net/tun is missing (kernel option CONFIG_TUN)"
    return None
