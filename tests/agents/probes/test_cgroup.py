"""Control groups: the limits under which a process lives, both versions, containers and nested groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from oblix.agents.probes import cgroup
from oblix.agents.probes.cgroup import CpuUse, Groups
from oblix.agents.probes.system import System

from .containers import (
    HOST,
    MB,
    UNLIMITED_V1,
    V1_CPU,
    V1_DOCKER,
    V1_MEMORY,
    V1_MOUNTS,
    V1_NESTED,
    V2_DOCKER,
    V2_NESTED,
    v1_group,
)
from .machines import write, written


@pytest.mark.parametrize(
    ("files", "cores", "bytes_", "in_container"),
    [
        (HOST, None, None, False),
        (V1_DOCKER, 0.5, 256 * MB, True),
        (V1_NESTED, 1.2, 512 * MB, False),
        (V2_DOCKER, 0.5, 256 * MB, True),
        (V2_NESTED, 1.0, 512 * MB, False),
    ],
    ids=["host", "v1 docker", "v1 nested", "v2 docker", "v2 nested"],
)
def test_the_tightest_limit_counts(
    tmp_path: Path, files: dict[str, object], cores: float | None, bytes_: int | None, in_container: bool
) -> None:
    groups = cgroup.find(written(tmp_path, files))
    assert groups.cpu_limit() == cores
    assert min((group.limit for group in groups.memory), default=None) == bytes_
    assert groups.in_container is in_container


def test_use_of_v1_and_v2(tmp_path: Path) -> None:
    """File cache that can be dropped is not in use; above it, v2 tells of what the kernel can drop."""
    for name, files, used in (("one", V1_DOCKER, 30), ("two", V2_DOCKER, 28)):
        system = written(tmp_path / name, files)
        groups = cgroup.find(system)
        assert groups.cpu[0].read(system) == CpuUse(5.0, 10, 0)
        assert groups.memory[0].used(system) == used * MB


def test_groups_come_innermost_first(tmp_path: Path) -> None:
    for name, files in (("one", V1_NESTED), ("two", V2_NESTED)):
        groups = cgroup.find(written(tmp_path / name, files))
        assert [len(group.path.split("/")) for group in groups.cpu] == [3, 2]
        assert [len(group.path.split("/")) for group in groups.memory] == [3, 2]


def test_the_pressure_of_a_limited_group_is_its_own(tmp_path: Path) -> None:
    """v1 has none."""
    assert cgroup.find(written(tmp_path / "one", V1_DOCKER)).pressure_cpu is None
    docker = cgroup.find(written(tmp_path / "two", V2_DOCKER))
    assert (docker.pressure_cpu, docker.pressure_memory) == (
        "/sys/fs/cgroup/cpu.pressure",
        "/sys/fs/cgroup/memory.pressure",
    )
    host = {**HOST, "proc/self/cgroup": "0::/", "proc/self/mountinfo": V2_NESTED["proc/self/mountinfo"]}
    host["sys/fs/cgroup/cpu.pressure"] = "some avg10=0.0 total=0"
    assert cgroup.find(written(tmp_path / "three", host)) == Groups()


def test_which_processes_are_inside(tmp_path: Path) -> None:
    """Of the innermost limited group; a name that begins alike is another one."""
    for name, files in (("one", V1_DOCKER), ("two", V2_NESTED)):
        system = written(tmp_path / name, files)
        groups = cgroup.find(system)
        assert [groups.inside(system, number).cpu for number in (7, 8, 9)] == [True, False, False]
    assert Groups().inside(system, 7) == (False, ())


def test_a_hidden_parent_of_v1_is_known_by_what_it_leaves(tmp_path: Path) -> None:
    system = written(tmp_path, V1_DOCKER | v1_group("", memory=UNLIMITED_V1))
    assert cgroup.find(system).memory == ()
    write(tmp_path, {f"{V1_MEMORY}/memory.stat": f"hierarchical_memory_limit {128 * MB}\ntotal_inactive_file 0"})
    assert [group.limit for group in cgroup.find(system).memory] == [128 * MB]


def test_v1_without_accounting_of_the_same_group_tells_no_use(tmp_path: Path) -> None:
    """`cpu` and `cpuacct` mounted apart, and this process only in a group of the former."""
    mounts = V1_MOUNTS.format(root="/").replace(
        "cpu,cpuacct rw,relatime master:11 - cgroup cgroup rw,cpu,cpuacct", "cpu rw - cgroup cgroup rw,cpu"
    )
    mounts += "\n50 31 0:40 / /sys/fs/cgroup/acct rw - cgroup cgroup rw,cpuacct"
    files = {
        "proc/self/mountinfo": mounts,
        "proc/self/cgroup": "3:cpu:/half\n2:cpuacct:/\n0::/",
        "sys/fs/cgroup/cpu/half/cpu.cfs_quota_us": 50000,
        "sys/fs/cgroup/cpu/half/cpu.cfs_period_us": 100000,
        "sys/fs/cgroup/cpu/half/cpu.stat": "nr_periods 1\nnr_throttled 1",
        "sys/fs/cgroup/acct/cpuacct.usage": 123,
        "sys/fs/cgroup/acct/half/cpuacct.usage": 2_000_000_000,
    }
    system = written(tmp_path, files)
    (group,) = cgroup.find(system).cpu
    assert (group.limit, group.read(system)) == (0.5, None)
    write(tmp_path, {"proc/self/cgroup": "3:cpu:/half\n2:cpuacct:/half\n0::/"})
    (group,) = cgroup.find(system).cpu
    assert group.read(system) == CpuUse(2.0, 1, 1)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": "", "proc/self/mountinfo": ""},
        {"proc/self/cgroup": "nonsense\n::\n0::/../..", "proc/self/mountinfo": "1 2\n - cgroup2\n3 4 5 6 7 - cgroup2 x y"},
        {"proc/self/cgroup": "0::/gone", "proc/self/mountinfo": V2_NESTED["proc/self/mountinfo"]},
        V2_DOCKER | {"sys/fs/cgroup/cpu.max": "max", "sys/fs/cgroup/memory.max": "lots", ".dockerenv": None},
        V1_DOCKER | {f"{V1_CPU}/cpu.cfs_period_us": 0, f"{V1_MEMORY}/memory.limit_in_bytes": -1},
    ],
    ids=["nothing", "empty", "nonsense", "gone", "no limits", "impossible limits"],
)  # fmt: skip
def test_what_cannot_be_read_limits_nothing(tmp_path: Path, files: dict[str, object]) -> None:
    groups = cgroup.find(written(tmp_path, files))
    assert (groups.cpu, groups.memory, groups.cpu_limit()) == ((), (), None)


def test_other_platforms_have_none(tmp_path: Path) -> None:
    assert cgroup.find(System(tmp_path, "darwin")) == Groups()


def test_a_tiny_quota_is_one(tmp_path: Path) -> None:
    assert cgroup.find(written(tmp_path, V2_DOCKER | {"sys/fs/cgroup/cpu.max": "1000 100000"})).cpu_limit() == 0.01
