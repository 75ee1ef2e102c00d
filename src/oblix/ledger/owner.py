"""Who holds a reservation: a process, by this boot of the machine, its number and its start; and whether it still lives."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from functools import cache
from math import inf
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
OVERDUE = 3600.0  # seconds after which a lease is over even where its owner seems to live: it hangs, or its number was given again
_ENDED = frozenset("ZX")  # a zombie has ended, whoever has yet to ask for its exit status


class Lease(NamedTuple):
    """Who holds something, and until when it answers for it."""

    owner: str
    until: float


def me() -> str:
    """This process, as the books name it."""
    return _named(os.getpid())


def is_alive(owner: str) -> bool | None:
    """Whether a process works; `None` where that cannot be seen from here: another boot, machine or container."""
    here, _, process = me().rpartition("/")
    there, _, other = owner.rpartition("/")
    if here != there:
        return None
    pid, _, start = other.partition("@")
    return other == process or (pid.isdecimal() and bool(start) and _start(int(pid)) == start)


def dead(leases: Iterable[Lease], now: float) -> list[Lease]:
    """Of those that hold something the ones that died, each with the moment before which a lease of its has to end for it to be over."""
    found = []
    for name, until in leases:
        over = {True: now - OVERDUE, None: now, False: inf}[is_alive(name)]
        if until < over:
            found.append(Lease(name, over))
    return found


@cache
def _named(pid: int) -> str:  # for each pid: after a fork it is another
    return f"{_boot()}/{_space()}/{pid}@{_start(pid)}"


def _boot() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        import psutil

        return f"{psutil.boot_time():.0f}"


def _space() -> str:
    """The name space that process ids are counted in; empty where the system has but one."""
    try:
        return str((_PROC / "self/ns/pid").readlink())
    except OSError:
        return ""


def _start(pid: int) -> str | None:
    """When the process started, in whatever unit; `None` where there is none. The system gives ids again, but not at the same moment."""
    if sys.platform == "linux":
        try:
            # The name may hold blanks and brackets: the fields begin after its last bracket. Source: proc_pid_stat(5), fields 3 and 22.
            fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in _ENDED else fields[19]
    return _start_by_psutil(pid)


def _start_by_psutil(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return None
