"""Simulated readings, for `oblix route --simulate`: judged by the thresholds of the real agents, and reported under their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from oblix.agents.base import BaseAgent
from oblix.agents.connectivity import ConnectivityAgent, Quality
from oblix.agents.power import PowerAgent
from oblix.agents.power_reading import Power
from oblix.agents.probes.battery import Battery
from oblix.agents.probes.graphics import Gpu
from oblix.agents.probes.heat import Heat
from oblix.agents.probes.machine import Machine
from oblix.agents.resource_monitor import ResourceMonitor
from oblix.errors import InvalidRequest, known_hint
from oblix.types.report import AgentReport

_OFFLINE = AgentReport(state="disconnected", target="local", reason="no network route")
# Name → the highest value that makes sense, and its unit.
_READINGS: dict[str, tuple[float, str]] = {
    "battery": (100.0, "percent"),
    "cpu": (100.0, "percent"),
    "memory": (100.0, "percent"),
    "gpu": (100.0, "percent"),
    "latency": (1e6, "milliseconds"),
    "loss": (100.0, "percent"),
    "bandwidth": (1e6, "Mbit/s"),
    "budget": (1e6, "USD"),
}
_STATES = ("offline", "degraded", "hot")
KNOWN = (*_STATES, *(f"{name}=" for name in _READINGS))


class SimulatedAgent(BaseAgent):
    """Says what it was told to say. Hooked, it takes the place of the agent of its name."""

    def __init__(self, name: str, report: AgentReport) -> None:
        super().__init__(name)
        self._report = replace(report, reason=f"{report.reason} (simulated)")

    async def check(self, **kwargs: object) -> AgentReport:
        """The same at every prompt."""
        return self._report

    def peek(self) -> AgentReport:
        """The same without waiting."""
        return self._report


class Simulation(NamedTuple):
    """Agents to hook, and the cost limit in USD, `None` where none is simulated."""

    agents: tuple[SimulatedAgent, ...]
    max_cost_usd: float | None = None


def simulated(text: str) -> Simulation:
    """What `offline,battery=9,budget=0,cpu=95` stands for. What is not named is taken as it is.

    Raises:
        InvalidRequest: A name is unknown (the nearest is told), or a value makes no sense.
    """
    states, readings = _parse(text)
    found: dict[str, AgentReport] = {}
    if "offline" in states:
        found["connectivity_monitor"] = _OFFLINE
    elif (quality := _quality(states, readings)) is not None:
        found["connectivity_monitor"] = ConnectivityAgent().judge(quality)
    if (machine := _machine(readings)) is not None:
        found["resource_monitor"] = ResourceMonitor().judge(machine)
    if (power := _power(states, readings)) is not None:
        found["power"] = PowerAgent().judge(power)
    agents = tuple(SimulatedAgent(name, report) for name, report in found.items())
    return Simulation(agents, readings.get("budget"))


def _parse(text: str) -> tuple[set[str], dict[str, float]]:
    states: set[str] = set()
    readings: dict[str, float] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (part.strip() for part in item.partition("="))
        if name in _READINGS:
            readings[name] = _number(name, value)
        elif name in _STATES and not equals:
            states.add(name)
        else:
            raise _unknown(item, name)
    if "offline" in states and (others := sorted({"degraded", "latency", "loss", "bandwidth"} & {*states, *readings})):
        raise InvalidRequest(f"Offline there is no {' and no '.join(others)}.", hint="Leave one of them out.")
    return states, readings


def _unknown(item: str, name: str) -> InvalidRequest:
    if name in _STATES:
        return InvalidRequest(f"{item!r}: {name} takes no value.", hint=f"Write --simulate {name}.")
    return InvalidRequest(f"{item!r} cannot be simulated.", hint=known_hint(name, (*_STATES, *_READINGS)))


def _number(name: str, text: str) -> float:
    most, unit = _READINGS[name]
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = float("nan")
    if not 0 <= value <= most:
        raise InvalidRequest(f"{name}={text} is no number from 0 to {most:g}.", hint=f"Give {unit}, e.g. {name}=9.")
    return value


def _quality(states: set[str], readings: Mapping[str, float]) -> Quality | None:
    """The network that is described, `None` where it is not. A degraded one has twice the latency that is still good."""
    told = Quality(readings.get("latency"), readings.get("loss"), readings.get("bandwidth"))
    if "degraded" in states and told.latency_ms is None:
        told = told._replace(latency_ms=2 * ConnectivityAgent().latency_threshold)
    return None if told == Quality() else told


def _machine(readings: Mapping[str, float]) -> Machine | None:
    """The machine that is described, `None` where it is not; what is not told of it is not known, but its processor counts as idle."""
    if not {"cpu", "memory", "gpu"} & readings.keys():
        return None
    gpus = (Gpu("simulated", readings["gpu"], 0.0),) if "gpu" in readings else ()
    cpu = readings.get("cpu", None if "memory" in readings else 0.0)
    return Machine(cpu, 1, memory_percent=readings.get("memory"), gpus=gpus, source="simulated")


def _power(states: set[str], readings: Mapping[str, float]) -> Power | None:
    """The battery and the heat that are described, `None` where they are not. A battery that is named is what the machine runs on."""
    percent = readings.get("battery")
    if percent is None and "hot" not in states:
        return None
    battery = None if percent is None else Battery(percent, False, True, source="simulated")
    return Power(battery, Heat(None, True, source="simulated") if "hot" in states else None, source="simulated")
