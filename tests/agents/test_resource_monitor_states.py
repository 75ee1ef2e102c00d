"""States over time: a limit counts at once, and until the machine has been calm for some seconds; what containers and GPUs are told as."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.agents import AgentReport, ResourceMonitor
from oblix.agents.machine_state import MachineState
from oblix.agents.probes.graphics import Gpu
from oblix.agents.probes.machine import Machine
from oblix.agents.thresholds import Thresholds

MB = 2**20
CALM = Machine(
    5.0, 2.0, memory_percent=40.0, pressure_cpu_percent=0.0, pressure_memory_percent=0.0, pressure_memory_full_percent=0.0
)  # fmt: skip


def over_time(readings: list[Machine], *, every: float = 0.5, **thresholds: float) -> list[AgentReport]:
    """The reports on readings that follow each other."""
    state = MachineState(Thresholds.read(thresholds))
    return [state.judge(machine, number * every) for number, machine in enumerate(readings)]


def cpu(*percent: float | None) -> list[Machine]:
    return [replace(CALM, cpu_percent=value) for value in percent]


def runs(reports: list[AgentReport]) -> list[tuple[str, int]]:
    """States that follow each other, each with how often it was told."""
    found: list[tuple[str, int]] = []
    for report in reports:
        if found and found[-1][0] == report.state:
            found[-1] = (report.state, found[-1][1] + 1)
        else:
            found.append((report.state, 1))
    return found


def test_a_burst_counts_at_once_and_falls_back_after_three_calm_seconds() -> None:
    reports = over_time(cpu(5, 30, 55, 80, 99, 99, 60, 30, 5, 5, 5, 5, 5, 5))
    assert runs(reports) == [("available", 3), ("constrained", 1), ("critical", 8), ("available", 2)]
    assert reports[4].reason == "CPU 99 % (limit 90 %)"
    assert reports[7].reason == "CPU 30 % (over 90 % a moment ago)"


def test_it_steps_down_through_constrained() -> None:
    reports = over_time(cpu(95, *[82] * 8, *[60] * 8))
    assert runs(reports) == [("critical", 7), ("constrained", 8), ("available", 2)]
    assert reports[7].reason == "CPU 82 % (limit 80 %)"
    assert reports[9].reason == "CPU 60 % (over 80 % a moment ago)"


def test_it_does_not_flap_around_a_threshold() -> None:
    values = [79.0, 81.0] * 40 + [89.0, 91.0] * 40
    assert runs(over_time(cpu(*values))) == [("available", 1), ("constrained", 80), ("critical", 79)]


def test_a_load_that_comes_and_goes_stays_one() -> None:
    values = [95.0, 5.0, 5.0, 5.0, 5.0, 5.0] * 10
    assert runs(over_time(cpu(*values))) == [("critical", 60)]


@given(st.lists(st.floats(75.5, 100.0), min_size=1, max_size=100))
def test_above_the_calm_zone_it_never_gets_better(values: list[float]) -> None:
    order = ["available", "constrained", "critical"]
    seen = [order.index(report.state) for report in over_time(cpu(*values))]
    constrained = [state for state in seen if state]
    assert seen[len(seen) - len(constrained) :] == constrained


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=60), st.floats(0.05, 3.0))
def test_whatever_happens_three_calm_seconds_end_it(values: list[float], every: float) -> None:
    calm = [5.0] * (int(3.0 / every) + 2)
    assert over_time(cpu(*values, *calm), every=every)[-1].state == "available"


@given(st.floats(0.01, 100.0), st.floats(0.05, 3.0))
def test_any_threshold_can_be_left(threshold: float, every: float) -> None:
    """One of 3 % was five points above -2 %."""
    calm = [0.0] * (int(3.0 / every) + 2)
    reports = over_time(cpu(100.0, *calm), every=every, cpu_threshold=threshold)
    assert [reports[0].state, reports[-1].state] == ["critical", "available"]


def test_what_cannot_be_told_any_more_ends_after_a_while() -> None:
    reports = over_time(cpu(95, None, None, None, None, None, None, None, None))
    assert runs(reports) == [("critical", 7), ("available", 2)]
    assert reports[1].reason == "cpu over its limit a moment ago, and now unknown"


def test_a_single_reading_is_judged_without_a_past() -> None:
    monitor = ResourceMonitor()
    assert monitor.judge(cpu(95)[0]).state == "critical"
    assert monitor.judge(CALM).state == "available"
    assert monitor.judge(CALM, stale=True).stale


# --- pressure ---


@pytest.mark.parametrize(
    ("readings", "state", "reason"),
    [
        ({"pressure_cpu_percent": 100.0, "cpu_percent": 49.0}, "available", "machine free (CPU 49 %, memory 40 %)"),
        ({"pressure_cpu_percent": 80.0, "cpu_percent": 60.0}, "constrained", "tasks waited for the CPU 80 % of the time"),
        ({"pressure_memory_percent": 15.0, "memory_percent": 60.0}, "constrained", "tasks waited for memory 15 % of the time"),
        ({"pressure_memory_percent": 14.0, "memory_percent": 60.0}, "available", "machine idle (CPU 5 %, memory 60 %)"),
        # Another control group at its own limit; here there is plenty.
        ({"pressure_memory_percent": 99.0, "pressure_memory_full_percent": 99.0}, "available", "machine idle (CPU 5 %, memory 40 %)"),
        ({"pressure_memory_percent": 90.0, "pressure_memory_full_percent": 60.0, "memory_percent": 70.0}, "critical",
         "all waited for memory 60 % of the time"),
        # Full of our own weights: it does not count as others' memory, but whoever waits, waits.
        ({"pressure_memory_percent": 50.0, "memory_percent": 5.0, "memory_total_bytes": 100, "memory_available_bytes": 10}, "constrained",
         "tasks waited for memory 50 % of the time"),
    ],
)  # fmt: skip
def test_pressure(readings: dict[str, Any], state: str, reason: str) -> None:
    report = ResourceMonitor().judge(replace(CALM, **readings))
    assert (report.state, report.reason) == (state, reason)


def test_pressure_has_hysteresis_too() -> None:
    values = [60.0, 53.0, 59.0, 52.0, 20.0, 20.0, 20.0, 20.0, 20.0, 20.0, 20.0, 20.0]
    readings = [replace(CALM, cpu_percent=70.0, pressure_cpu_percent=value) for value in values]
    reports = over_time(readings)
    assert runs(reports) == [("constrained", 10), ("available", 2)]
    assert reports[4].reason == "tasks waited for the CPU 20 % of the time, more a moment ago"


# --- containers ---

BOX = replace(
    CALM, cores=0.5, cpu_limit_cores=0.5, machine_cores=16, memory_total_bytes=256 * MB, memory_limit_bytes=256 * MB,
    memory_available_bytes=100 * MB, in_container=True,
)  # fmt: skip


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        (replace(BOX, cpu_percent=97.0), "CPU of this container 97 % of 0.5 cores (limit 90 %)"),
        (replace(BOX, memory_percent=96.0), "memory of this container 96 % of 256 MB (limit 95 %)"),
        (replace(BOX, memory_percent=96.0, in_container=False), "memory of this control group 96 % of 256 MB (limit 95 %)"),
        (replace(BOX, memory_percent=96.0, memory_limit_bytes=1536 * MB), "memory of this container 96 % of 1.5 GB (limit 95 %)"),
    ],
)  # fmt: skip
def test_a_container_is_told_as_one(machine: Machine, reason: str) -> None:
    report = ResourceMonitor().judge(machine)
    assert (report.state, report.reason) == ("critical", reason)


def test_the_figures_of_a_container() -> None:
    metrics = ResourceMonitor().judge(replace(BOX, cpu_percent=50.0, load_1min=8.0, throttled_percent=12.34)).metrics
    expected = {
        "cores": 0.5, "cores_busy": 0.25, "cpu_limit_cores": 0.5, "load_per_core": 0.5, "throttled_percent": 12.3, "in_container": True,
        "memory_total_bytes": 256 * MB, "memory_limit_bytes": 256 * MB, "memory_available_bytes": 100 * MB,
    }  # fmt: skip
    assert {key: metrics[key] for key in expected} == expected


def test_load_is_held_against_the_cores_of_the_machine() -> None:
    """Also in a container: it is the machine's figure."""
    for load, state in ((31.0, "available"), (32.0, "constrained")):
        assert ResourceMonitor().judge(replace(BOX, pressure_cpu_percent=None, load_1min=load)).state == state


# --- graphics processors ---


@pytest.mark.parametrize(
    ("own_percent", "gpu", "state"),
    [
        (0.0, Gpu("M2", 99.0, 10.0), "critical"),
        (20.0, Gpu("M2", 99.0, 10.0), "available"),
        (20.0, Gpu("H100", 99.0, 10.0, own_percent=0.0), "critical"),
        (20.0, Gpu("H100", 5.0, 99.0, own_percent=90.0), "available"),
        (0.0, Gpu("old", None, None), "available"),
    ],
    ids=["others", "nobody can tell, and we infer", "others beside us", "ours", "not told"],
)
def test_the_load_of_a_card_counts_unless_it_may_be_ours(own_percent: float, gpu: Gpu, state: str) -> None:
    assert ResourceMonitor().judge(replace(CALM, own_percent=own_percent, gpus=(gpu,))).state == state
