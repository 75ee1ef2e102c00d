"""Heat: what shows that a processor is slowed down by it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oblix.agents.probes.heat import Heat, HeatProbe
from oblix.agents.probes.system import System

from .machines import Clock, recorded, write, written

THERMAL = "sys/class/thermal"
PMSET = "commands/pmset_-g_therm.txt"
NOTIFY = "commands/notifyutil_-g_com.apple.system.thermalpressurelevel.txt"


def zone(kind: str, temp: object, passive: object = None, number: int = 0) -> dict[str, object]:
    at = f"{THERMAL}/thermal_zone{number}"
    trips = {} if passive is None else {f"{at}/trip_point_1_type": "passive", f"{at}/trip_point_1_temp": passive}
    return {
        f"{at}/type": kind,
        f"{at}/temp": temp,
        f"{at}/trip_point_0_type": "critical",
        f"{at}/trip_point_0_temp": 90_000,
    } | trips


def cooler(kind: str, state: object) -> dict[str, object]:
    return {f"{THERMAL}/cooling_device0/type": kind, f"{THERMAL}/cooling_device0/cur_state": state}


def held(milliseconds: int, core: int = 0) -> dict[str, object]:
    return {f"sys/devices/system/cpu/cpu{core}/thermal_throttle/core_throttle_total_time_ms": milliseconds}


@pytest.mark.parametrize(
    ("machine", "found"),
    [
        ("linux-laptop", Heat(64.0, False)),
        ("linux-desktop-amd", Heat(67.125, None)),
        ("linux-container", None),
        ("mac-m2", Heat(None, False, source="notifyutil")),
        ("mac-intel", Heat(None, True, "the processor is held at 61 % of its speed", source="pmset")),
        ("windows", None),
    ],
)
def test_recorded_machines(machine: str, found: Heat | None) -> None:
    assert HeatProbe(recorded(machine)).read() == found


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (zone("acpitz", 94_900, 95_000), Heat(94.9, False)),
        (zone("acpitz", 95_000, 95_000), Heat(95.0, True, "acpitz 95 °C (limit 95 °C)")),
        (zone("cpu-thermal", 85_100, 85_000), Heat(85.1, True, "cpu-thermal 85 °C (limit 85 °C)")),
        # No passive trip point: the degrees are told, and what they do is not.
        (zone("acpitz", 99_000), Heat(99.0, None)),
        # What drivers write for "none".
        (zone("acpitz", 99_000, -274_000), Heat(99.0, None)),
        (zone("acpitz", 99_000, 0), Heat(99.0, None)),
        (zone("acpitz", -274_000, 95_000), None),
        (zone("acpitz", 0), None),
        # Alarms of programs, and other things than the processor.
        (zone("x86_pkg_temp", 70_000, 60_000), Heat(70.0, None)),
        (zone("iwlwifi_1", 99_000, 50_000), None),
        (zone("battery", 45_000, 40_000), None),
        (zone("SEN1", 55_000, 50_000), None),
        (zone("TSKN", 55_000, 50_000), None),
        # Zones that the kernel leaves to programs, such as thermald.
        (zone("B0D4", 99_000, 95_000) | {f"{THERMAL}/thermal_zone0/mode": "disabled"}, Heat(99.0, None)),
        (zone("B0D4", 99_000, 95_000) | {f"{THERMAL}/thermal_zone0/policy": "user_space"}, Heat(99.0, None)),
        (zone("B0D4", 99_000, 95_000) | {f"{THERMAL}/thermal_zone0/mode": "enabled"}, Heat(99.0, True, "B0D4 99 °C (limit 95 °C)")),
        # The kernel at work.
        (cooler("Processor", 3), Heat(None, True, "Processor is cooled by slowing down")),
        (cooler("thermal-cpufreq-0", 0), Heat(None, False)),
        (cooler("intel_powerclamp", -1), Heat(None, False)),
        (cooler("Fan", 3), None),
        (cooler("Processor", "nothing"), None),
        ({**zone("acpitz", 60_000, 95_000), **cooler("cpufreq-cpu0", 2)}, Heat(60.0, True, "cpufreq-cpu0 is cooled by slowing down")),
    ],
)  # fmt: skip
def test_linux(tmp_path: Path, files: dict[str, object], found: Heat | None) -> None:
    assert HeatProbe(written(tmp_path, files)).read() == found


def test_counters_tell_how_long_a_core_was_held_back(tmp_path: Path) -> None:
    clock = Clock()
    probe = HeatProbe(written(tmp_path, held(500) | held(0, core=1)), clock)
    assert probe.read() is None  # one reading of a counter tells nothing
    for seconds, files, found in [
        (10.0, {}, Heat(None, False)),
        (10.0, held(1_499), Heat(None, False)),  # 999 ms in 10 s: a burst
        (10.0, held(4_499) | held(20, core=1), Heat(None, True, "a core was held back for 30 % of the time")),
        (10.0, held(4_499), Heat(None, False)),
        (10.0, held(99_999), Heat(None, True, "a core was held back for 100 % of the time")),
        (10.0, held(3), Heat(None, False)),  # it began anew: a processor was taken out and put in again
    ]:
        clock.go(seconds)
        write(tmp_path, files)
        assert probe.read() == found


@pytest.mark.parametrize(
    ("files", "throttled"),
    [
        ({NOTIFY: "com.apple.system.thermalpressurelevel 0"}, False),
        ({NOTIFY: "com.apple.system.thermalpressurelevel 1"}, False),
        ({NOTIFY: "com.apple.system.thermalpressurelevel 2"}, True),
        ({NOTIFY: "com.apple.system.thermalpressurelevel 4"}, True),
        ({NOTIFY: "com.apple.system.thermalpressurelevel: Failed with code 7"}, None),
        ({NOTIFY: "notifyutil: failed"}, None),
        ({NOTIFY: ""}, None),
        ({PMSET: "\tCPU_Speed_Limit \t= 100"}, False),
        ({PMSET: "\tCPU_Speed_Limit \t= 70", NOTIFY: "com.apple.system.thermalpressurelevel 0"}, True),
        ({PMSET: "Note: No thermal warning level has been recorded"}, None),
    ],
)
def test_macs(tmp_path: Path, files: dict[str, object], throttled: bool | None) -> None:
    found = HeatProbe(written(tmp_path, files, "darwin")).read()
    assert (found and found.throttled) is throttled


@given(said=st.binary(max_size=40), platform=st.sampled_from(["linux", "darwin", "win32"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_file_however_broken_raises_anything(tmp_path: Path, said: bytes, platform: str) -> None:
    files = (PMSET, NOTIFY, *zone("acpitz", 0, 0), *cooler("Processor", 0), *held(0))
    write(tmp_path, dict.fromkeys(files, said) | {f"{THERMAL}/thermal_zone0/type": "acpitz"})
    probe = HeatProbe(System(tmp_path, platform))
    probe.read()
    probe.read()
