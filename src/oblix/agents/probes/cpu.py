"""Processors: for how long those that we may use were busy, and how much queues up for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from oblix.agents.probes.system import System

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100  # a second; 100 on every Linux that we know


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Counters, in seconds of all these processors together.

    Attributes:
        total: All time, whatever it was spent with.
        busy: Without idling. What the hypervisor gave to other machines counts as busy: it is not ours to use.
        elsewhere: For how long the other processors of the machine were busy.
    """

    total: float
    busy: float
    elsewhere: float = 0.0


def read(system: System, cores: frozenset[int] | None) -> CpuTimes | None:
    """The counters of these processors (`None`: of all)."""
    if system.platform != "linux":
        return _from_psutil()
    text = system.text("/proc/stat")
    if text is None:
        return None
    total = busy = elsewhere = 0
    try:
        for number, fields in _rows(text):
            # user nice system idle iowait irq softirq steal; the guests' that follow are counted in user and nice already
            spent = [int(field) for field in fields.split()[:8]]
            worked = sum(spent) - spent[3] - spent[4]
            if cores is None or number in cores:
                total += sum(spent)
                busy += worked
            else:
                elsewhere += worked
    except (ValueError, IndexError):  # not as any kernel that we know writes it
        return None
    return CpuTimes(total / TICKS, busy / TICKS, elsewhere / TICKS) if total else None


def usable_cores(system: System, process: int | None = None) -> frozenset[int] | None:
    """The processors that a process (by default this one) may run on, by affinity and cpuset; `None` where the system does not tell.

    The kernel tells of those that the machine could have: 0-127 in a virtual machine with four. So only those that are there count.
    """
    for line in (system.text(f"/proc/{process or 'self'}/status") or "").splitlines():
        if line.startswith("Cpus_allowed_list:"):
            allowed, there = _numbers(line.partition(":")[2]), _there(system)
            # LXC numbers the processors of a container anew in `/proc/stat`, and shows no others there.
            return allowed if not there or allowed is None else (allowed & there or None)
    return None


def core_count(system: System) -> int:
    """The processors of the machine, whether or not we may use them."""
    if system.platform == "linux":
        found = _there(system)
        if found:
            return len(found)
    return os.cpu_count() or 1


def load_average(system: System) -> float | None:
    """Tasks that ran or waited, over the last minute; of the machine, also inside a container."""
    if system.platform == "linux":
        first = (system.text("/proc/loadavg") or "").partition(" ")[0]
        try:
            return float(first)
        except ValueError:
            return None
    return os.getloadavg()[0] if hasattr(os, "getloadavg") and not system.is_recorded else None


def _rows(text: str) -> Iterator[tuple[int, str]]:
    """Number and counters of each processor that is switched on, from `/proc/stat`."""
    for line in text.splitlines():
        name, _, fields = line.partition(" ")
        if not name.startswith("cpu"):
            return  # they come first, and what follows is long
        if name[3:].isdigit():
            yield int(name[3:]), fields


def _there(system: System) -> frozenset[int]:
    return frozenset(number for number, _ in _rows(system.text("/proc/stat") or ""))


def _numbers(text: str) -> frozenset[int] | None:
    """`0-2,5` as a set; `None` for anything else."""
    found: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, _, last = part.partition("-")
        if not first.isdigit() or not (last or first).isdigit():
            return None
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def _from_psutil() -> CpuTimes:
    import psutil

    times: Any = psutil.cpu_times()
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return CpuTimes(total, total - times.idle - getattr(times, "iowait", 0.0))
