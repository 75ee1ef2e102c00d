"""How many threads the engine should use: as many as cores are free, because one too many makes it crawl.

Measured on a busy 2-core machine: llama.cpp with 2 threads could not finish 75 tokens in 200 s, because its threads wait for
each other at every layer; with 1 thread it made 25 tokens a second.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

_SAMPLE = 0.1  # seconds; shorter samples read as 0 % or 100 % (psutil's advice is at least 0.1)


def choose_threads(*, allowed: float, cores: int, busy: float) -> int:
    """At least 1, at most the cores that are free.

    Args:
        allowed: Cores that this process may use (affinity, quota of its control group).
        cores: Cores of the machine.
        busy: Share of the machine's CPU time in use, in [0, 1].
    """
    free = min(allowed, cores * (1.0 - min(max(busy, 0.0), 1.0)))
    return max(1, math.floor(free))


def free_threads() -> int:
    """Measure for 0.1 s, then choose."""
    import psutil

    cores = psutil.cpu_count() or 1
    busy = psutil.cpu_percent(interval=_SAMPLE) / 100
    return choose_threads(allowed=min(_affinity(cores), quota()), cores=cores, busy=busy)


def _affinity(cores: int) -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have none
        return cores


def quota(root: Path = Path("/")) -> float:
    """Cores that the control groups of this process allow; infinite without a limit.

    psutil and `os.cpu_count` do not know of it (tried in a group limited to half a core).

    Args:
        root: Where `proc` and `sys` are found.
    """
    found = math.inf
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not controllers:
            folder = root / "sys/fs/cgroup"
        elif "cpu" in controllers.split(","):
            folder = root / "sys/fs/cgroup/cpu"
        else:
            continue
        # Inside a container the path is that of the host, and only the root of the mount is there.
        steps = [folder, *_steps(folder, path)]
        found = min([found, *(_limit(step) for step in steps)])
    return found


def _steps(folder: Path, path: str) -> list[Path]:
    steps = []
    for part in path.strip("/").split("/"):
        if part and part != "..":
            folder = folder / part
            steps.append(folder)
    return steps


def _limit(group: Path) -> float:
    """The limit of one group, either version."""
    quota_us, period_us = (*_read(group / "cpu.max").split(), "", "")[:2]
    if not quota_us:
        quota_us, period_us = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
    try:
        cores = int(quota_us) / int(period_us)
    except (ValueError, ZeroDivisionError):  # "max", or no such file
        return math.inf
    return cores if cores > 0 else math.inf


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
