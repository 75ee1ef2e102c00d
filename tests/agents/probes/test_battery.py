"""Batteries: what every system tells of them, and nothing else."""

from __future__ import annotations

import plistlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oblix.agents.probes.battery import Battery, read_battery
from oblix.agents.probes.system import System

from .machines import recorded, write, written

SUPPLIES = "sys/class/power_supply"
IOREG = "commands/ioreg_-a_-r_-d_1_-c_AppleSmartBattery.txt"
PMSET = "commands/pmset_-g_batt.txt"


def supply(name: str, **files: object) -> dict[str, object]:
    return {f"{SUPPLIES}/{name}/{file}": value for file, value in files.items()}


def battery(name: str = "BAT0", **files: object) -> dict[str, object]:
    return supply(name, **{"type": "Battery", "status": "Discharging", "capacity": 50, **files})


@pytest.mark.parametrize(
    ("machine", "found"),
    [
        ("linux-laptop", Battery(43.0, False, True, discharge_watts=12.255, minutes_left=120.0)),
        ("mac-m2", Battery(14.0, False, True, discharge_watts=12.6, minutes_left=31.0, source="ioreg")),
        ("mac-intel", Battery(100 * 6021 / 7234, True, False, source="ioreg")),
        ("windows", Battery(57.0, False, True, minutes_left=133.0, source="psutil")),
        ("linux-desktop-amd", None),
        ("linux-container", None),
    ],
)
def test_recorded_machines(machine: str, found: Battery | None) -> None:
    assert read_battery(recorded(machine)) == found


@pytest.mark.parametrize(
    ("files", "found"),
    [
        # A mouse is none of the machine's; neither is an empty bay.
        (battery(scope="Device"), None),
        (battery(present=0), None),
        (supply("AC", type="Mains", online=1), None),
        # With a charger.
        ({**battery(status="Charging"), **supply("AC", type="Mains", online=1)}, Battery(50.0, True, False)),
        ({**battery(status="Full", capacity=100), **supply("AC", type="Mains", online=1)}, Battery(100.0, False, False)),
        ({**battery(status="Not charging", capacity=80), **supply("AC", type="Mains", online=1)}, Battery(80.0, False, False)),
        ({**battery(status="Charging"), **supply("usb", type="USB", online=1)}, Battery(50.0, True, False)),
        # One of several chargers is enough.
        ({**battery(), **supply("AC", type="Mains", online=0), **supply("usb", type="USB", online=1)}, Battery(50.0, False, False)),
        # Too weak a charger: it gets emptier all the same.
        ({**battery(power_now=9_000_000, energy_now=18_000_000), **supply("AC", type="Mains", online=1)},
         Battery(50.0, False, False, discharge_watts=9.0, minutes_left=120.0)),
        # No charger is listed: what the battery does tells.
        (battery(), Battery(50.0, False, True)),
        (battery(status="Charging"), Battery(50.0, True, False)),
        (battery(status="Unknown"), Battery(50.0, None, None)),
        (supply("BAT0", type="Battery"), Battery(None, None, None)),
        # By charge and current, which some drivers tell with a sign.
        (battery(charge_now=2_000_000, charge_full=4_000_000, current_now=-1_000_000, voltage_now=12_000_000),
         Battery(50.0, False, True, discharge_watts=12.0, minutes_left=120.0)),
        (battery(charge_now=2_000_000, current_now=1_000_000, voltage_min_design=11_000_000),
         Battery(50.0, False, True, discharge_watts=11.0, minutes_left=120.0)),
        (battery(charge_now=2_000_000, current_now=1_000_000), Battery(50.0, False, True)),
        # A battery that gives something gives more than nothing: that is a driver that does not know.
        (battery(power_now=0, energy_now=9), Battery(50.0, False, True)),
        # Two: what they hold together. One rests while the other works.
        ({**battery("BAT0", status="Unknown", capacity=90, energy_now=18_000_000, energy_full=20_000_000, power_now=0),
          **battery("BAT1", capacity=20, energy_now=12_000_000, energy_full=60_000_000, power_now=10_000_000)},
         Battery(37.5, False, True, discharge_watts=10.0, minutes_left=180.0)),
        ({**battery("BAT0", capacity=90), **battery("BAT1", capacity=20)}, Battery(55.0, False, True)),
        ({**battery("BAT0", capacity=None, charge_now=1_000_000, charge_full=4_000_000)}, Battery(25.0, False, True)),
        # Worn gauges.
        (battery(capacity=103), Battery(100.0, False, True)),
        (battery(capacity="unreadable"), Battery(None, False, True)),
    ],
)  # fmt: skip
def test_linux(tmp_path: Path, files: dict[str, object], found: Battery | None) -> None:
    assert read_battery(written(tmp_path, files)) == found


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"BatteryInstalled": False}, None),
        ({"MaxCapacity": 0}, None),
        ({"CurrentCapacity": "14"}, None),
        ({"TimeRemaining": 65535}, (12.6, None)),
        ({"Amperage": None}, (None, 31.0)),
        ({"Voltage": True}, (None, 31.0)),
        ({"Amperage": -1120}, (12.6, 31.0)),
        ({"ExternalConnected": True}, (12.6, None)),
    ],
)
def test_the_registry_of_a_mac(
    tmp_path: Path, changes: dict[str, Any], found: tuple[float | None, float | None] | None
) -> None:
    (entry,) = plistlib.loads((recorded("mac-m2").path(IOREG)).read_bytes())
    changed = {key: value for key, value in (entry | changes).items() if value is not None}
    told = read_battery(written(tmp_path, {IOREG: plistlib.dumps([changed])}, "darwin"))
    assert (None if told is None else (told.discharge_watts, told.minutes_left)) == found


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("Now drawing from 'AC Power'\n -InternalBattery-0 (id=1)\t85%; charged; 0:00 remaining present: true", (85.0, False, False, None)),
        ("Now drawing from 'AC Power'\n -InternalBattery-0 (id=1)\t83%; charging; 1:00 remaining present: true", (83.0, True, False, None)),
        ("Now drawing from 'AC Power'\n -InternalBattery-0 (id=1)\t9%; charging; (no estimate) present: true", (9.0, True, False, None)),
        ("Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1)\t78%; discharging; 5:05 remaining present: true",
         (78.0, False, True, 305.0)),
        ("Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1)\t78%; discharging; (no estimate) present: true",
         (78.0, False, True, None)),
        ("Now drawing from 'AC Power'\n", None),
        ("", None),
    ],
)  # fmt: skip
def test_what_pmset_says_where_the_registry_says_nothing(
    tmp_path: Path, said: str, found: tuple[Any, ...] | None
) -> None:
    told = read_battery(written(tmp_path, {PMSET: said}, "darwin"))
    assert (told and (told.percent, told.charging, told.on_battery, told.minutes_left)) == found
    assert told is None or told.source == "pmset"


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ('{"percent": 100, "secsleft": -2, "power_plugged": true}', (100.0, None, False, None)),
        ('{"percent": 40.5, "secsleft": -1, "power_plugged": false}', (40.5, False, True, None)),
        ('{"percent": 40, "secsleft": -1, "power_plugged": null}', (40.0, None, None, None)),
        ("null", None),
        ("[]", None),
        ("{", None),
        ('{"percent": null}', None),
    ],
)
def test_what_psutil_gives(tmp_path: Path, said: str, found: tuple[Any, ...] | None) -> None:
    told = read_battery(written(tmp_path, {"psutil/sensors_battery.json": said}, "win32"))
    assert (told and (told.percent, told.charging, told.on_battery, told.minutes_left)) == found


@given(
    said=st.binary(max_size=60) | st.text(max_size=60).map(str.encode),
    platform=st.sampled_from(["linux", "darwin", "win32"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_file_however_broken_raises_anything(tmp_path: Path, said: bytes, platform: str) -> None:
    broken = dict.fromkeys(
        (IOREG, PMSET, "psutil/sensors_battery.json", *battery(), *battery(energy_now=0, power_now=0)), said
    )
    write(tmp_path, broken | {f"{SUPPLIES}/BAT0/type": "Battery"})
    read_battery(System(tmp_path, platform))


@given(st.lists(st.tuples(st.integers(0, 10**8), st.integers(1, 10**8)), min_size=1, max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_percent_is_percent(tmp_path: Path, cells: list[tuple[int, int]]) -> None:
    for place, (now, full) in enumerate(cells):
        write(tmp_path, battery(f"BAT{place}", capacity=None, energy_now=now, energy_full=full))
    found = read_battery(System(tmp_path, "linux"))
    assert found is not None
    assert found.percent is not None
    assert 0.0 <= found.percent <= 100.0


def test_one_that_gets_emptier_is_draining_whatever_is_connected() -> None:
    assert Battery(50.0, False, True).is_draining
    assert Battery(50.0, False, False, discharge_watts=3.0).is_draining
    assert not Battery(50.0, True, False).is_draining
    assert not Battery(50.0, False, False).is_draining
    assert not Battery(50.0, None, None).is_draining
