"""Which processes listen at an address of this machine: their sockets from the kernel, their names from `/proc` (Linux).

Everything here asks the system, so that it belongs on a thread. What it does not tell (of other users' processes, on other systems)
is not known.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

Address = IPv4Address | IPv6Address

# A dump of the TCP sockets that listen on one port: man 7 sock_diag, linux/inet_diag.h. It takes 15 µs; `/proc/net/tcp` takes 1.2 ms,
# however few sockets there are, because the kernel walks the whole table of connections for it (Linux 6.18, 2026-11).
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, _ERROR, _DONE = 4, 20, 0x301, 2, 3
_LISTENS = 10  # TCP_LISTEN
_HEAD = struct.Struct("=IHHII")  # length, type, flags, sequence, port id
_ASK = struct.Struct("=BBxxI")  # family, protocol, …, states
_WHICH = struct.Struct("!H46x")  # source port, …
_TOLD = struct.Struct("=BB6x16s44xI")  # family, state, …, source address, …, inode
_ANSWER = 64 << 10  # bytes; a dump comes in pieces of at most 32 KiB


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that holds a listening socket, and the number of the descriptor that it holds it by."""

    pid: int
    descriptor: int
    inode: int

    @property
    def still_holds(self) -> bool:
        """Whether that descriptor is that socket now."""
        return _inode_behind(f"/proc/{self.pid}/fd/{self.descriptor}") == self.inode

    @property
    def names(self) -> tuple[str, ...]:
        """Of its executable file, and what it calls itself (cut to 15 characters by the kernel); empty when it is gone."""
        with suppress(OSError):
            file = os.readlink(f"/proc/{self.pid}/exe").removesuffix(" (deleted)").rpartition("/")[2]  # noqa: PTH115
            return file, self._read("comm").decode("utf-8", "replace").rstrip("\n")
        return ()

    @property
    def arguments(self) -> tuple[str, ...]:
        """The words that it was started with, after its own name."""
        with suppress(OSError):
            return tuple(self._read("cmdline").decode("utf-8", "replace").rstrip("\0").split("\0")[1:])
        return ()

    def _read(self, what: str) -> bytes:
        with Path(f"/proc/{self.pid}/{what}").open("rb", buffering=0) as file:
            return file.read()


def listening(host: str, port: int) -> frozenset[int]:
    """Inodes of the sockets that take connections to a numeric address: its own, or one that listens everywhere. Empty when not known."""
    if sys.platform != "linux":
        return frozenset()
    address = _plain(ip_address(host))
    families = (socket.AF_INET, socket.AF_INET6) if address.version == 4 else (socket.AF_INET6,)
    with suppress(OSError):
        try:
            rows = [row for family in families for row in _dump(family, port)]
        except OSError:  # a sandbox may forbid netlink
            rows = [row for family in families for row in _table(family, port)]
        return frozenset(inode for at, inode in rows if at == address or at.is_unspecified)
    return frozenset()


def owners(inodes: frozenset[int]) -> tuple[Owner, ...]:
    """The processes that hold these sockets, as far as they may be looked at. Walks all of them: some 10 µs for each."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208  `Path` would take thrice as long
        with suppress(OSError):  # another user's, or gone meanwhile
            for descriptor in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
                inode = _inode_behind(f"/proc/{pid}/fd/{descriptor}")
                if inode in inodes:
                    found.append(Owner(int(pid), int(descriptor), inode))
    return tuple(found)


def _inode_behind(descriptor: str) -> int:
    """Of the socket that a descriptor in `/proc` is; 0 for anything else."""
    try:
        kind, _, number = os.readlink(descriptor).partition(":")  # noqa: PTH115  thousands of them are read
    except OSError:
        return 0
    return int(number[1:-1]) if kind == "socket" else 0


def _plain(address: Address) -> Address:
    """IPv4 in IPv6's clothes (`::ffff:127.0.0.1`) as what it is."""
    return getattr(address, "ipv4_mapped", None) or address


def _dump(family: int, port: int) -> Iterator[tuple[Address, int]]:
    """Address and inode of each socket that listens on `port`, asked of the kernel."""
    ask = _ASK.pack(family, socket.IPPROTO_TCP, 1 << _LISTENS) + _WHICH.pack(port)
    head = _HEAD.pack(_HEAD.size + len(ask), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.send(head + ask)
        while True:
            data = kernel.recv(_ANSWER)
            while data:
                length, kind, *_ = _HEAD.unpack_from(data)
                if kind == _DONE:
                    return
                if kind == _ERROR or length < _HEAD.size:
                    raise OSError("the kernel does not list sockets")
                kin, _, source, inode = _TOLD.unpack_from(data, _HEAD.size)
                yield _plain(ip_address(source[:4] if kin == socket.AF_INET else source)), inode
                data = data[(length + 3) & ~3 :]


def _table(family: int, port: int) -> Iterator[tuple[Address, int]]:
    """The same, out of `/proc/net/tcp` and `tcp6`: addresses stand there as words in the byte order of the machine."""
    with Path("/proc/net/tcp6" if family == socket.AF_INET6 else "/proc/net/tcp").open(encoding="ascii") as rows:
        next(rows)
        for row in rows:
            fields = row.split()
            address, _, number = fields[1].partition(":")
            if int(fields[3], 16) == _LISTENS and int(number, 16) == port:
                words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
                yield _plain(ip_address(struct.pack(f"={len(words)}I", *words))), int(fields[9])
