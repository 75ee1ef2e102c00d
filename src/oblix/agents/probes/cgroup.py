"""Control groups (cgroup v1 and v2, Linux): the limits that this process lives under, those of its container included.

Neither the C library nor psutil know of them: inside a container with half a core and 256 MB they tell of the whole machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

from oblix.agents.probes.system import System

_MARKS = ("/.dockerenv", "/run/.containerenv", "/run/systemd/container", "/var/run/secrets/kubernetes.io")


class Inside(NamedTuple):
    """Which of our limits hold for another process as well.

    Attributes:
        cpu: That of the innermost group with a limit on processor time.
        memory: One for each of `Groups.memory`.
    """

    cpu: bool
    memory: tuple[bool, ...]


class CpuUse(NamedTuple):
    """Counters of a group.

    Attributes:
        seconds: Processor time of all processes in it.
        periods: Periods in which something ran.
        throttled: Of those, the ones in which the quota was used up.
    """

    seconds: float
    periods: int
    throttled: int


@dataclass(frozen=True, slots=True)
class CpuGroup:
    """A group whose processor time is limited.

    Attributes:
        path: Its name among the groups, as `/proc/PID/cgroup` has it.
        limit: Cores, possibly a fraction of one.
        usage: The file that tells of its use under v1 (`cpuacct.usage`); under v2 `cpu.stat` does.
    """

    path: str
    folder: str
    limit: float
    usage: str | None = None

    def read(self, system: System) -> CpuUse | None:
        """Its counters; `None` where its use is not told (v1 without `cpuacct`)."""
        stat = _table(system.text(f"{self.folder}/cpu.stat"))
        seconds = 1e-6 * stat["usage_usec"] if "usage_usec" in stat else None
        if self.usage is not None:
            nanoseconds = system.number(self.usage)
            seconds = None if nanoseconds is None else 1e-9 * nanoseconds
        return None if seconds is None else CpuUse(seconds, stat.get("nr_periods", 0), stat.get("nr_throttled", 0))


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """A group whose memory is limited, in bytes; above a v2 group's `memory.high` its processes are slowed down, so that counts too."""

    path: str
    folder: str
    limit: int
    usage: str

    def used(self, system: System) -> int | None:
        """Bytes in use, without the file cache and the kernel's own that it can drop: the same that `MemAvailable` leaves out."""
        all_ = system.number(f"{self.folder}/{self.usage}")
        stat = _table(system.text(f"{self.folder}/memory.stat"))
        # v1 tells of the group alone, and beside it, as total_…, of all groups below it as well.
        droppable = sum(stat.get(f"total_{name}", stat.get(name, 0)) for name in ("active_file", "inactive_file"))
        return None if all_ is None else max(0, all_ - droppable - stat.get("slab_reclaimable", 0))


@dataclass(frozen=True, slots=True)
class Groups:
    """The limited groups that this process is in, the innermost first.

    Attributes:
        in_container: There are the marks of Docker, Podman, systemd-nspawn or Kubernetes.
        pressure_cpu: The file of the limited group's own pressure (v2), `None` where there is none.
    """

    _: KW_ONLY
    cpu: tuple[CpuGroup, ...] = ()
    memory: tuple[MemoryGroup, ...] = ()
    in_container: bool = False
    pressure_cpu: str | None = None
    pressure_memory: str | None = None

    def cpu_limit(self) -> float | None:
        """Cores; `None` without a limit."""
        return min((group.limit for group in self.cpu), default=None)

    def inside(self, system: System, number: int) -> Inside:
        """Which of these groups a process is in."""
        limited = bool(self.cpu or self.memory)
        paths = _memberships(system.text(f"/proc/{number}/cgroup")) if limited else {}
        cpu, memory = (paths.get(name, paths.get("")) or "" for name in ("cpu", "memory"))
        return Inside(
            bool(self.cpu) and _is_below(cpu, self.cpu[0].path),
            tuple(_is_below(memory, group.path) for group in self.memory),
        )


def find(system: System) -> Groups:
    """The groups of this process whose limits are set."""
    if system.platform != "linux":
        return Groups()
    paths = _memberships(system.text("/proc/self/cgroup"))
    mounts = dict(_mounts(system.text("/proc/self/mountinfo")))
    cpu = [group for step in _levels("cpu", paths, mounts) if (group := _cpu_group(system, step, paths, mounts))]
    memory = [held for step in _levels("memory", paths, mounts) if (held := _memory_group(system, step))]
    return Groups(
        cpu=tuple(cpu),
        memory=tuple(memory),
        in_container=any(_exists(system, mark) for mark in _MARKS),
        pressure_cpu=_pressure(system, "cpu", [group.folder for group in cpu]),
        pressure_memory=_pressure(system, "memory", [group.folder for group in memory]),
    )


class _Level(NamedTuple):
    path: str
    folder: str
    mount: str


class _Mount(NamedTuple):
    root: str
    folder: str


def _memberships(text: str | None) -> dict[str, str]:
    """Controller → path, of `/proc/PID/cgroup`; the unified hierarchy (v2) has the empty name."""
    found: dict[str, str] = {}
    for line in (text or "").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _is_below(path: str, group: str) -> bool:
    """Whether it is this group, or one in it; `/..` leads out of what we can see."""
    return f"{path}/".startswith(f"{group.rstrip('/')}/") and ".." not in path.split("/")


def _mounts(text: str | None) -> Iterator[tuple[str, _Mount]]:
    """Where each controller's groups are mounted, and which group is seen there (`man 5 proc`, mountinfo)."""
    for line in (text or "").splitlines():
        place, _, kind = line.partition(" - ")
        fields, (type_, _, options) = place.split(), (*kind.split(" ", 2), "", "", "")[:3]
        if not type_.startswith("cgroup") or len(fields) < 5:
            continue
        # The unified hierarchy holds every controller; an older one has its own in the options.
        names = [""] if type_ == "cgroup2" else options.rpartition(" ")[2].split(",")
        for name in names:
            yield name, _Mount(fields[3], fields[4])


def _levels(controller: str, paths: dict[str, str], mounts: dict[str, _Mount]) -> list[_Level]:
    """The folders of this process's group and of its parents, as far up as they can be seen."""
    name = controller if controller in paths and controller in mounts else ""
    if name not in paths or name not in mounts:
        return []
    path, mount = paths[name], mounts[name]
    root = mount.root.rstrip("/")
    # Without a namespace of its own, a container reads the host's path here, while only its own group is mounted.
    inside = path[len(root) :] if path == root or path.startswith(root + "/") else ""
    parts = [part for part in inside.split("/") if part]
    if ".." in parts:  # outside of the namespace that we can see
        parts = []
    steps = ["/".join(parts[:depth]) for depth in range(len(parts), -1, -1)]
    return [
        _Level(f"{root}/{step}".rstrip("/") or "/", f"{mount.folder}/{step}".rstrip("/"), mount.folder)
        for step in steps
    ]


def _cpu_group(system: System, level: _Level, paths: dict[str, str], mounts: dict[str, _Mount]) -> CpuGroup | None:
    quota, period = (*(system.text(f"{level.folder}/cpu.max") or "").split(), "", "")[:2]
    usage = None
    if not quota:
        quota = system.text(f"{level.folder}/cpu.cfs_quota_us") or ""
        period = system.text(f"{level.folder}/cpu.cfs_period_us") or ""
        # `cpuacct` may be mounted elsewhere, and only tells of this group if we are in the same one there.
        twin = next((step for step in _levels("cpuacct", paths, mounts) if step.path == level.path), None)
        usage = f"{twin.folder}/cpuacct.usage" if twin else None
    try:
        limit = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max", or no such file
        return None
    return CpuGroup(level.path, level.folder, limit, usage) if limit > 0 else None


def _memory_group(system: System, level: _Level) -> MemoryGroup | None:
    v2 = [system.number(f"{level.folder}/memory.{name}") for name in ("max", "high")]
    v1 = system.number(f"{level.folder}/memory.limit_in_bytes")
    if v1 is not None:  # a parent that cannot be seen from here may have a tighter one
        hidden = _table(system.text(f"{level.folder}/memory.stat")).get("hierarchical_memory_limit", v1)
        v1 = min(v1, hidden)
    machine = 1024 * _table((system.text("/proc/meminfo") or "").replace(":", " ")).get("MemTotal", 1 << 50)
    limits = [
        limit for limit in (*v2, v1) if limit is not None and 0 < limit < machine
    ]  # v1's "no limit" is 2^63 less a page
    usage = "memory.usage_in_bytes" if v1 is not None else "memory.current"
    return MemoryGroup(level.path, level.folder, min(limits), usage) if limits else None


def _pressure(system: System, name: str, folders: list[str]) -> str | None:
    """The pressure file of the innermost limited group that has one."""
    files = (f"{folder}/{name}.pressure" for folder in folders)
    return next((file for file in files if _exists(system, file)), None)


def _exists(system: System, path: str) -> bool:
    try:
        return system.path(path).exists()
    except OSError:  # in a folder that we may not look into
        return False


def _table(text: str | None) -> dict[str, int]:
    """Lines of a name and a number."""
    found: dict[str, int] = {}
    for line in (text or "").splitlines():
        name, value = (*line.split()[:2], "")[:2] if line.strip() else ("", "")
        if value.isdigit():
            found[name] = int(value)
    return found
