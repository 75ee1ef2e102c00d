"""Simulated readings, judged by the thresholds of the real agents."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.agents.simulated import SimulatedAgent, simulated
from oblix.errors import InvalidRequest
from oblix.types.report import AgentReport


def reports(text: str) -> dict[str, AgentReport]:
    return {agent.name: agent.peek() for agent in simulated(text).agents}


@pytest.mark.parametrize(
    ("text", "name", "found"),
    [
        ("offline", "connectivity_monitor", ("disconnected", "local", None, "no network route")),
        ("degraded", "connectivity_monitor", ("degraded", "hybrid", "edge", "latency 400 ms is above 200 ms")),
        ("latency=900", "connectivity_monitor", ("degraded", "hybrid", "edge", "latency 900 ms is above 200 ms")),
        ("degraded,latency=20", "connectivity_monitor", ("optimal", "hybrid", None, "20 ms")),
        ("latency=20,loss=2", "connectivity_monitor", ("optimal", "hybrid", None, "20 ms, 2 % loss")),
        ("loss=20", "connectivity_monitor", ("degraded", "hybrid", "edge", "packet loss 20 % is above 10 %")),
        ("bandwidth=1", "connectivity_monitor", ("degraded", "hybrid", "edge", "bandwidth 1 Mbit/s is below 5 Mbit/s")),
        ("cpu=95", "resource_monitor", ("critical", "cloud", None, "CPU 95 % (limit 90 %)")),
        ("cpu=85", "resource_monitor", ("constrained", "hybrid", "cloud", "CPU 85 % (limit 80 %)")),
        ("cpu=5", "resource_monitor", ("available", "hybrid", None, "machine idle (CPU 5 %)")),
        ("memory=97%", "resource_monitor", ("critical", "cloud", None, "memory 97 % (limit 95 %)")),
        ("gpu=99", "resource_monitor", ("critical", "cloud", None, "GPU 99 % (limit 95 %)")),
        (
            "cpu=50, memory=60",
            "resource_monitor",
            ("available", "hybrid", None, "machine free (CPU 50 %, memory 60 %)"),
        ),
        ("battery=9", "power", ("low", "hybrid", None, "battery 9 %, not charging")),
        ("battery=80", "power", ("sufficient", "hybrid", None, "battery 80 %, not charging")),
        ("battery=20", "power", ("sufficient", "hybrid", None, "battery 20 %, not charging")),
        ("hot", "power", ("hot", "hybrid", None, "slowed down by heat")),
        ("hot,battery=80", "power", ("hot", "hybrid", None, "battery 80 %, not charging, slowed down by heat")),
        ("hot,battery=5", "power", ("low", "hybrid", None, "battery 5 %, not charging, slowed down by heat")),
    ],
)
def test_a_reading_is_reported_as_the_real_agent_would(text: str, name: str, found: tuple[Any, ...]) -> None:
    state, target, lean, reason = found
    assert set(reports(text)) == {name}
    report = reports(text)[name]
    assert (report.state, report.target, report.lean, report.reason) == (state, target, lean, f"{reason} (simulated)")


def test_several_at_once_and_a_budget() -> None:
    simulation = simulated("offline, battery=9 ,budget=0,cpu=95")
    assert [agent.name for agent in simulation.agents] == ["connectivity_monitor", "resource_monitor", "power"]
    assert simulation.max_cost_usd == 0.0


def test_nothing_is_simulated_by_nothing() -> None:
    assert simulated("") == ((), None)
    assert simulated(" , ") == ((), None)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("offlin", "'offlin' cannot be simulated", "Did you mean 'offline'?"),
        ("batery=9", "'batery=9' cannot be simulated", "Did you mean 'battery'?"),
        ("cpu", "cpu= is no number from 0 to 100", "percent"),
        ("cpu=lots", "cpu=lots is no number from 0 to 100", "percent"),
        ("cpu=101", "cpu=101 is no number from 0 to 100", "percent"),
        ("cpu=nan", "cpu=nan is no number from 0 to 100", "percent"),
        ("latency=-1", "latency=-1 is no number from 0 to", "milliseconds"),
        ("budget=inf", "budget=inf is no number from 0 to", "USD"),
        ("offline=1", "offline takes no value", "--simulate offline"),
        ("hot=99", "hot takes no value", "--simulate hot"),
        ("offline,loss=3,degraded", "Offline there is no degraded and no loss", "Leave one"),
    ],
)
def test_what_cannot_be_simulated_is_a_clear_error(text: str, message: str, hint: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as failed:
        simulated(text)
    assert failed.value.hint is not None
    assert hint in failed.value.hint


@given(st.text(max_size=40))
def test_no_text_raises_anything_else(text: str) -> None:
    with suppress(InvalidRequest):
        simulated(text)


@pytest.mark.parametrize(
    ("text", "sparing"),
    [("battery=9", True), ("hot", True), ("battery=80", False), ("cpu=95", False), ("offline", False)],
)
def test_what_is_scarce_is_to_be_spared(text: str, sparing: bool) -> None:
    assert {report.sparing for report in reports(text).values()} == {sparing}


def test_a_simulated_battery_is_no_sensor() -> None:
    metrics = reports("battery=9")["power"].metrics
    told = {name: value for name, value in metrics.items() if value not in (None, {})}
    assert told == {"battery_percent": 9.0, "charging": False, "on_battery": True, "source": "simulated"}


def test_asked_in_full_it_says_the_same() -> None:
    agent = SimulatedAgent("mine", AgentReport(state="fine", reason="because"))
    assert (
        asyncio.run(agent.check(prompt="hi")) == agent.peek() == AgentReport(state="fine", reason="because (simulated)")
    )
