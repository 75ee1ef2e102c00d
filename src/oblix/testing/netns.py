"""Two network namespaces, `home`, and `away`, which plays the internet, joined by a cable that can be pulled (Linux, root).

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
_CARRIER_WITHIN = 3.0  # seconds; measured 0.0 to 1.0 on Linux 6.18
_NUMBERS = itertools.count(1)
_MADE = Path("/var/run/netns")
_SETTINGS = Path("/etc/netns")  # `ip netns exec NAME` shows the files of NAME/ in place of those of /etc


class Namespaces:
    """The two namespaces, for `with`, or `open()` and `close()`; what joins them is made by `_join`.

    Attributes:
        home: Name of the namespace that programs run in.
        away: Name of the namespace that plays the internet.
        home_address: IPv4 address of `home` on the cable.
        away_address: IPv4 address of `away`, reachable from `home` while the cable is plugged in.
    """

    device: str  # the name of the cable's interface, the same at both ends

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
                ip("netns", "add", name)
                ip("-n", name, "link", "set", "lo", "up")
            self._join()
            for name, address in ((self.home, self.home_address), (self.away, self.away_address)):
                ip("-n", name, "address", "add", f"{address}/24", "dev", self.device)
            ip("-n", self.away, "link", "set", self.device, "up")
            self.plug_link()
        except BaseException:
            self.close()
            raise
        return self

    def _join(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Remove both namespaces and the cable. Closing twice does no harm."""
        for name in (self.home, self.away):
            _remove(name)

    def pull_link(self) -> None:
        """Take `home`'s end of the cable down: the network and its routes are gone, loopback stays."""
        ip("-n", self.home, "link", "set", self.device, "down")

    def plug_link(self) -> None:
        """Put the cable back. The kernel dropped the default route with the link, so it is made again."""
        ip("-n", self.home, "link", "set", self.device, "up")
        self.add_route()

    def remove_route(self) -> None:
        """Take the default route of `home` and the one to its neighbour away: the link is up and leads nowhere."""
        ip("-n", self.home, "route", "flush", "table", "main")

    def add_route(self) -> None:
        """Make the routes of `home` anew."""
        subnet = self.home_address.rpartition(".")[0] + ".0/24"
        ip("-n", self.home, "route", "replace", subnet, "dev", self.device, "src", self.home_address)
        ip("-n", self.home, "route", "replace", "default", "via", self.away_address)

    def look_names_up_at(self, address: str) -> None:
        """The name server of programs that are started in `home` from now on."""
        folder = _SETTINGS / self.home
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "resolv.conf").write_text(f"nameserver {address}\n", "ascii")

    @property
    def in_home(self) -> tuple[str, ...]:
        """The words to put before a command that is to run in `home`; the process keeps the id of the child started."""
        return (ip_path(), "netns", "exec", self.home)

    @property
    def in_away(self) -> tuple[str, ...]:
        """The same for `away`."""
        return (ip_path(), "netns", "exec", self.away)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *exc: object) -> None:
        self.close()


class NetworkPair(Namespaces):
    """The two namespaces joined by a perfect cable (veth)."""

    device = "cable0"

    def _join(self) -> None:
        ip("-n", self.home, "link", "add", self.device, "type", "veth", "peer", "name", self.device, "netns", self.away)

    def plug_link(self) -> None:
        """Put the cable back. The kernel dropped the default route with the link, so it is made again."""
        super().plug_link()
        # The kernel reports the carrier up to a second later; until then `psutil` and friends call the interface down.
        end = time.monotonic() + _CARRIER_WITHIN
        while "state UP" not in ip("-n", self.home, "link", "show", self.device) and time.monotonic() < end:
            time.sleep(0.02)


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
    for folder in (_MADE, _SETTINGS):
        for path in folder.glob(f"{_PREFIX}-*-*-*"):
            owner = path.name.split("-")[2]
            if owner.isdecimal() and not Path(f"/proc/{owner}").exists():
                _remove(path.name)


def _remove(name: str) -> None:
    if (_MADE / name).exists():
        ip("netns", "delete", name)
    shutil.rmtree(_SETTINGS / name, ignore_errors=True)


def ip_path() -> str:
    """Where the command `ip` is."""
    return shutil.which("ip") or "ip"


def ip(*words: str) -> str:
    """Run `ip` with these words; what it prints.

    Raises:
        subprocess.CalledProcessError: It failed; `stderr` says why.
    """
    # S603: no shell, and every word is ours.
    return subprocess.run((ip_path(), *words), check=True, capture_output=True, text=True, timeout=10).stdout
