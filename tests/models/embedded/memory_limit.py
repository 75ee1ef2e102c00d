"""A control group whose processes are killed when they want more memory than it has; needs root and Linux."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_V1 = _ROOT / "memory"


@dataclass(frozen=True)
class MemoryLimit:
    """The group. Who is moved in brings along what it has already; only what it takes from then on counts."""

    folder: Path

    @property
    def members(self) -> Path:
        """Where a process id is written to move the process in."""
        return self.folder / "cgroup.procs"

    def move(self, pid: int) -> None:
        self.members.write_text(str(pid))


def why_not() -> str | None:
    """Why no group can be made here."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "needs root, to make a control group"
    if (_V1 / "memory.limit_in_bytes").exists():
        return None
    try:
        ours = "memory" in (_ROOT / "cgroup.subtree_control").read_text().split()
    except OSError:
        return "needs a mounted cgroup memory controller"
    return None if ours else "needs the memory controller in /sys/fs/cgroup/cgroup.subtree_control"


@contextmanager
def memory_limit(size: int) -> Iterator[MemoryLimit]:
    """A group that may take `size` bytes; it is empty again, and gone, at the end."""
    v1 = (_V1 / "memory.limit_in_bytes").exists()
    folder = (_V1 if v1 else _ROOT) / f"oblix-test-{os.getpid()}"
    folder.mkdir()
    try:
        (folder / ("memory.limit_in_bytes" if v1 else "memory.max")).write_text(str(size))
        swap = folder / ("memory.memsw.limit_in_bytes" if v1 else "memory.swap.max")
        if swap.exists():
            swap.write_text(str(size if v1 else 0))
        yield MemoryLimit(folder)
    finally:
        folder.rmdir()
