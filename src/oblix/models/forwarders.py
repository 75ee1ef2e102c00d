"""Programs that listen on this machine and pass on what they get to another one: a private prompt is not given to them unasked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from oblix.models.ownership import Owner, listening, owners

# A client for ssh listens for -L and -D only, and a server on a port of ours only for somebody's -R. What rather publishes this machine
# than reaches another (ngrok, frps) answers no prompt either. Left out on purpose: docker-proxy and rootlessport lead to a container of
# this machine; nginx, HAProxy, LiteLLM and the like may lead anywhere, which is for their owner to say (`place="cloud"`).
_ALWAYS = frozenset({
    "ssh", "autossh", "sshd", "sshd-session", "dbclient", "plink", "sshuttle", "socat", "stunnel", "systemd-socket-proxyd", "simpleproxy",
    "rinetd", "redir", "cloudflared", "ngrok", "chisel", "frpc", "frps", "bore", "rathole", "gost", "wstunnel", "inlets", "inlets-pro",
    "pagekite", "zrok", "boundary", "tsh", "teleport", "devtunnel", "session-manager-plugin", "telepresence", "k9s", "tor", "privoxy",
    "tinyproxy", "squid", "3proxy", "mitmproxy", "mitmdump", "mitmweb", "ss-local", "sslocal", "v2ray", "xray", "clash", "mihomo",
    "sing-box",
})  # fmt: skip
# What has many uses, and the words that name this one.
_WITH: Mapping[str, frozenset[str]] = {
    "kubectl": frozenset({"port-forward", "proxy"}),
    "oc": frozenset({"port-forward", "proxy"}),
    "gh": frozenset({"codespace", "cs"}),
    "fly": frozenset({"proxy"}),
    "flyctl": frozenset({"proxy"}),
}
# The kernel keeps 15 characters of the name that a process calls itself by.
_CUT = {name[:15]: name for name in _ALWAYS}
# Seconds until processes are searched for anew, although socket and owners are the same: others may have joined them (systemd hands a
# socket to systemd-socket-proxyd at the first connection), or become visible. A search takes a millisecond for a hundred processes.
LOOK_AGAIN = 10.0


def forwarder(names: Iterable[str], arguments: Callable[[], Collection[str]]) -> str | None:
    """The name under which a program is known to forward, `None` when it is not known for that.

    Args:
        names: Of its executable file, and what it calls itself; a version may hang on (`stunnel4`).
        arguments: Gives the words it was started with, where the name alone does not tell.
    """
    for name in names:
        for known in (name, name.rstrip("0123456789.-"), _CUT.get(name, name)):
            if known in _ALWAYS or (known in _WITH and not _WITH[known].isdisjoint(arguments())):
                return known
    return None


@dataclass(frozen=True, slots=True)
class Found:
    """A forwarder that listens where a prompt would have gone."""

    name: str
    pid: int


@dataclass(frozen=True, slots=True)
class _Seen:
    """Who was found behind these sockets, and when that was, on the loop's clock."""

    inodes: frozenset[int]
    owners: tuple[Owner, ...]
    at: float

    def holds(self, inodes: frozenset[int], now: float) -> bool:
        """Whether it is still so: the same sockets, nobody has left, and not long ago."""
        is_fresh = now - self.at < LOOK_AGAIN
        return is_fresh and inodes == self.inodes and all(owner.still_holds for owner in self.owners)


class Lookout:
    """Looks who listens at addresses of this machine: at the sockets each time, for their processes when something has changed."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], _Seen] = {}

    async def forwarder_at(self, host: str, port: int) -> Found | None:
        """The forwarder that listens at a loopback address; `None` when none is known to. Asks the system, on a thread."""
        return await asyncio.to_thread(self._find, host, port, asyncio.get_running_loop().time())

    def _find(self, host: str, port: int, now: float) -> Found | None:
        for owner in self._owners((host, port), now):
            if (name := forwarder(owner.names, lambda owner=owner: owner.arguments)) is not None:  # type: ignore[misc]
                return Found(name, owner.pid)
        return None

    def _owners(self, at: tuple[str, int], now: float) -> tuple[Owner, ...]:
        inodes, seen = listening(*at), self._seen.get(at)
        if seen is None or not seen.holds(inodes, now):
            seen = self._seen[at] = _Seen(inodes, owners(inodes) if inodes else (), now)
        return seen.owners
