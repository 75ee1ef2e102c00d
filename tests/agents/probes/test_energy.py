"""RAPL: counters that wrap, are nested, are hidden, and begin anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oblix.agents.probes.energy import EnergyProbe
from oblix.agents.probes.system import HERE

from .machines import Clock, recorded, write, written

RANGE = 262_143_328_850


def zone(name: str, called: str, microjoules: object, most: object = RANGE) -> dict[str, object]:
    at = f"sys/class/powercap/{name}"
    return {f"{at}/name": called, f"{at}/energy_uj": microjoules, f"{at}/max_energy_range_uj": most}


# As on a laptop: the package with its parts, the memory beside it, the whole board, and the package once more by another way.
LAPTOP = {
    **zone("intel-rapl:0", "package-0", 1_000_000),
    **zone("intel-rapl:0:0", "core", 2_000_000),
    **zone("intel-rapl:0:1", "uncore", 3_000_000),
    **zone("intel-rapl:0:2", "dram", 4_000_000),
    **zone("intel-rapl:1", "psys", 5_000_000),
    **zone("intel-rapl-mmio:0", "package-0", 6_000_000),
}


def grown(by: int) -> dict[str, object]:
    return {path: value + by for path, value in LAPTOP.items() if path.endswith("energy_uj") and isinstance(value, int)}


def test_packages_and_memory_are_added_and_nothing_is_counted_twice(tmp_path: Path) -> None:
    clock = Clock()
    probe = EnergyProbe(written(tmp_path, LAPTOP), clock)
    assert probe.joules() == 0.0
    clock.go(10)
    write(tmp_path, grown(15_000_000))
    assert probe.joules() == 30.0
    assert probe.joules() == 30.0


def test_several_packages(tmp_path: Path) -> None:
    both = zone("intel-rapl:0", "package-0", 0) | zone("intel-rapl:1", "package-1", 0)
    probe = EnergyProbe(written(tmp_path, both))
    assert probe.joules() == 0.0
    write(tmp_path, zone("intel-rapl:0", "package-0", 1_000_000) | zone("intel-rapl:1", "package-1", 2_000_000))
    assert probe.joules() == 3.0


def test_a_counter_that_wraps_goes_on(tmp_path: Path) -> None:
    clock = Clock()
    probe = EnergyProbe(written(tmp_path, zone("intel-rapl:0", "package-0", RANGE - 5_000_000)), clock)
    probe.joules()
    clock.go(10)
    write(tmp_path, zone("intel-rapl:0", "package-0", 7_000_000))
    assert probe.joules() == pytest.approx(12.0)


def test_a_counter_that_begins_anew_is_no_wrap(tmp_path: Path) -> None:
    """After a suspend it is zero; taken for a wrap, that would be thousands of joules in a second."""
    clock = Clock()
    probe = EnergyProbe(written(tmp_path, zone("intel-rapl:0", "package-0", 9_000_000)), clock)
    probe.joules()
    for microjoules, total in [(0, 0.0), (4_000_000, 4.0)]:
        clock.go(10)
        write(tmp_path, zone("intel-rapl:0", "package-0", microjoules))
        assert probe.joules() == total


@pytest.mark.parametrize(
    "files",
    [
        {},
        zone("intel-rapl:0", "package-0", None),  # only root may read it
        zone("intel-rapl:0", "package-0", 5, most=None),
        zone("intel-rapl:0", "package-0", "hidden"),
        zone("intel-rapl:0", "psys", 5),
        zone("intel-rapl:0:0", "core", 5),
        zone("dtpm", "package-0", 5),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_none(tmp_path: Path, files: dict[str, object]) -> None:
    assert EnergyProbe(written(tmp_path, files)).joules() is None


def test_a_counter_that_is_lost_leaves_no_half_of_a_sum(tmp_path: Path) -> None:
    probe = EnergyProbe(written(tmp_path, LAPTOP))
    assert probe.joules() == 0.0
    write(tmp_path, {"sys/class/powercap/intel-rapl:0:2/energy_uj": None})
    assert probe.joules() is None
    assert probe.joules() is None


@pytest.mark.parametrize("name", ["linux-container", "linux-desktop-amd", "mac-m2", "windows"])
def test_machines_without_counters(name: str) -> None:
    assert EnergyProbe(recorded(name)).joules() is None


def test_here_it_is_a_number_or_nothing() -> None:
    found = EnergyProbe(HERE).joules()
    assert found is None or found == 0.0


@given(steps=st.lists(st.integers(0, 10**9), max_size=20), begin=st.integers(0, RANGE - 1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_it_wraps_the_sum_is_what_was_used(tmp_path: Path, steps: list[int], begin: int) -> None:
    clock = Clock()
    write(tmp_path, zone("intel-rapl:0", "package-0", begin))
    probe = EnergyProbe(written(tmp_path, {}), clock)
    probe.joules()
    for done, step in enumerate(steps, 1):
        clock.go(10)
        write(tmp_path, zone("intel-rapl:0", "package-0", (begin + sum(steps[:done])) % RANGE))
        assert step <= 10**9
        assert probe.joules() == pytest.approx(sum(steps[:done]) / 1e6)
