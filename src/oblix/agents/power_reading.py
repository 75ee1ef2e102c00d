"""One reading of what the machine lives on: battery, heat, and the energy that its processors took."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace

from oblix.agents.energy_use import Answer, EnergyUse
from oblix.agents.probes.battery import Battery, read_battery
from oblix.agents.probes.energy import EnergyProbe
from oblix.agents.probes.gpu import Gpu, GpuProbe
from oblix.agents.probes.heat import Heat, HeatProbe
from oblix.agents.probes.system import HERE, System
from oblix.agents.sensor import Sensor
from oblix.types.attempt import Attempt

INTERVAL = 10.0  # seconds between two readings: a battery loses a tenth of a percent in that time
INTERVAL_MAC = 30.0  # there a reading starts three programs, which take some 30 ms of a core
BUSY_INTERVAL = 1.0  # while models work here and counters tell what they take
BUSY_FOR = 30.0  # seconds after an answer in which the next one is likely, and the machine is seen idle in between
# A battery's own figure of what is taken from it may be a mean over up to a minute (Smart Battery Data Specification 1.1, AverageCurrent).
BATTERY_MEAN = 60.0


@dataclass(frozen=True, slots=True)
class Power:
    """One reading. `None` is "no such thing here, or it cannot tell".

    Attributes:
        watts: What the processors take, or where they do not tell, what is taken from the battery.
        joules_per_token: Of each model that answered here, above what the machine takes anyway, in the processors whose counters are there
            (`rapl`, `nvml` in `source`); else in the whole machine, by its battery.
        source: Who told.
    """

    battery: Battery | None = None
    heat: Heat | None = None
    _: KW_ONLY
    watts: float | None = None
    joules_per_token: Mapping[str, float] = field(default_factory=dict)
    source: str | None = None


class PowerProbe:
    """Takes readings on a sensor's thread. Graphics processors are read on another one, because their driver may hang."""

    def __init__(self, name: str, system: System = HERE) -> None:
        self._system = system
        self._heat = HeatProbe(system)
        self._counter = EnergyProbe(system)
        # Those of Macs tell neither heat nor energy, and each look at them starts a program.
        self._graphics = None if system.platform == "darwin" else GpuProbe(frozenset, system)
        self._gpus = Sensor(f"{name}-gpu", self._read_gpus, self.interval)
        self._uses = {"rapl": EnergyUse(), "nvml": EnergyUse(), "battery": EnergyUse(shortest=BATTERY_MEAN)}
        self._drained: tuple[float, float] | None = None  # when, and joules until then
        self._counting_gpus = 0
        self._is_on = False
        self._busy_until = float("-inf")
        self.longest_interval = INTERVAL_MAC if system.platform == "darwin" else INTERVAL

    def start(self) -> None:
        """Let readings begin."""
        self._is_on = True

    def stop(self) -> None:
        """Let the thread of the graphics processors end."""
        self._is_on = False
        self._gpus.stop()

    def interval(self) -> float:
        """Seconds until the next reading."""
        return BUSY_INTERVAL if time.monotonic() < self._busy_until else self.longest_interval

    def answered(self, attempt: Attempt, now: float) -> bool:
        """A model here has ended its answer; whether a reading is wanted soon. Takes microseconds."""
        uses = [use for use in self._uses.values() if use.watts is not None]
        for use in uses:
            use.answered(Answer(attempt.model_id, now - attempt.total, now, attempt.output_tokens))
        if not self._counters():
            return False
        was_busy, self._busy_until = now < self._busy_until, now + BUSY_FOR
        if self._gpus.latest is not None and not was_busy:
            self._gpus.poke()
        return not was_busy

    def read(self) -> Power:
        """One reading of battery, heat and energy."""
        if self._is_on and self._graphics is not None and self._graphics.is_present():
            self._gpus.start()
            if not self._is_on:  # it was stopped at this moment
                self._gpus.stop()
        battery, heat, now = read_battery(self._system), self._with_gpus(self._heat.read()), time.monotonic()
        self._uses["rapl"].sampled(now, self._counter.joules())
        self._uses["battery"].sampled(now, self._drain(battery, now))
        measured = self._counters()
        told_by = dict.fromkeys([*([battery.source] if battery else ()), *([heat.source] if heat else ()), *measured])
        return Power(
            battery,
            heat,
            watts=sum(self._uses[name].watts or 0.0 for name in measured) if measured else _drained(battery),
            # The battery pays for the whole machine, so it is asked where no counter tells, and never added to one.
            joules_per_token=self._per_token(measured or ["battery"]),
            source=", ".join(told_by) or None,
        )

    def _read_gpus(self) -> tuple[Gpu, ...]:
        gpus = self._graphics.read() if self._graphics is not None else ()
        told = [gpu.energy_joules for gpu in gpus if gpu.energy_joules is not None]
        if len(told) != self._counting_gpus:
            self._counting_gpus = len(told)
            self._uses["nvml"].sampled(time.monotonic(), None)
        self._uses["nvml"].sampled(time.monotonic(), sum(told) if told else None)
        return gpus

    def _with_gpus(self, heat: Heat | None) -> Heat | None:
        """What is known of heat, with that of the graphics processors."""
        if self._gpus.latest is None or self._gpus.age() > 3 * self.longest_interval:
            return heat
        told = [gpu for gpu in self._gpus.latest.value if gpu.throttled is not None]
        hot = [f"{gpu.name} lowers its clocks" for gpu in told if "heat" in (gpu.throttled or ())]
        if heat is None:
            return Heat(None, bool(hot), ", ".join(hot), source=told[0].source) if told else None
        if not hot:
            return heat
        return replace(heat, throttled=True, why=", ".join(filter(None, (heat.why, *hot))))

    def _counters(self) -> list[str]:
        """Whose figures are there, and are not those of a driver that has hung since."""
        late = self._gpus.age() > 3 * self.longest_interval
        return [
            name for name in ("rapl", "nvml") if self._uses[name].watts is not None and not (name == "nvml" and late)
        ]

    def _drain(self, battery: Battery | None, now: float) -> float | None:
        """Joules that the battery gave since it began to be drained."""
        watts = _drained(battery)
        if watts is None:
            self._drained = None
            return None
        at, joules = self._drained or (now, 0.0)
        self._drained = (now, joules + watts * (now - at))
        return self._drained[1]

    def _per_token(self, measured: list[str]) -> dict[str, float]:
        found: dict[str, float] = {}
        for name in measured:
            for model_id, joules in self._uses[name].per_token.items():
                found[model_id] = found.get(model_id, 0.0) + joules
        return found


def _drained(battery: Battery | None) -> float | None:
    """Watts that are taken from the battery, while nothing is put into it."""
    return battery.discharge_watts if battery is not None and battery.is_draining else None
