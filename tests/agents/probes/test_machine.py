"""One reading: exact means over two seconds, of what we may use, and without our own inference."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.agents.probes.cgroup import CpuUse
from oblix.agents.probes.cpu import TICKS, CpuTimes
from oblix.agents.probes.machine import Machine, MachineProbe
from oblix.agents.probes.pressure import Pressure
from oblix.agents.probes.processes import PAGE
from oblix.agents.probes.system import System
from oblix.agents.probes.window import Counters, free_cores, stalled, throttled

from .containers import HOST, MB, V1_CPU, V1_DOCKER, V1_MEMORY, V1_NESTED, V2_DOCKER, V2_NESTED, v2_group
from .machines import Clock, nobody, only, write, written


class Box:
    """A machine of files, whose counters go on when they are told to."""

    def __init__(self, root: Path, files: dict[str, object], *ours: int, server: bool = False) -> None:
        self.root, self.clock = root, Clock()
        self.idle, self.busy = 17100, 3000  # ticks of both cores
        self.waited: list[float] = []
        system = written(root, files)
        self.probe = MachineProbe(
            only(*ours) if ours else nobody, lambda: server, system=system, clock=self.clock, wait=self.wait
        )

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.run(seconds)

    def run(self, seconds: float, files: Mapping[str, object] = MappingProxyType({}), *, busy: float = 0.0) -> None:
        """So many seconds, with so many busy cores."""
        self.clock.go(seconds)
        self.busy += round(busy * seconds * TICKS)
        self.idle += round((2 - busy) * seconds * TICKS)
        write(self.root, {"proc/stat": f"cpu0 {self.busy} 0 0 {self.idle} 0 0 0 0\ncpu1 0 0 0 0 0 0 0 0", **files})

    def spend(self, number: int, seconds: float, *, megabytes: int = 100) -> None:
        """So much processor time in all, and so much memory, of one process."""
        fields = f"S 1 1 1 0 -1 0 0 0 0 0 {round(seconds * TICKS)} 0 0 0 20 0 1 0 4200 0 0"
        pages = megabytes * MB // PAGE
        write(
            self.root,
            {f"proc/{number}/stat": f"{number} (x) {fields}", f"proc/{number}/statm": f"9 {pages + 5} 5 1 0 1 0"},
        )


def test_a_host(tmp_path: Path) -> None:
    box = Box(tmp_path, HOST)
    assert box.probe.read() == Machine(
        pytest.approx(0.0),  # type: ignore[arg-type]
        2.0,
        settled=False,
        load_1min=0.5,
        pressure_cpu_percent=1.5,
        pressure_memory_percent=0.2,
        pressure_memory_full_percent=0.1,
        memory_percent=25.0,
        memory_total_bytes=8 * 2**30,
        memory_available_bytes=6 * 2**30,
        swap_percent=25.0,
        machine_cores=2,
        in_container=False,
    )
    assert box.waited == [0.06]


def test_a_window_of_two_seconds_forgets_what_was_before(tmp_path: Path) -> None:
    box = Box(tmp_path, HOST)
    box.probe.read()
    seen = []
    for busy in [0.0, 0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0]:
        box.run(0.5, busy=busy)
        machine = box.probe.read()
        assert machine.settled
        seen.append(machine.cpu_percent)
    assert seen[3:] == pytest.approx([0, 25, 50, 75, 100, 87.5, 62.5, 37.5, 12.5, 0.0])
    assert box.waited == [0.06]


def test_pressure_is_that_of_the_window(tmp_path: Path) -> None:
    box = Box(tmp_path, HOST)
    box.probe.read()
    totals = "some avg10=0.00 total={}\nfull avg10=0.00 total={}"
    box.run(
        2.0,
        {"proc/pressure/cpu": totals.format(2_500_000, 0), "proc/pressure/memory": totals.format(205_000, 104_000)},
    )
    machine = box.probe.read()
    told = [machine.pressure_cpu_percent, machine.pressure_memory_percent, machine.pressure_memory_full_percent]
    assert told == pytest.approx([75.0, 10.0, 5.0])


def test_our_own_inference_is_taken_out(tmp_path: Path) -> None:
    box = Box(tmp_path, HOST, 7, 8)
    box.spend(7, 100.0)
    assert box.probe.read().own_percent == 0.0
    box.spend(7, 103.0, megabytes=300)
    box.run(2.0, busy=1.75)
    machine = box.probe.read()
    assert (machine.cpu_percent, machine.own_percent) == pytest.approx((12.5, 75.0))
    assert machine.own_memory_bytes == 300 * MB
    assert machine.memory_percent == pytest.approx(100 * (2048 - 300) / 8192)
    assert machine.memory_available_bytes == 6 * 2**30
    assert box.probe.own == {7, 8}


@pytest.mark.parametrize("is_inference", [False, True], ids=["beside it", "our own inference"])
def test_a_first_reading_does_not_count_this_very_process(tmp_path: Path, *, is_inference: bool) -> None:
    """A command that has just begun keeps one of two cores busy with its imports; later it counts, unless it infers."""
    me = os.getpid()
    box = Box(tmp_path, HOST, *([me] if is_inference else []))

    def wait(seconds: float) -> None:
        box.spend(me, 0.5 + seconds)
        box.run(seconds, busy=1.0)

    box.probe._wait = wait
    box.spend(me, 0.5)
    machine = box.probe.read()
    assert not machine.settled
    assert machine.cpu_percent == pytest.approx(0.0)
    box.spend(me, 0.56 + 1.94)
    box.run(1.94, busy=1.0)
    machine = box.probe.read()
    assert machine.settled
    assert machine.cpu_percent == pytest.approx(0.0 if is_inference else 50.0)


def test_of_a_container_the_first_reading_leaves_this_process_out_too(tmp_path: Path) -> None:
    box = Box(tmp_path, V2_DOCKER)

    def wait(seconds: float) -> None:
        box.spend(os.getpid(), 0.5 + seconds / 2)
        box.run(seconds, use(V2_DOCKER, 5.0 + seconds / 2), busy=0.5)

    box.probe._wait = wait
    box.spend(os.getpid(), 0.5)
    assert box.probe.read().cpu_percent == pytest.approx(0.0)


def test_edge_servers_are_ours_where_one_is_hooked(tmp_path: Path) -> None:
    for server in (True, False):
        box = Box(tmp_path / str(server), HOST | {"proc/9/comm": "ollama"}, server=server)
        box.spend(9, 1.0)
        box.probe.read()
        box.spend(9, 2.0)
        box.run(2.0, busy=0.5)
        assert (box.probe.read().own_percent > 20) is server


def test_after_a_long_pause_a_reading_starts_anew(tmp_path: Path) -> None:
    """A laptop that slept, or a sampler that was stopped."""
    box = Box(tmp_path, HOST)
    box.probe.read()
    box.run(5.0, busy=2.0)
    assert box.probe.read().cpu_percent == pytest.approx(100.0)
    box.run(11.0, busy=2.0)
    machine = box.probe.read()
    assert machine.cpu_percent == pytest.approx(0.0)
    assert not machine.settled
    assert box.waited == [0.06, 0.06]


def test_memory_of_an_edge_server_outside_of_our_group_is_not_taken_out_of_the_group_s(tmp_path: Path) -> None:
    """A service that may hold 1 GB and does, and an Ollama of 4 GB beside it."""
    files = V2_DOCKER | {
        "proc/self/cgroup": "0::/app",
        "proc/7/cgroup": "0::/ollama",
        "proc/8/cgroup": "0::/app/engine",
        **v2_group("/app", memory=1024 * MB, used=(1014 + 22) * MB),
        **v2_group(""),
    }
    box = Box(tmp_path, files, 7, 8)
    box.spend(7, 1.0, megabytes=4096)
    box.spend(8, 1.0, megabytes=0)
    assert box.probe.read().memory_percent == pytest.approx(100 * 1014 / 1024)
    box.spend(8, 1.0, megabytes=500)
    machine = box.probe.read()
    assert machine.memory_percent == pytest.approx(100 * 514 / 1024)
    assert machine.own_memory_bytes == 4596 * MB


def test_a_machine_that_is_full_is_full_for_a_group_that_is_not(tmp_path: Path) -> None:
    meminfo = "MemTotal: 8388608 kB\nMemAvailable: 0 kB"
    box = Box(tmp_path, V2_DOCKER | {"proc/meminfo": meminfo, "proc/7/cgroup": "0::/../ollama"}, 7)
    box.spend(7, 1.0, megabytes=0)
    assert box.probe.read().memory_percent == pytest.approx(100.0)
    box.spend(7, 1.0, megabytes=200)  # of the machine's, and ours: that much could be there for us
    assert box.probe.read().memory_percent == pytest.approx(100 * 56 / 256)


EIGHT = "cpu 0 0 0 0\n" + "\n".join(f"cpu{number} {{{int(number > 1)}}}" for number in range(8))


@pytest.mark.parametrize(
    ("affinity", "elsewhere", "expected"),
    [("0-7", 100, 100.0), ("0-7", 0, 0.0), ("0-7", 25, 25.0), ("0-1", 100, 0.0), (None, 100, 100.0)],
    ids=[
        "on the other six",
        "on ours",
        "where it cannot be told, others count",
        "on ours, others elsewhere",
        "not told",
    ],
)
def test_what_our_inference_takes_on_other_cores_is_not_taken_out_of_ours(
    tmp_path: Path, affinity: str | None, elsewhere: int, expected: float
) -> None:
    """We may use two of eight cores, and both are busy; our own inference takes two cores."""
    status = {} if affinity is None else {"proc/7/status": f"Cpus_allowed_list:\t{affinity}"}
    box = Box(tmp_path, HOST | status, 7)

    def go_on(ticks: int, share: int) -> None:
        there = share * ticks // 300  # `elsewhere` percent of two cores, on six
        rows = EIGHT.format(f"{ticks} 0 0 1 0 0 0 0", f"{there} 0 0 {ticks - there} 0 0 0 0")
        write(tmp_path, {"proc/stat": rows})
        box.spend(7, 2 * ticks / TICKS)

    write(tmp_path, {"proc/self/status": "Cpus_allowed_list:\t0-1"})
    go_on(0, elsewhere)
    box.probe._wait = lambda seconds: None
    box.probe.read()
    for ticks in (300, 600, 900):
        box.clock.go(3.0)
        go_on(ticks, elsewhere)
        machine = box.probe.read()
    assert machine.cpu_percent == pytest.approx(expected, abs=1.0)


# --- containers ---


@pytest.mark.parametrize("version", [V1_DOCKER, V2_DOCKER], ids=["v1", "v2"])
def test_the_limits_of_a_container_are_what_is_told(tmp_path: Path, version: dict[str, object]) -> None:
    box = Box(tmp_path, version)
    machine = box.probe.read()
    used = 30 if version is V1_DOCKER else 28
    assert (machine.cores, machine.cpu_limit_cores, machine.machine_cores) == (0.5, 0.5, 2)
    assert (machine.memory_total_bytes, machine.memory_limit_bytes) == (256 * MB, 256 * MB)
    assert machine.memory_available_bytes == (256 - used) * MB
    assert machine.memory_percent == pytest.approx(100 * used / 256)
    assert machine.in_container


def use(version: dict[str, object], seconds: float, *, periods: int = 10, throttled: int = 0) -> dict[str, object]:
    """The counters of the container's own group."""
    if version is V1_DOCKER:
        stat = f"nr_periods {periods}\nnr_throttled {throttled}"
        return {f"{V1_CPU}/cpuacct.usage": round(seconds * 1e9), f"{V1_CPU}/cpu.stat": stat}
    stat = f"usage_usec {round(seconds * 1e6)}\nnr_periods {periods}\nnr_throttled {throttled}"
    return {"sys/fs/cgroup/cpu.stat": stat}


@pytest.mark.parametrize("version", [V1_DOCKER, V2_DOCKER], ids=["v1", "v2"])
@pytest.mark.parametrize(
    ("spent", "host", "expected"),
    [(0.0, 0.0, 0), (0.5, 0.25, 50), (1.0, 0.5, 100), (0.0, 1.5, 0), (0.0, 1.9, 80), (0.5, 2.0, 100), (9.0, 2.0, 100)],
    ids=["idle", "half its quota", "its quota", "a busy host has enough left", "it has not", "it is full", "above the quota"],
)  # fmt: skip
def test_load_in_a_container(
    tmp_path: Path, version: dict[str, object], spent: float, host: float, expected: float
) -> None:
    """Half a core for 2 s; what counts is how much of that somebody else takes, inside or outside."""
    box = Box(tmp_path, version)
    box.probe.read()
    box.run(2.0, use(version, 5.0 + spent, periods=30, throttled=5), busy=host)
    machine = box.probe.read()
    assert machine.cpu_percent == pytest.approx(expected)
    assert machine.throttled_percent == 25.0


@pytest.mark.parametrize("version", [V1_DOCKER, V2_DOCKER], ids=["v1", "v2"])
def test_our_own_inference_may_fill_its_container(tmp_path: Path, version: dict[str, object]) -> None:
    """That of an edge server outside of it is not in the container's figure, and not taken out of it."""
    outside = "5:memory:/x\n3:cpu,cpuacct:/x\n0::/" if version is V1_DOCKER else "0::/../x"
    files = version | {"proc/7/cgroup": version["proc/self/cgroup"], "proc/8/cgroup": outside}
    box = Box(tmp_path, files, 7, 8)
    box.spend(7, 1.0)
    box.spend(8, 1.0)
    box.probe.read()
    box.spend(7, 1.9)
    box.spend(8, 2.0)
    box.run(2.0, use(version, 6.0), busy=1.0)
    machine = box.probe.read()
    assert machine.cpu_percent == pytest.approx(10.0)
    assert machine.own_percent == 100.0


@pytest.mark.parametrize(
    ("files", "cores", "total", "available"),
    [(V1_NESTED, 1.2, 512, 132), (V2_NESTED, 1.0, 512, 442)],
    ids=["v1: the parent's memory", "v2: memory.high, and the parent's cores"],
)
def test_in_nested_groups_the_tightest_counts(
    tmp_path: Path, files: dict[str, object], cores: float, total: int, available: int
) -> None:
    machine = Box(tmp_path, files).probe.read()
    assert machine.cores == cores
    assert machine.memory_total_bytes == total * MB
    assert machine.memory_available_bytes == available * MB


def test_a_machine_that_has_less_left_than_the_limit(tmp_path: Path) -> None:
    files = V2_DOCKER | {"proc/meminfo": "MemTotal: 8388608 kB\nMemAvailable: 102400 kB"}
    machine = Box(tmp_path, files).probe.read()
    assert (machine.memory_total_bytes, machine.memory_available_bytes) == (256 * MB, 100 * MB)


def test_a_limit_that_is_changed_while_we_run_is_seen(tmp_path: Path) -> None:
    box = Box(tmp_path, V1_DOCKER)
    assert box.probe.read().cores == 0.5
    write(tmp_path, {f"{V1_CPU}/cpu.cfs_quota_us": 150000, f"{V1_MEMORY}/memory.limit_in_bytes": 512 * MB})
    write(tmp_path, {f"{V1_MEMORY}/memory.stat": f"hierarchical_memory_limit {512 * MB}"})
    for _ in range(4):
        box.run(3.0)
        machine = box.probe.read()
        if machine.cores == 1.5:
            break
    assert (machine.cores, machine.memory_total_bytes) == (1.5, 512 * MB)
    assert not machine.settled  # what was counted under the old one says nothing now


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    machine = Box(tmp_path, {}).probe.read()
    told = [machine.cpu_percent, machine.memory_percent, machine.pressure_cpu_percent, machine.load_1min]
    assert told == [None] * 4


def test_other_platforms_by_psutil() -> None:
    """That is what psutil tells here, taken the way that macOS and Windows take; those themselves are out of our reach."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as burner:
        clock = Clock()
        system = System(platform="darwin")
        probe = MachineProbe(only(burner.pid), lambda: True, system=system, clock=clock, wait=clock.go)
        machine = probe.read()
        while machine.own_percent == 0.0 or machine.cpu_percent is None:
            clock.go(0.1)  # of its own; the counters go on with the real one
            machine = probe.read()
        burner.kill()
    assert machine.memory_total_bytes == psutil.virtual_memory().total
    assert machine.own_memory_bytes > 0
    assert (machine.cpu_limit_cores, machine.in_container) == (None, False)
    assert machine.load_1min is not None


# --- the arithmetic ---

SECONDS = st.floats(0, 1e3)


@given(SECONDS, SECONDS, SECONDS, SECONDS, st.floats(0.01, 4), st.floats(0.1, 10))
def test_free_cores_lie_between_none_and_all(
    busy: float, idle: float, own: float, used: float, limit: float, seconds: float
) -> None:
    before = Counters(0.0, CpuTimes(0.0, 0.0), 0.0, 0.0, 0.0, (CpuUse(0.0, 0, 0),), None, None)
    now = Counters(seconds, CpuTimes(busy + idle, busy), own, min(own, used), 0.0, (CpuUse(used, 9, 3),), None, None)
    free = free_cores(before, now, cores=4, limits=[limit])
    assert free is not None
    assert 0.0 <= free <= min(4.0, limit) + 1e-9
    more = Counters(seconds, now.cpu, own, now.own_inside, 0.0, (CpuUse(used + 1.0, 9, 3),), None, None)
    assert (free_cores(before, more, cores=4, limits=[limit]) or 0.0) <= free
    assert throttled(before, now) == pytest.approx(100 / 3)


def test_what_is_not_told_is_none() -> None:
    nothing = Counters(0.0, None, 0.0, 0.0, 0.0, (None,), None, None)
    assert free_cores(nothing, nothing, cores=2, limits=[1.0]) is None
    assert throttled(nothing, nothing) is None
    assert stalled(None, Pressure(1.0, 1.0, 1.0, 1.0), 2.0) == (None, None)
