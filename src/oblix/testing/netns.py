"""Two network namespaces joined by a cable that can be pulled: `home`, and `away`, which plays the internet (Linux, root).

Everything is made inside the two namespaces; the host's own network is neither used nor changed. `home` has loopback and a
default route over the cable, `away` has one address at its other end.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Self

_PREFIX = "oblix"
_CABLE = "cable0"  # the interface's name, the same at both ends
_CARRIER_WITHIN = 3.0  # seconds; measured 0.0 to 1.0 on Linux 6.18
_NUMBERS = itertools.count(1)


class NetworkPair:
    """The two namespaces, for `with`, or `open()` and `close()`.

    Attributes:
        home: Name of the namespace that programs run in.
        away: Name of the namespace that plays the internet.
        home_address: IPv4 address of `home` on the cable.
        away_address: IPv4 address of `away`, reachable from `home` while the cable is plugged in.
    """

    def __init__(self, subnet: int = 7) -> None:
        number = next(_NUMBERS)
        self.home = f"{_PREFIX}-home-{os.getpid()}-{number}"
        self.away = f"{_PREFIX}-away-{os.getpid()}-{number}"
        # Nobody outside the pair ever sees these addresses, so pairs of several processes may use the same ones.
        self.home_address = f"10.77.{subnet}.1"
        self.away_address = f"10.77.{subnet}.2"

    def open(self) -> Self:
        """Make both namespaces and plug the cable in; what was made is removed again if a step fails."""
        remove_stale()
        try:
            for name in (self.home, self.away):
                _ip("netns", "add", name)
                _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", self.home, "link", "add", _CABLE, "type", "veth", "peer", "name", _CABLE, "netns", self.away)
            for name, address in ((self.home, self.home_address), (self.away, self.away_address)):
                _ip("-n", name, "address", "add", f"{address}/24", "dev", _CABLE)
            _ip("-n", self.away, "link", "set", _CABLE, "up")
            self.plug_link()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Remove both namespaces and the cable. Closing twice does no harm."""
        for name in (self.home, self.away):
            if _path(name).exists():
                _ip("netns", "delete", name)

    def pull_link(self) -> None:
        """Take `home`'s end of the cable down: the network and its routes are gone, loopback stays."""
        _ip("-n", self.home, "link", "set", _CABLE, "down")

    def plug_link(self) -> None:
        """Put the cable back. The kernel dropped the default route with the link, so it is made again."""
        _ip("-n", self.home, "link", "set", _CABLE, "up")
        _ip("-n", self.home, "route", "replace", "default", "via", self.away_address)
        # The kernel reports the carrier up to a second later; until then `psutil` and friends call the interface down.
        end = time.monotonic() + _CARRIER_WITHIN
        while "state UP" not in _ip("-n", self.home, "link", "show", _CABLE) and time.monotonic() < end:
            time.sleep(0.02)

    @property
    def in_home(self) -> tuple[str, ...]:
        """The words to put before a command that is to run in `home`; the process keeps the id of the child started."""
        return (_ip_path(), "netns", "exec", self.home)

    @property
    def in_away(self) -> tuple[str, ...]:
        """The same for `away`."""
        return (_ip_path(), "netns", "exec", self.away)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *exc: object) -> None:
        self.close()


@cache
def available() -> str | None:
    """Why namespaces cannot be made here, or `None` when they can. It is tried, once per process."""
    if sys.platform != "linux":
        return f"network namespaces exist on Linux only, this is {sys.platform}"
    if os.geteuid() != 0:
        return "making network namespaces needs root"
    if shutil.which("ip") is None:
        return "the command `ip` is missing (package iproute2)"
    try:
        with NetworkPair():
            return None
    except subprocess.CalledProcessError as exc:
        return f"`{' '.join(exc.cmd)}` failed: {exc.stderr.strip()}"
    except (OSError, subprocess.TimeoutExpired) as exc:
        return f"making network namespaces failed: {exc}"


def remove_stale() -> None:
    """Remove what processes that were killed have left behind; their process id is part of the name."""
    for path in _path("").glob(f"{_PREFIX}-*-*-*"):
        owner = path.name.split("-")[2]
        if owner.isdecimal() and not Path(f"/proc/{owner}").exists():
            _ip("netns", "delete", path.name)


def _path(name: str) -> Path:
    return Path("/var/run/netns") / name


def _ip_path() -> str:
    return shutil.which("ip") or "ip"


def _ip(*words: str) -> str:
    arguments = (_ip_path(), *words)
    # S603: no shell, and every word is ours.
    return subprocess.run(arguments, check=True, capture_output=True, text=True, timeout=10).stdout
