"""The system's resolver, played: knows the names of one run and no other, and remembers who was asked for."""

from __future__ import annotations

import socket
from collections.abc import Collection
from typing import Any

CLOUD = ".example.test"  # names of cloud hosts end so; RFC 6761 keeps them out of every real network
HOME = ".home.arpa"  # RFC 8375

Row = tuple[Any, ...]


class Names:
    """Stands where `socket.getaddrinfo` stands. Asked from many threads at once.

    Attributes:
        asked: Every host that was looked up, in order.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, *args: int, **wishes: int) -> list[Row]:
        """Names of clouds and of the house stand for loopback, every other name is unknown."""
        self.asked.append(host)
        if host.endswith((CLOUD, HOME)):
            return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port))]
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def of(self, hosts: Collection[str], since: int) -> tuple[str, ...]:
        """Look-ups of these hosts, from number `since`."""
        return tuple(host for host in self.asked[since:] if host in hosts)

    @property
    def strangers(self) -> list[str]:
        """Look-ups of what is neither a cloud of ours nor at home."""
        return [host for host in self.asked if not host.endswith((CLOUD, HOME))]
