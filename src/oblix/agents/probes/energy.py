"""Energy that the processor took, by its own counters (RAPL, Linux): joules since the probe was made."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from oblix.agents.probes.system import HERE, System

ZONES = "/sys/class/powercap"
MOST_WATTS = (
    2000.0  # of one package or its memory: a counter that grew by more was reset, as by a suspend, and did not wrap
)
_PACKAGE = re.compile(
    r"intel-rapl:\d+"
)  # AMD's processors are under this name too; intel-rapl-mmio counts the same once more
_PART = re.compile(r"intel-rapl:\d+:\d+")


@dataclass(slots=True)
class _Counter:
    file: str
    range: int
    at: float
    microjoules: int
    joules: float = 0.0


class EnergyProbe:
    """Adds up what the counters grow by. For one thread only; to be read at least every few minutes, before they wrap twice."""

    def __init__(self, system: System = HERE, clock: Callable[[], float] = time.monotonic) -> None:
        self._system = system
        self._clock = clock
        self._counters: list[_Counter] | None = None

    def joules(self) -> float | None:
        """Of all packages and their memory, since the first call; `None` where no counter can be read (since 2020 they are root's)."""
        if self._counters is None:
            self._counters = list(self._find())
        elif any(not self._grow(counter) for counter in self._counters):
            self._counters = []
        return sum(counter.joules for counter in self._counters) if self._counters else None

    def _find(self) -> Iterator[_Counter]:
        """Packages, and memory where it is counted beside them. Cores and graphics are parts of their package, counted in it already."""
        for zone in self._system.names(ZONES):
            at = f"{ZONES}/{zone}"
            name = self._system.text(f"{at}/name") or ""
            if (_PACKAGE.fullmatch(zone) and name.startswith("package")) or (_PART.fullmatch(zone) and name == "dram"):
                energy, most = self._system.number(f"{at}/energy_uj"), self._system.number(f"{at}/max_energy_range_uj")
                if energy is not None and most:
                    yield _Counter(f"{at}/energy_uj", most, self._clock(), energy)

    def _grow(self, counter: _Counter) -> bool:
        energy, now = self._system.number(counter.file), self._clock()
        if energy is None:
            return False
        grown = energy - counter.microjoules
        if grown < 0:
            grown += counter.range
        if grown / 1e6 <= MOST_WATTS * max(1.0, now - counter.at):
            counter.joules += grown / 1e6
        counter.at, counter.microjoules = now, energy
        return True
