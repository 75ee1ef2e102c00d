"""Whether the processor is slowed down because it is hot, and how hot it is."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass

from oblix.agents.probes.system import HERE, System

ZONES = "/sys/class/thermal"
CORES = "/sys/devices/system/cpu"
CHIPS = "/sys/class/hwmon"
PROCESSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")  # drivers of temperature sensors inside of processors
# Zones whose trip points are alarms that a program set, and no limits at which the kernel slows the processor down.
ALARMS = ("x86_pkg_temp",)
# Zones of other things than the processor; a hot radio or disk slows no model down.
ELSEWHERE = re.compile(
    r"wifi|iwl|ath\d|mt7|nvme|modem|batt|charger|usb|ambient|skin|display|^sen\d|^tskn|^tmem", re.IGNORECASE
)
COOLERS = re.compile(r"processor|cpufreq|cpu-?idle|powerclamp", re.IGNORECASE)
SENSIBLE = range(1, 150_000)  # thousandths of a degree; drivers tell -274000 and the like for "none"
# Share of the time since the last reading that a core was held back by heat; laptops are for milliseconds at each burst.
HELD_BACK = 0.1
_SPEED = re.compile(r"CPU_Speed_Limit\s*=\s*(\d+)")
_PRESSURE = "com.apple.system.thermalpressurelevel"
HEAVY = 2  # of 0 nominal, 1 moderate, 2 heavy, 3 trapping, 4 sleeping (OSThermalNotification.h): from there on macOS lowers clocks


@dataclass(frozen=True, slots=True)
class Heat:
    """What heat does to the processor.

    Attributes:
        temperature_celsius: The hottest sensor of the processor; `None` where none is told.
        throttled: Whether it is slowed down; `None` where that cannot be told.
        why: What shows it, in words; empty when it is not throttled.
        source: Who told: `sysfs`, `pmset`, `notifyutil`.
    """

    temperature_celsius: float | None
    throttled: bool | None
    why: str = ""
    _: KW_ONLY
    source: str = "sysfs"


class HeatProbe:
    """Takes readings one after the other: some signs of heat are counters. For one thread only."""

    def __init__(self, system: System = HERE, clock: Callable[[], float] = time.monotonic) -> None:
        self._system = system
        self._clock = clock
        self._counted: tuple[float, dict[str, int]] | None = None

    def read(self) -> Heat | None:
        """A reading; `None` where this machine has no such sensor."""
        if self._system.platform == "linux":
            return self._linux()
        return self._mac() if self._system.platform == "darwin" else None

    def _linux(self) -> Heat | None:
        names = self._system.names(ZONES)
        zones = tuple(_zones(self._system, names))
        temperatures = [celsius for _, celsius, _ in zones] + list(_chips(self._system))
        signs = [*(_over(*zone) for zone in zones), *_cooled(self._system, names), self._held_back()]
        told = [sign for sign in signs if sign is not None]
        if not told and not temperatures:
            return None
        why = ", ".join(sign for sign in told if sign)
        return Heat(max(temperatures, default=None), bool(why) if told else None, why)

    def _held_back(self) -> str | None:
        """By the counters of Intel's processors; `None` where there are none, or they were not read before.

        Kernels before 5.5 count only how often; that says nothing, because a burst of a few milliseconds counts like a minute.
        """
        spent = {
            core: found
            for core in self._system.names(CORES)
            if core[3:].isdecimal()
            and (found := self._system.number(f"{CORES}/{core}/thermal_throttle/core_throttle_total_time_ms"))
            is not None
        }
        now, before = self._clock(), self._counted
        self._counted = (now, spent)
        if before is None or not spent or now <= before[0]:
            return None
        share = max(max(0, spent[core] - before[1].get(core, spent[core])) for core in spent) / 1000 / (now - before[0])
        return (
            f"a core was held back for {min(1.0, share):.0%} of the time".replace("%", " %")
            if share >= HELD_BACK
            else ""
        )

    def _mac(self) -> Heat | None:
        """By the limit of the clock (Intel), or the pressure that the system tells (Apple silicon)."""
        found = _SPEED.search(self._system.output("pmset", "-g", "therm") or "")
        if found is not None:
            limit = int(found[1])
            why = f"the processor is held at {limit} % of its speed" if limit < 100 else ""
            return Heat(None, limit < 100, why, source="pmset")
        said = (self._system.output("notifyutil", "-g", _PRESSURE) or "").split()
        if len(said) != 2 or not said[1].isdecimal():
            return None
        level = int(said[1])
        return Heat(
            None, level >= HEAVY, f"thermal pressure {level} of 4" if level >= HEAVY else "", source="notifyutil"
        )


def _zones(system: System, names: tuple[str, ...]) -> Iterator[tuple[str, float, float | None]]:
    """The processor's zones: kind, degrees Celsius, and those from which the kernel slows it down."""
    for name in names:
        kind = system.text(f"{ZONES}/{name}/type") or ""
        degrees = system.number(f"{ZONES}/{name}/temp")
        if name.startswith("thermal_zone") and degrees in SENSIBLE and not ELSEWHERE.search(kind):
            yield kind, (degrees or 0) / 1000, None if kind in ALARMS else _limit(system, f"{ZONES}/{name}")


def _limit(system: System, zone: str) -> float | None:
    """The lowest of its passive trip points: there the kernel begins to cool by slowing down, unless it leaves the zone to programs."""
    if system.text(f"{zone}/mode") == "disabled" or system.text(f"{zone}/policy") == "user_space":
        return None
    found = []
    for file in system.names(zone):
        if file.endswith("_type") and file.startswith("trip_point_") and system.text(f"{zone}/{file}") == "passive":
            degrees = system.number(f"{zone}/{file.removesuffix('type')}temp")
            if degrees in SENSIBLE:
                found.append((degrees or 0) / 1000)
    return min(found, default=None)


def _over(kind: str, celsius: float, limit: float | None) -> str | None:
    if limit is None:
        return None
    return f"{kind} {celsius:.0f} °C (limit {limit:.0f} °C)" if celsius >= limit else ""


def _cooled(system: System, names: tuple[str, ...]) -> Iterator[str]:
    """What the kernel does at the moment to let the processor cool down."""
    for name in names:
        if name.startswith("cooling_device") and COOLERS.search(kind := system.text(f"{ZONES}/{name}/type") or ""):
            state = system.number(f"{ZONES}/{name}/cur_state")
            if state is not None:
                yield f"{kind} is cooled by slowing down" if state > 0 else ""


def _chips(system: System) -> Iterator[float]:
    """Temperatures inside of the processor, where no zone tells of them (AMD)."""
    for chip in system.names(CHIPS):
        if system.text(f"{CHIPS}/{chip}/name") in PROCESSORS:
            degrees = system.number(f"{CHIPS}/{chip}/temp1_input")
            if degrees in SENSIBLE:
                yield (degrees or 0) / 1000
