"""The agent that watches this machine: processor, memory, pressure, graphics processors."""

from __future__ import annotations

import time
import warnings
import weakref
from collections.abc import Mapping
from typing import Any

from oblix.agents.base import BaseAgent, Surroundings
from oblix.agents.probes.machine import Machine, MachineProbe
from oblix.agents.sensor import Sensor
from oblix.errors import ConfigurationError, known_hint
from oblix.types.report import AgentReport

INTERVAL = 1.0  # seconds between two readings; one costs some 0.3 ms, so an idle client takes 0.03 % of a core
FRESH = 3.0  # seconds for which a reading is taken as it stands
WAIT = 0.09  # seconds that a prompt waits for a first or an overdue reading; below the agents' deadline of 0.1
DEFAULTS: dict[str, float] = {
    "cpu_threshold": 80.0,
    "memory_threshold": 85.0,
    "gpu_threshold": 85.0,
    "critical_cpu": 90.0,
    "critical_memory": 95.0,
    "critical_gpu": 95.0,
}
PRESSURE = (
    60.0  # percent of 10 s in which somebody waited for a processor; together with half of the machine in others' hands
)
_TWINS = (("cpu_threshold", "critical_cpu"), ("memory_threshold", "critical_memory"), ("gpu_threshold", "critical_gpu"))


class ResourceMonitor(BaseAgent):
    """Reports `available`, `constrained` or `critical` (or `unknown`); the load of our own inference does not count against the edge.

    Args:
        custom_thresholds: In percent: `cpu_threshold` 80, `memory_threshold` 85, `gpu_threshold` 85 (constrained), `critical_cpu` 90,
            `critical_memory` 95, `critical_gpu` 95; and `load_threshold`, max(4, 2 per core), used only where the kernel gives no
            pressure figures. One at or above its default critical twin lifts the twin half-way to 100.

    Raises:
        ConfigurationError: A key is unknown (the nearest is named), or a value is no number in range.
    """

    def __init__(self, name: str = "resource_monitor", custom_thresholds: Mapping[str, float] | None = None) -> None:
        super().__init__(name)
        self.load_threshold: float | None = None
        self.thresholds = self._read(custom_thresholds or {})
        self._surroundings: Surroundings | None = None
        self._sensor: Sensor[Machine] = Sensor(
            name, MachineProbe(_Ask(self, "processes"), _Ask(self, "server")).read, INTERVAL
        )
        self._made: tuple[float, AgentReport] | None = None
        weakref.finalize(self, self._sensor.stop)

    def _read(self, given: Mapping[str, float]) -> dict[str, float]:
        for key, value in given.items():
            known = (*DEFAULTS, "load_threshold")
            if key not in known:
                hint = known_hint(key, known, closeness=0.4)
                raise ConfigurationError(f"{key!r} is no threshold of ResourceMonitor.", hint=hint)
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not 0 < value <= (100 if key in DEFAULTS else 1e6)
            ):
                raise ConfigurationError(
                    f"{key}={value!r} is no number in its range.", hint="Give percent, above 0 and up to 100."
                )
        thresholds = DEFAULTS | {key: float(value) for key, value in given.items() if key in DEFAULTS}
        for lower, critical in _TWINS:
            if lower in given and thresholds[lower] >= thresholds[critical]:
                lifted = (thresholds[lower] + 100.0) / 2
                if critical in given:
                    warnings.warn(
                        f"{lower}={given[lower]} is not below {critical}={given[critical]}; {critical} is taken as {lifted:g}",
                        UserWarning,
                        stacklevel=4,
                    )
                thresholds[critical] = lifted
        if "load_threshold" in given:
            self.load_threshold = float(given["load_threshold"])
        return thresholds

    def attach(self, surroundings: Surroundings) -> None:
        """Learn which processes are our own inference."""
        self._surroundings = surroundings

    async def initialize(self) -> bool:
        """Start the sensor."""
        self._sensor.start()
        return await super().initialize()

    async def check(self, **kwargs: Any) -> AgentReport:
        """The state of the machine; waits at most 90 ms, and only for a first or an overdue reading."""
        report = self.peek()
        if report is not None:
            return report
        await self._sensor.refresh(WAIT)
        latest = self._sensor.latest
        if latest is None:
            return AgentReport(state="unknown", reason="no reading within 90 ms", stale=True)
        return self.judge(latest.value, stale=time.monotonic() - latest.at > FRESH)

    def peek(self) -> AgentReport | None:
        """The report, if the last reading is fresh. A reading is judged once, not at every prompt."""
        latest = self._sensor.latest
        if latest is None or time.monotonic() - latest.at > FRESH:
            return None
        if self._made is None or self._made[0] != latest.at:
            self._made = (latest.at, self.judge(latest.value))
        return self._made[1]

    async def shutdown(self) -> None:
        """Stop the sensor."""
        self._sensor.stop()
        await super().shutdown()

    def machine(self) -> Machine | None:
        """The last reading itself."""
        return self._sensor.latest.value if self._sensor.latest else None

    def judge(self, machine: Machine, *, stale: bool = False) -> AgentReport:
        """What a reading means, by the thresholds."""
        metrics = _metrics(machine)
        if machine.cpu_percent is None and machine.memory_percent is None:
            return AgentReport(
                state="unknown", reason="neither processor nor memory can be read", metrics=metrics, stale=stale
            )
        critical = self._over(machine, {twin: self.thresholds[critical] for twin, critical in _TWINS})
        if critical:
            return AgentReport(
                state="critical", target="cloud", reason=", ".join(critical), metrics=metrics, stale=stale
            )
        constrained = self._over(machine, {twin: self.thresholds[twin] for twin, _ in _TWINS}) + self._crowded(machine)
        if constrained:
            reason = ", ".join(constrained)
            return AgentReport(
                state="constrained", target="hybrid", lean="cloud", reason=reason, metrics=metrics, stale=stale
            )
        return AgentReport(state="available", target="hybrid", reason=_words(machine), metrics=metrics, stale=stale)

    def _over(self, machine: Machine, limits: Mapping[str, float]) -> list[str]:
        gpu = max((gpu.load_percent for gpu in machine.gpus if gpu.load_percent is not None), default=None)
        cpu = machine.cpu_percent if machine.settled or _witnessed(machine) else None
        return [
            f"{what} {value:.0f} % (limit {limits[key]:g} %)"
            for what, value, key in (
                ("CPU", cpu, "cpu_threshold"),
                ("memory", machine.memory_percent, "memory_threshold"),
                ("GPU", gpu, "gpu_threshold"),
            )
            if value is not None and value >= limits[key]
        ]

    def _crowded(self, machine: Machine) -> list[str]:
        """Many wait for a processor, and it is not for us that they wait."""
        if machine.pressure_cpu_percent is not None:
            if machine.pressure_cpu_percent >= PRESSURE and (machine.cpu_percent or 0.0) >= 50.0:
                return [f"tasks waited for the CPU in {machine.pressure_cpu_percent:.0f} % of the last 10 s"]
            return []
        limit = self.load_threshold or max(4.0, 2.0 * machine.cores)
        if machine.load_1min is not None and machine.load_1min >= limit:
            return [f"load {machine.load_1min:.1f} (limit {limit:g})"]
        return []


def _witnessed(machine: Machine) -> bool:
    """Whether a first reading, over 60 ms only, is borne out by what the kernel saw over seconds."""
    if machine.pressure_cpu_percent is not None:
        return machine.pressure_cpu_percent >= 20.0
    return machine.load_1min is not None and machine.load_1min >= 0.8 * machine.cores


def _words(machine: Machine) -> str:
    cpu = "CPU unknown" if machine.cpu_percent is None else f"CPU {machine.cpu_percent:.0f} %"
    memory = "" if machine.memory_percent is None else f", memory {machine.memory_percent:.0f} %"
    idle = machine.cpu_percent is not None and machine.cpu_percent < 30.0
    return f"machine {'idle' if idle else 'free'} ({cpu}{memory})"


def _metrics(machine: Machine) -> dict[str, Any]:
    return {
        "cpu_percent": None if machine.cpu_percent is None else round(machine.cpu_percent, 1),
        "own_inference_percent": round(machine.own_percent, 1),
        "pressure_cpu_percent": machine.pressure_cpu_percent,
        "load_1min": machine.load_1min,
        "cores": machine.cores,
        "memory_percent": machine.memory_percent,
        "memory_available_bytes": machine.memory_available_bytes,
        "swap_percent": machine.swap_percent,
        "gpus": [
            {"name": g.name, "load_percent": g.load_percent, "memory_percent": g.memory_percent} for g in machine.gpus
        ],
        "source": machine.source,
    }


class _Ask:
    """Asks the surroundings without keeping the agent alive: a client that is dropped must not leave a sensor behind."""

    def __init__(self, agent: ResourceMonitor, what: str) -> None:
        self._agent = weakref.ref(agent)
        self._what = what

    def __call__(self) -> Any:
        agent = self._agent()
        around = agent._surroundings if agent is not None else None
        if self._what == "processes":
            return around.inference_processes() if around is not None else frozenset()
        return around is not None and around.has_local_server()
