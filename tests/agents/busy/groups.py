"""Real control groups (v1), made for a test and taken away after it."""

from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path
from typing import Self

SHARES = 1024  # what a process without a group has
MAX_SHARES = 256 * SHARES  # next to a group with so many, everybody else on the machine gets next to nothing
_numbers = itertools.count()


def folders() -> dict[str, Path]:
    """Where the groups of this process lie, by controller; empty where there is no v1, or where we may not make groups."""
    paths: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        paths.update(dict.fromkeys(names.split(","), path))
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place, _, kind = line.partition(" - ")
        if not kind.startswith("cgroup "):
            continue
        _, _, _, root, mount, *_ = place.split()
        for name in kind.split()[-1].split(","):
            folder = Path(mount + paths.get(name, "").removeprefix(root.rstrip("/")))
            if os.access(folder, os.W_OK):
                found[name] = folder
    return found


class Group:
    """A control group below our own, with these limits."""

    def __init__(self, *, cores: float | None = None, memory: int | None = None, shares: int | None = None) -> None:
        self._limits: dict[str, dict[str, int]] = {}
        if cores is not None:
            self._limits["cpu"] = {"cpu.cfs_period_us": 100_000, "cpu.cfs_quota_us": round(cores * 100_000)}
        if shares is not None:
            self._limits["cpu"] = self._limits.get("cpu", {}) | {"cpu.shares": shares}
        if memory is not None:
            self._limits["memory"] = {"memory.limit_in_bytes": memory}
        if "cpu" in self._limits:
            self._limits["cpuacct"] = {}
        self.folders: dict[str, Path] = {}

    def __enter__(self) -> Self:
        ours, name = folders(), f"oblix-test-{os.getpid()}-{next(_numbers)}"
        for controller, limits in self._limits.items():
            folder = self.folders[controller] = ours[controller] / name
            folder.mkdir(exist_ok=True)  # controllers may be mounted together
            for file, value in limits.items():
                (folder / file).write_text(str(value))
        return self

    def __exit__(self, *_: object) -> None:
        for folder in set(self.folders.values()):
            while members := (folder / "cgroup.procs").read_text().split():
                for member in map(int, members):
                    if member == os.getpid():
                        self._leave()
                    else:
                        os.kill(member, signal.SIGKILL)
                time.sleep(0.01)
            folder.rmdir()

    def add(self, process: int) -> None:
        """Put a process in."""
        for folder in self.folders.values():
            (folder / "cgroup.procs").write_text(str(process))

    def _leave(self) -> None:
        for folder in self.folders.values():
            (folder.parent / "cgroup.procs").write_text(str(os.getpid()))
