"""The agent that watches what this machine lives on: battery, heat, and the energy that a token takes."""

from __future__ import annotations

import time
import weakref
from typing import Any

from oblix.agents.base import BaseAgent, Surroundings
from oblix.agents.power_reading import Power, PowerProbe
from oblix.agents.probes.battery import Battery
from oblix.agents.probes.heat import Heat
from oblix.agents.probes.system import HERE, System
from oblix.agents.sensor import Sample, Sensor
from oblix.errors import ConfigurationError
from oblix.types.attempt import Attempt
from oblix.types.report import AgentReport

WAIT = 0.09  # seconds that a prompt waits for a first or an overdue reading; below the agents' deadline of 0.1
LOW = 20.0  # percent, where laptops begin to warn
RISEN = 3.0  # percent above `low` until one that was low is not any more: a battery's gauge follows the load
COOLED = 60.0  # seconds without a sign of heat until it counts as cool: throttling comes and goes within seconds
COOLER = 5.0  # degrees below `hot` for the same


class PowerAgent(BaseAgent):
    """Reports `sufficient`, `low` (battery), `hot` (slowed down by heat) or `unknown`; when low or hot, that work here should be spared.

    It votes for no place: the policy says whether the cloud or a small model at home is asked instead.

    Args:
        low: Percent of charge below which a battery that is not charging counts as low.
        hot: Degrees Celsius from which the processor counts as hot; by default only one that is slowed down by heat does, because many
            are made to work at 95 °C and more.
        system: What to read from: this machine, or a recorded one.

    Raises:
        ConfigurationError: A limit is no number in its range.
    """

    def __init__(
        self, name: str = "power", low: float = LOW, hot: float | None = None, *, system: System = HERE
    ) -> None:
        super().__init__(name)
        self.low = _limit("low", low, 0.0, 100.0)
        self.hot = None if hot is None else _limit("hot", hot, 30.0, 150.0)
        self._probe = PowerProbe(name, system)
        self._sensor = Sensor(name, self._probe.read, self._probe.interval)
        self._made: tuple[float, AgentReport] | None = None
        self._surroundings: Surroundings | None = None
        self._was_hot_at = float("-inf")
        weakref.finalize(self, _stop, self._sensor, self._probe)

    def attach(self, surroundings: Surroundings) -> None:
        """Learn which models run here."""
        self._surroundings = surroundings

    async def initialize(self) -> bool:
        """Start the sensors."""
        self._probe.start()
        self._sensor.start()
        return await super().initialize()

    async def check(self, **kwargs: Any) -> AgentReport:
        """What the machine lives on; waits at most 90 ms, and only for a first or an overdue reading."""
        report = self.peek()
        if report is not None:
            return report
        self._probe.start()  # another client of this agent may have stopped it
        await self._sensor.refresh(WAIT)
        latest = self._sensor.latest
        if latest is None:
            return AgentReport(reason=self._sensor.failure or "no reading within 90 ms", stale=True)
        return self._judged(latest, stale=not self._is_fresh(latest))

    def peek(self) -> AgentReport | None:
        """The report, if the last reading is fresh. A reading is judged once, not at every prompt."""
        latest = self._sensor.latest
        if latest is None or not self._is_fresh(latest):
            return None
        if self._made is None or self._made[0] != latest.at:
            self._made = (latest.at, self._judged(latest))
        return self._made[1]

    def notice(self, attempt: Attempt) -> None:
        """Learn what a model on this machine takes per token."""
        if not self.is_active or attempt.total <= 0:
            return
        if self._surroundings is None or not self._surroundings.runs_here(attempt.model_id):
            return  # an edge model may be on another machine, and what is used here meanwhile is none of its
        if self._probe.answered(attempt, time.monotonic()):
            self._sensor.poke()

    async def shutdown(self) -> None:
        """Stop the sensors."""
        _stop(self._sensor, self._probe)
        await super().shutdown()

    def judge(self, power: Power, *, was_low: bool = False, was_hot: bool = False, stale: bool = False) -> AgentReport:
        """What a reading means. One that was low or hot needs to be clearly over it."""
        is_low = self._is_low(power.battery, was_low=was_low)
        is_hot = self._is_hot(power.heat)
        told = [_battery_words(power.battery), _heat_words(power.heat, is_hot=is_hot, was_hot=was_hot)]
        is_hot = is_hot or was_hot
        state = "low" if is_low else "hot" if is_hot else "unknown" if not any(told) else "sufficient"
        return AgentReport(
            state=state,
            reason=", ".join(filter(None, told)) or "no battery, and no sensor of heat",
            metrics=_metrics(power),
            stale=stale,
            sparing=is_low or is_hot,
        )

    def _judged(self, sample: Sample[Power], *, stale: bool = False) -> AgentReport:
        if self._is_hot(sample.value.heat, was_hot=sample.at - self._was_hot_at < COOLED):
            self._was_hot_at = sample.at
        was_low = self._made is not None and self._made[1].state == "low"
        was_hot = sample.at - self._was_hot_at < COOLED
        return self.judge(sample.value, was_low=was_low, was_hot=was_hot, stale=stale)

    def _is_fresh(self, sample: Sample[Power]) -> bool:
        return time.monotonic() - sample.at <= 3 * self._probe.longest_interval

    def _is_low(self, battery: Battery | None, *, was_low: bool) -> bool:
        if battery is None or battery.percent is None or not battery.is_draining:
            return False
        return battery.percent < self.low + (RISEN if was_low else 0.0)

    def _is_hot(self, heat: Heat | None, *, was_hot: bool = False) -> bool:
        if heat is None:
            return False
        limit = None if self.hot is None else self.hot - (COOLER if was_hot else 0.0)
        above = limit is not None and heat.temperature_celsius is not None and heat.temperature_celsius >= limit
        return bool(heat.throttled) or above


def _limit(name: str, value: float, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least < value <= most:
        unit = "percent" if name == "low" else "degrees Celsius"
        raise ConfigurationError(
            f"{name}={value!r} is no number in its range.", hint=f"Give {unit}, above {least:g} and up to {most:g}."
        )
    return float(value)


def _stop(sensor: Sensor[Power], probe: PowerProbe) -> None:
    sensor.stop()
    probe.stop()


def _battery_words(battery: Battery | None) -> str:
    if battery is None:
        return ""
    charge = "battery" if battery.percent is None else f"battery {battery.percent:.0f} %"
    if battery.charging:
        return f"{charge}, charging"
    return f"{charge}, not charging" if battery.is_draining or battery.on_battery is None else f"{charge}, on mains"


def _heat_words(heat: Heat | None, *, is_hot: bool, was_hot: bool) -> str:
    if heat is None:
        return "slowed down by heat a moment ago" if was_hot else ""
    degrees = "" if heat.temperature_celsius is None else f"{heat.temperature_celsius:.0f} °C"
    if heat.throttled:
        return f"slowed down by heat ({heat.why})" if heat.why else "slowed down by heat"
    if is_hot:
        return f"hot ({degrees})"
    if was_hot:
        return f"hot a moment ago ({degrees})" if degrees else "slowed down by heat a moment ago"
    return degrees or "not slowed down by heat"


def _metrics(power: Power) -> dict[str, Any]:
    battery, heat = power.battery, power.heat
    return {
        "battery_percent": battery.percent if battery else None,
        "charging": battery.charging if battery else None,
        "on_battery": battery.on_battery if battery else None,
        "discharge_watts": battery.discharge_watts if battery else None,
        "minutes_left": battery.minutes_left if battery else None,
        "temperature_celsius": heat.temperature_celsius if heat else None,
        "throttled": heat.throttled if heat else None,
        "watts": power.watts,
        "joules_per_token": dict(power.joules_per_token),
        "source": power.source,
    }
