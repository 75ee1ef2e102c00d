"""Processors: for how long those that we may use were busy, and how much queues up for them."""

from __future__ import annotations

import os
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
    """

    total: float
    busy: float


def read(system: System, cores: frozenset[int] | None) -> CpuTimes | None:
    """The counters of these processors (`None`: of all)."""
    if system.platform != "linux":
        return _from_psutil()
    text = system.text("/proc/stat")
    if text is None:
        return None
    total = busy = 0
    for line in text.splitlines():
        name, _, fields = line.partition(" ")
        if not name.startswith("cpu"):
            break
        if name == "cpu" or (cores is not None and int(name[3:]) not in cores):
            continue
        # user nice system idle iowait irq softirq steal; the guests' that follow are counted in user and nice already
        spent = [int(field) for field in fields.split()[:8]]
        total += sum(spent)
        busy += sum(spent) - spent[3] - spent[4]
    return CpuTimes(total / TICKS, busy / TICKS) if total else None


def usable_cores(system: System) -> frozenset[int] | None:
    """The processors that this process may run on, by affinity and cpuset; `None` where the system does not tell."""
    for line in (system.text("/proc/self/status") or "").splitlines():
        if line.startswith("Cpus_allowed_list:"):
            return _numbers(line.partition(":")[2])
    return None


def core_count(system: System) -> int:
    """The processors of the machine, whether or not we may use them."""
    if system.platform == "linux":
        lines = (system.text("/proc/stat") or "").splitlines()
        found = sum(line.startswith("cpu") and line[3:4].isdigit() for line in lines)
        if found:
            return found
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


def _numbers(text: str) -> frozenset[int]:
    """`0-2,5` as a set."""
    found: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def _from_psutil() -> CpuTimes:
    import psutil

    times: Any = psutil.cpu_times()
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return CpuTimes(total, total - times.idle - getattr(times, "iowait", 0.0))
