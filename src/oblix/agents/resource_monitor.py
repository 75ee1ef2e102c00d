"""The agent that watches this machine: processor, memory, pressure, graphics processors."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from oblix.agents.base import BaseAgent, Surroundings
from oblix.agents.machine_state import MachineState
from oblix.agents.probes.machine import Machine
from oblix.agents.sampler import SAMPLER
from oblix.agents.sensor import Sample
from oblix.agents.thresholds import Thresholds
from oblix.types.report import AgentReport

FRESH = 3.0  # seconds for which a reading is taken as it stands
WAIT = 0.09  # seconds that a prompt waits for a first or an overdue reading; below the agents' deadline of 0.1


class ResourceMonitor(BaseAgent):
    """Reports `available`, `constrained` or `critical` (or `unknown`); the load of our own inference does not count against the edge.

    Args:
        custom_thresholds: In percent: `cpu_threshold` 80, `memory_threshold` 85, `gpu_threshold` 85 (constrained), `critical_cpu` 90,
            `critical_memory` 95, `critical_gpu` 95; and `load_threshold`, max(4, 2 per core), used only where the kernel gives no
            pressure figures. One at or above its default critical twin lifts the twin half-way to 100.

    Raises:
        ConfigurationError: They are no mapping, a key is unknown (the nearest is named), or a value is no number in range.
    """

    def __init__(self, name: str = "resource_monitor", custom_thresholds: Mapping[str, float] | None = None) -> None:
        super().__init__(name)
        self.thresholds = Thresholds.read({} if custom_thresholds is None else custom_thresholds)
        self._seat = _Seat(self.thresholds)

    def attach(self, surroundings: Surroundings) -> None:
        """Learn which processes are our own inference."""
        self._seat.surroundings = surroundings

    async def initialize(self) -> bool:
        """Look on at the sampler of this process, which reads as long as anybody does."""
        self._seat.latest = None
        SAMPLER.join(self._seat)
        return await super().initialize()

    async def check(self, **kwargs: Any) -> AgentReport:
        """The state of the machine; waits at most 90 ms, and only for a first or an overdue reading."""
        report = self.peek()
        if report is not None:
            return report
        sensor = SAMPLER.join(self._seat)
        await sensor.refresh(WAIT)
        report, latest = self.peek(), self._seat.latest
        if report is not None:
            return report
        if latest is None:
            return AgentReport(state="unknown", reason=sensor.failure or "no reading within 90 ms", stale=True)
        return replace(latest[1], stale=True)

    def peek(self) -> AgentReport | None:
        """The report, if the last reading is fresh. A reading is judged once, not at every prompt."""
        latest = self._seat.latest
        return latest[1] if latest is not None and time.monotonic() - latest[0].at <= FRESH else None

    async def shutdown(self) -> None:
        """Look on no more."""
        SAMPLER.leave(self._seat)
        await super().shutdown()

    def machine(self) -> Machine | None:
        """The last reading itself."""
        return self._seat.latest[0].value if self._seat.latest else None

    def judge(self, machine: Machine, *, stale: bool = False) -> AgentReport:
        """What a single reading means, by the thresholds, whatever came before it."""
        return MachineState(self.thresholds).judge(machine, 0.0, stale=stale)


class _Seat:
    """The monitor's place at the sampler, which knows nothing of the monitor: one that is dropped must not leave a thread behind."""

    def __init__(self, thresholds: Thresholds) -> None:
        self.surroundings: Surroundings | None = None
        self.latest: tuple[Sample[Machine], AgentReport] | None = None
        self._state = MachineState(thresholds)

    def own_processes(self) -> frozenset[int]:
        return self.surroundings.inference_processes() if self.surroundings is not None else frozenset()

    def has_local_server(self) -> bool:
        return self.surroundings is not None and self.surroundings.has_local_server()

    def take(self, sample: Sample[Machine]) -> None:
        self.latest = sample, self._state.judge(sample.value, sample.at)
