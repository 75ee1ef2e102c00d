"""The machine's batteries: sysfs on Linux, the I/O registry on macOS, psutil elsewhere."""

from __future__ import annotations

import json
import re
from dataclasses import KW_ONLY, dataclass
from typing import Any

from oblix.agents.probes.ioreg import ioreg, number, switch
from oblix.agents.probes.system import HERE, System

SUPPLIES = "/sys/class/power_supply"
UNKNOWN_MINUTES = 65535  # what macOS says while it still reckons
_PMSET = re.compile(r"InternalBattery.*?\t\s*(\d+)%;\s*([^;]+);(?:\s*(\d+):(\d\d) remaining)?")


@dataclass(frozen=True, slots=True)
class Battery:
    """All batteries that the machine runs on, as one. `None` is "cannot tell".

    Attributes:
        percent: Charge of what they hold when full.
        charging: Whether any of them is being charged. One that is full, or kept below full on purpose, is not.
        on_battery: No other power is connected.
        discharge_watts: What the machine takes from them.
        minutes_left: Until they are empty, at what it takes now.
        source: Who told: `sysfs`, `ioreg`, `pmset`, `psutil`.
    """

    percent: float | None
    charging: bool | None
    on_battery: bool | None
    _: KW_ONLY
    discharge_watts: float | None = None
    minutes_left: float | None = None
    source: str = "sysfs"

    @property
    def is_draining(self) -> bool:
        """Whether it gets emptier, also at a charger that is too weak."""
        return not self.charging and (bool(self.on_battery) or bool(self.discharge_watts))


def read_battery(system: System = HERE) -> Battery | None:
    """The machine's batteries; `None` where it has none. Those of mice and headsets are not the machine's."""
    if system.platform == "linux":
        return _linux(system)
    if system.platform == "darwin":
        return _ioreg(system) or _pmset(system)
    return _psutil(system)


@dataclass(frozen=True, slots=True)
class _Cell:
    """One battery on Linux. Charge in watt-hours where the driver tells, else in ampere-hours; which of them does not matter to a ratio."""

    status: str
    capacity: int | None
    now: float | None
    full: float | None
    watts: float | None
    watt_hours: float | None

    @property
    def percent(self) -> float | None:
        if self.capacity is not None:
            return float(self.capacity)
        return 100.0 * self.now / self.full if self.now is not None and self.full else None


def _linux(system: System) -> Battery | None:
    cells: list[_Cell] = []
    outside: list[bool] = []
    for name in system.names(SUPPLIES):
        at = f"{SUPPLIES}/{name}"
        if system.text(f"{at}/scope") == "Device":
            continue  # of a mouse, or what a monitor gives to it
        kind = system.text(f"{at}/type")
        if kind == "Battery" and system.number(f"{at}/present") != 0:
            cells.append(_cell(system, at))
        elif kind in ("Mains", "USB", "Wireless") and (online := system.number(f"{at}/online")) is not None:
            outside.append(online > 0)
    if not cells:
        return None
    statuses = {cell.status for cell in cells}
    on_battery = not any(outside) if outside else _by_status(statuses)
    discharging = [cell for cell in cells if cell.status == "Discharging"]
    watts = _sum(cell.watts for cell in discharging) if discharging else None
    hours = _sum(cell.watt_hours for cell in cells) if watts else None
    return Battery(
        _charge(cells),
        "Charging" in statuses if statuses != {"Unknown"} else None,
        on_battery,
        discharge_watts=watts,
        minutes_left=60 * hours / watts if hours is not None and watts else None,
    )


def _cell(system: System, at: str) -> _Cell:
    def micro(*files: str) -> float | None:
        found = (system.number(f"{at}/{file}") for file in files)
        return next(
            (abs(value) / 1e6 for value in found if value is not None), None
        )  # some drivers tell current with a sign

    volts = micro("voltage_now", "voltage_min_design")
    energy, charge, amperes = micro("energy_now"), micro("charge_now"), micro("current_now")
    by_charge = None if charge is None or volts is None else charge * volts
    return _Cell(
        system.text(f"{at}/status") or "Unknown",
        system.number(f"{at}/capacity"),
        energy if energy is not None else charge,
        micro("energy_full") if energy is not None else micro("charge_full"),
        micro("power_now") or (None if amperes is None or volts is None else amperes * volts),
        energy if energy is not None else by_charge,
    )


def _charge(cells: list[_Cell]) -> float | None:
    """Percent of all together: by what they hold, where each tells that; else the mean."""
    if len(cells) > 1 and all(cell.now is not None and cell.full for cell in cells):
        return min(100.0, 100.0 * sum(cell.now or 0.0 for cell in cells) / sum(cell.full or 0.0 for cell in cells))
    told = [found for cell in cells if (found := cell.percent) is not None]
    return min(100.0, sum(told) / len(told)) if told else None


def _by_status(statuses: set[str]) -> bool | None:
    """Where no charger is listed, what the batteries do tells whether there is one."""
    if "Discharging" in statuses:
        return True
    return False if statuses & {"Charging", "Full", "Not charging"} else None


def _sum(values: Any) -> float | None:
    """The sum, `None` unless each is known."""
    found = list(values)
    return None if None in found else sum(found)


def _ioreg(system: System) -> Battery | None:
    for entry in ioreg(system, "AppleSmartBattery"):
        now, full = (
            number(entry, "CurrentCapacity"),
            number(entry, "MaxCapacity"),
        )  # percent on Apple silicon, mAh on Intel
        plugged, charging = switch(entry, "ExternalConnected"), switch(entry, "IsCharging")
        if switch(entry, "BatteryInstalled") is False or now is None or not full:
            continue
        milliamperes, millivolts = number(entry, "Amperage"), number(entry, "Voltage")
        told = milliamperes is not None and millivolts is not None and milliamperes < 0
        left = number(entry, "TimeRemaining")
        return Battery(
            min(100.0, 100.0 * now / full),
            charging,
            None if plugged is None else not plugged,
            discharge_watts=-(milliamperes or 0) * (millivolts or 0) / 1e6 if told else None,
            minutes_left=float(left) if left is not None and 0 < left < UNKNOWN_MINUTES and plugged is False else None,
            source="ioreg",
        )
    return None


def _pmset(system: System) -> Battery | None:
    said = system.output("pmset", "-g", "batt") or ""
    found = _PMSET.search(said)
    if found is None:
        return None
    percent, status, hours, minutes = found.groups()
    on_battery = "'Battery Power'" in said.partition("\n")[0]
    return Battery(
        float(percent),
        status.strip() in ("charging", "finishing charge"),
        on_battery,
        minutes_left=60.0 * int(hours) + int(minutes) if hours and on_battery else None,
        source="pmset",
    )


def _psutil(system: System) -> Battery | None:
    """What psutil tells on Windows and other systems. It does not tell a full battery from one that is being charged."""
    found = _asked(system)
    if not found or not isinstance(found.get("percent"), int | float):
        return None
    plugged, seconds = found.get("power_plugged"), found.get("secsleft")
    left = (
        seconds if isinstance(seconds, int | float) and seconds > 0 and plugged is False else None
    )  # -1, -2: not known, no end
    return Battery(
        float(found["percent"]),
        None if plugged is None or plugged else False,
        None if plugged is None else not plugged,
        minutes_left=None if left is None else left / 60.0,
        source="psutil",
    )


def _asked(system: System) -> dict[str, Any] | None:
    if system.is_recorded:
        try:
            told = json.loads(system.text("psutil/sensors_battery.json") or "null")
        except ValueError:
            return None
        return told if isinstance(told, dict) else None
    import psutil

    ask = getattr(psutil, "sensors_battery", None)  # not on every system
    told = ask() if ask is not None else None
    return None if told is None else told._asdict()
