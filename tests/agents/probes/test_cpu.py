"""Processors: whose time counts, and how many there are."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from oblix.agents.probes import cpu
from oblix.agents.probes.cpu import CpuTimes
from oblix.agents.probes.system import HERE

from .containers import HOST
from .machines import recorded, written

STAT = """cpu  99 99 99 99 99 99 99 99 99 99
cpu0 100 10 20 800 5 1 2 3 50 5
cpu3 200 0 0 700 0 0 0 100 0 0
intr 1234"""


@pytest.mark.parametrize(
    ("cores", "busy", "total"),
    [(None, 4.36, 19.41), ({0}, 1.36, 9.41), ({3}, 3.0, 10.0), ({3, 7}, 3.0, 10.0)],
    ids=["all", "0", "3, whose hypervisor took time away", "7 is switched off"],
)
def test_times_are_those_of_the_cores_that_we_may_use(
    tmp_path: Path, cores: set[int] | None, busy: float, total: float
) -> None:
    """Without waiting for disks, and guests only once."""
    found = cpu.read(written(tmp_path, {"proc/stat": STAT}), None if cores is None else frozenset(cores))
    assert found is not None
    assert [found.busy, found.total, found.elsewhere] == pytest.approx([busy, total, 4.36 - busy])


@pytest.mark.parametrize("files", [{}, {"proc/stat": "cpu 1 2 3 4 5 6 7 8"}, {"proc/stat": "intr 5"}], ids=repr)
def test_where_nothing_is_told_nothing_is_known(tmp_path: Path, files: dict[str, object]) -> None:
    system = written(tmp_path, files)
    assert cpu.read(system, None) is None
    assert cpu.usable_cores(system) is None
    assert cpu.load_average(system) is None
    assert cpu.core_count(system) == os.cpu_count()


def test_a_host(tmp_path: Path) -> None:
    system = written(tmp_path, HOST)
    assert cpu.read(system, None) == CpuTimes(201.0, 30.0)
    assert cpu.usable_cores(system) == frozenset({0, 1})
    assert cpu.core_count(system) == 2
    assert cpu.load_average(system) == 0.5


@pytest.mark.parametrize(("text", "cores"), [("0", {0}), ("0-3", {0, 1, 2, 3}), ("1,3-4,9", {1, 3, 4, 9}), ("", set())])
def test_lists_of_cores(tmp_path: Path, text: str, cores: set[int]) -> None:
    assert cpu.usable_cores(written(tmp_path, {"proc/self/status": f"Cpus_allowed_list:\t{text}"})) == frozenset(cores)


@pytest.mark.parametrize(
    ("allowed", "cores"),
    [("0-127", {0, 1, 2, 3}), ("2-5", {2, 3}), ("8-9", None), ("0-x", None)],
    ids=["a guest of VMware", "narrowed", "numbered anew by LXC", "odd"],
)
def test_only_processors_that_are_there_can_be_used(tmp_path: Path, allowed: str, cores: set[int] | None) -> None:
    stat = "cpu 0 0 0 0\n" + "".join(f"cpu{number} 1 0 0 9 0 0 0 0\n" for number in range(4)) + "intr 1"
    files = {"proc/stat": stat, "proc/self/status": f"Cpus_allowed_list:\t{allowed}"}
    assert cpu.usable_cores(written(tmp_path, files)) == cores


@pytest.mark.parametrize("row", ["cpu0 1 2 3", "cpu0 a b c d e f g h", "cpufreq 1"])
def test_an_odd_row_tells_nothing_and_breaks_nothing(tmp_path: Path, row: str) -> None:
    assert cpu.read(written(tmp_path, {"proc/stat": f"cpu 1 2 3\n{row}"}), frozenset({0})) is None


@pytest.mark.skipif(sys.platform != "linux", reason="affinity")
def test_this_machine() -> None:
    assert cpu.usable_cores(HERE) == frozenset(os.sched_getaffinity(0))
    found = cpu.read(HERE, None)
    assert found is not None
    assert 0 < found.busy < found.total
    load = cpu.load_average(HERE)
    assert load is not None
    assert load >= 0


def test_another_platform_has_no_load_average_where_it_is_only_recorded() -> None:
    assert cpu.load_average(recorded("windows")) is None
