"""What the machine lives on, as PowerAgent tells of it."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix import OblixClient
from oblix.agents import AgentReport, PowerAgent
from oblix.agents.power import COOLED
from oblix.agents.power_reading import INTERVAL, INTERVAL_MAC, Power, PowerProbe
from oblix.agents.probes.battery import Battery
from oblix.agents.probes.gpu import Gpu, GpuProbe
from oblix.agents.probes.heat import Heat
from oblix.agents.probes.system import HERE, System
from oblix.agents.sensor import Sample
from oblix.client.surroundings import ClientSurroundings
from oblix.errors import ConfigurationError
from oblix.testing import ScriptedModel
from oblix.types.attempt import Attempt

from .probes.machines import RECORDED, nobody, recorded, write, written

FULL = Battery(90.0, False, True)
NOTHING: dict[str, Any] = {
    "battery_percent": None,
    "charging": None,
    "on_battery": None,
    "discharge_watts": None,
    "minutes_left": None,
    "temperature_celsius": None,
    "throttled": None,
    "watts": None,
    "joules_per_token": {},
    "source": None,
}
RAPL = "sys/class/powercap/intel-rapl:0"


def wait_until(true: Callable[[], object]) -> None:
    """Wall clocks only guard against hanging."""
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        threading.Event().wait(0.005)


async def look(agent: PowerAgent) -> AgentReport:
    """A report, once there was a first reading."""
    await agent.initialize()
    try:
        async with asyncio.timeout(20):
            while (report := await agent.check()).stale:
                await asyncio.sleep(0.01)
        return report
    finally:
        await agent.shutdown()


def battery(
    percent: float, *, charging: bool | None = False, on_battery: bool | None = True, watts: float | None = None
) -> Power:
    return Power(Battery(percent, charging, on_battery, discharge_watts=watts))


# --- what a reading means ---


@pytest.mark.parametrize(
    ("power", "state", "sparing", "reason"),
    [
        (Power(), "unknown", False, "no battery, and no sensor of heat"),
        (battery(80), "sufficient", False, "battery 80 %, not charging"),
        (battery(20), "sufficient", False, "battery 20 %, not charging"),
        (battery(19.9), "low", True, "battery 20 %, not charging"),
        (battery(9), "low", True, "battery 9 %, not charging"),
        (battery(9, charging=True, on_battery=False), "sufficient", False, "battery 9 %, charging"),
        (battery(9, on_battery=False), "sufficient", False, "battery 9 %, on mains"),
        # At a charger that is too weak it gets emptier all the same.
        (battery(9, on_battery=False, watts=4.0), "low", True, "battery 9 %, not charging"),
        # Nobody tells whether a charger is there: that is no reason to spare.
        (battery(9, charging=None, on_battery=None), "sufficient", False, "battery 9 %, not charging"),
        (Power(Battery(None, False, True)), "sufficient", False, "battery, not charging"),
        (Power(heat=Heat(61.4, False)), "sufficient", False, "61 °C"),
        (Power(heat=Heat(None, False)), "sufficient", False, "not slowed down by heat"),
        (Power(heat=Heat(99.0, None)), "sufficient", False, "99 °C"),
        (Power(heat=Heat(99.0, True, "acpitz 99 °C (limit 95 °C)")), "hot", True, "slowed down by heat (acpitz 99 °C (limit 95 °C))"),
        (Power(heat=Heat(None, True)), "hot", True, "slowed down by heat"),
        (Power(FULL, Heat(61.0, False)), "sufficient", False, "battery 90 %, not charging, 61 °C"),
        (Power(FULL, Heat(61.0, True)), "hot", True, "battery 90 %, not charging, slowed down by heat"),
        # Both: the battery is what ends.
        (Power(Battery(5.0, False, True), Heat(99.0, True)), "low", True, "battery 5 %, not charging, slowed down by heat"),
    ],
)  # fmt: skip
def test_states(power: Power, state: str, sparing: bool, reason: str) -> None:
    report = PowerAgent().judge(power)
    assert (report.state, report.sparing, report.reason) == (state, sparing, reason)
    assert (report.proceed, report.target, report.lean, report.vote) == (True, "hybrid", None, None)


BATTERIES = st.builds(
    Battery,
    st.none() | st.floats(0, 100),
    st.none() | st.booleans(),
    st.none() | st.booleans(),
    discharge_watts=st.none() | st.floats(0, 100),
)
HEATS = st.builds(Heat, st.none() | st.floats(0, 130), st.none() | st.booleans())


@given(BATTERIES, st.none() | HEATS, st.floats(0, 100), st.booleans(), st.booleans())
def test_more_charge_or_a_charger_never_makes_it_scarcer(
    battery: Battery, heat: Heat | None, more: float, was_low: bool, was_hot: bool
) -> None:
    agent = PowerAgent(hot=90.0)

    def is_low(battery: Battery) -> bool:
        return agent.judge(Power(battery, heat), was_low=was_low, was_hot=was_hot).state == "low"

    if not is_low(battery):
        fuller = min(100.0, (battery.percent or 0.0) + more)
        assert battery.percent is None or not is_low(replace(battery, percent=fuller))
    assert not is_low(replace(battery, charging=True, on_battery=False))


@given(st.none() | BATTERIES, st.none() | HEATS, st.booleans(), st.booleans())
def test_it_votes_for_nothing_and_every_report_is_json(
    battery: Battery | None, heat: Heat | None, was_low: bool, was_hot: bool
) -> None:
    report = PowerAgent(hot=90.0).judge(Power(battery, heat), was_low=was_low, was_hot=was_hot)
    assert (report.proceed, report.vote, report.lean) == (True, None, None)
    assert report.sparing == (report.state in ("low", "hot"))
    assert (report.state == "unknown") <= (battery is None and heat is None)
    assert report.reason
    assert json.loads(json.dumps(report.to_dict()))["state"] == report.state
    assert set(report.metrics) == set(NOTHING)


def test_limits_are_the_users() -> None:
    assert PowerAgent(low=50).judge(battery(49.0)).state == "low"
    assert PowerAgent(low=5).judge(battery(6.0)).state == "sufficient"
    agent = PowerAgent(hot=80)
    assert agent.judge(Power(heat=Heat(79.9, False))).state == "sufficient"
    assert (agent.judge(Power(heat=Heat(80.0, False))).state, agent.judge(Power(heat=Heat(80.0, False))).reason) == (
        "hot",
        "hot (80 °C)",
    )
    assert agent.judge(Power(heat=Heat(None, None))).state == "sufficient"


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"low": 0}, "low=0 is no number in its range"),
        ({"low": 100.1}, "low=100.1 is"),
        ({"low": "20"}, "low='20' is"),
        ({"low": True}, "low=True is"),
        ({"low": float("nan")}, "low=nan is"),
        ({"hot": 20}, "hot=20 is"),
        ({"hot": 200.0}, "hot=200.0 is"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(limits: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as failed:
        PowerAgent(**limits)
    assert "above" in (failed.value.hint or "")


class Story:
    """An agent whose sensor reads what it is told to, when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **limits: Any) -> None:
        self.agent = PowerAgent(**limits)
        self._now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self._now)

    def __call__(self, power: Power, after: float = 10.0) -> str:
        self._now += after
        self.agent._sensor.latest = Sample(power, self._now)
        report = self.agent.peek()
        assert report is not None
        assert self.agent.peek() is report  # judged once
        return report.state


def test_a_gauge_that_goes_up_and_down_around_the_limit_turns_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch)
    assert [story(battery(percent)) for percent in (21, 20, 19, 20, 21, 22, 22.9, 23, 22, 20, 19)] == [
        *("sufficient", "sufficient", "low", "low", "low", "low", "low"),
        *("sufficient", "sufficient", "sufficient", "low"),
    ]


def test_a_charger_counts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch)
    assert story(battery(10)) == "low"
    assert story(battery(10, charging=True, on_battery=False)) == "sufficient"
    assert story(battery(10)) == "low"


def test_heat_that_comes_and_goes_turns_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch)
    cool, hot = Power(heat=Heat(70.0, False)), Power(heat=Heat(99.0, True))
    assert [story(power) for power in (cool, hot, cool, hot, cool, cool)] == ["sufficient", *["hot"] * 5]
    assert story.agent.peek() == AgentReport(
        state="hot",
        reason="hot a moment ago (70 °C)",
        metrics={**NOTHING, "temperature_celsius": 70.0, "throttled": False},
        sparing=True,
    )
    assert [story(cool) for _ in range(4)] == ["hot", "hot", "hot", "sufficient"]
    assert story(Power(heat=Heat(None, True)), COOLED) == "hot"
    assert story(Power()) == "hot"
    assert story(Power(), COOLED) == "unknown"


def test_degrees_around_the_users_limit_turn_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch, hot=80.0)
    warm, hot = Power(heat=Heat(76.0, False)), Power(heat=Heat(81.0, False))
    assert story(warm) == "sufficient"
    assert story(hot) == "hot"
    assert {story(warm, COOLED - 1) for _ in range(5)} == {"hot"}
    assert story(Power(heat=Heat(74.0, False)), COOLED) == "sufficient"
    assert story(warm) == "sufficient"


# --- recorded machines ---


@pytest.mark.parametrize(
    ("machine", "state", "metrics"),
    [
        ("linux-laptop", "sufficient",
         {"battery_percent": 43.0, "charging": False, "on_battery": True, "discharge_watts": 12.255, "minutes_left": 120.0, "watts": 12.255,
          "temperature_celsius": 64.0, "throttled": False, "source": "sysfs"}),
        ("linux-desktop-amd", "sufficient", {"temperature_celsius": 67.125, "source": "sysfs"}),
        ("linux-container", "unknown", {}),
        ("mac-m2", "low",
         {"battery_percent": 14.0, "charging": False, "on_battery": True, "discharge_watts": 12.6, "minutes_left": 31.0, "watts": 12.6,
          "throttled": False, "source": "ioreg, notifyutil"}),
        ("mac-intel", "hot", {"battery_percent": 100 * 6021 / 7234, "charging": True, "on_battery": False, "throttled": True,
                              "source": "ioreg, pmset"}),
        ("windows", "sufficient", {"battery_percent": 57.0, "charging": False, "on_battery": True, "minutes_left": 133.0,
                                   "source": "psutil"}),
    ],
)  # fmt: skip
def test_recorded_machines(machine: str, state: str, metrics: dict[str, Any]) -> None:
    report = asyncio.run(look(PowerAgent(system=recorded(machine))))
    assert report.state == state
    assert report.metrics == NOTHING | metrics
    assert json.loads(json.dumps(report.to_dict()))["metrics"] == report.metrics


def test_a_graphics_processor_that_is_slowed_down_by_heat_counts(tmp_path: Path) -> None:
    shutil.copytree(RECORDED / "linux-desktop-amd", tmp_path, dirs_exist_ok=True)
    figures = bytes([120, 0, 1, 3]) + bytes(108) + (1 << 36).to_bytes(8, "little")
    write(tmp_path, {"sys/class/drm/card0/device/gpu_metrics": figures})

    async def main() -> AgentReport:
        agent = PowerAgent(system=System(tmp_path, "linux"))
        await agent.initialize()
        async with asyncio.timeout(20):
            while (report := await agent.check()).state != "hot":
                agent._sensor.poke()
                await asyncio.sleep(0.01)
        await agent.shutdown()
        return report

    report = asyncio.run(main())
    assert report.reason == "slowed down by heat (AMD GPU 0x744c lowers its clocks)"
    assert report.sparing
    assert (report.metrics["temperature_celsius"], report.metrics["throttled"]) == (67.125, True)


def test_nothing_is_invented_on_this_machine() -> None:
    """Where the real one has no sensor, each figure is `None`."""
    has_battery = any(Path("/sys/class/power_supply").glob("BAT*"))
    has_heat = any(Path("/sys/class/thermal").glob("*")) or any(Path("/sys/class/hwmon").glob("*"))
    has_counters = any(Path("/sys/class/powercap").glob("intel-rapl*"))
    report = asyncio.run(look(PowerAgent()))
    if not has_battery:
        found = {
            name: report.metrics[name]
            for name in ("battery_percent", "charging", "on_battery", "discharge_watts", "minutes_left")
        }
        assert set(found.values()) == {None}
    if not has_heat:
        assert (report.metrics["temperature_celsius"], report.metrics["throttled"]) == (None, None)
    if not has_counters:
        assert (report.metrics["watts"], report.metrics["joules_per_token"]) == (None, {})
    if not (has_battery or has_heat or has_counters):
        assert report == AgentReport(reason="no battery, and no sensor of heat", metrics=NOTHING)
    if not Path("/dev/nvidiactl").exists() and not any(Path("/sys/class/drm").glob("card*")):
        assert GpuProbe(nobody, HERE).read() == ()


# --- energy ---


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float, float], Power]]:
    """A machine with a counter, of which each call reads so many seconds later, when it has taken so many watts meanwhile."""
    now, microjoules = 1000.0, 0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    counter = {f"{RAPL}/name": "package-0", f"{RAPL}/energy_uj": 0, f"{RAPL}/max_energy_range_uj": 2**40}
    probe = PowerProbe("p", written(tmp_path, counter))
    probe._counter._clock = time.monotonic

    def go(seconds: float, watts: float, answers: str = "") -> Power:
        nonlocal now, microjoules
        now, microjoules = now + seconds, microjoules + int(1e6 * seconds * watts)
        write(tmp_path, {f"{RAPL}/energy_uj": microjoules})
        if answers:
            probe.answered(Attempt(answers, "edge", "ok", total=seconds, output_tokens=100), now)
        return probe.read()

    go.probe = probe  # type: ignore[attr-defined]
    yield go
    probe.stop()


def test_joules_per_token(counting: Callable[..., Power]) -> None:
    counting(0, 0)
    assert counting(10, 8.0) == Power(watts=8.0, source="rapl")
    for _ in range(2):
        counting(10, 8.0)
    assert counting(4, 33.0, "ollama:phi").joules_per_token == {"ollama:phi": pytest.approx(1.0)}
    assert counting(1, 8.0).joules_per_token == {"ollama:phi": pytest.approx(1.0)}


def test_readings_are_close_together_while_models_work(counting: Callable[..., Power]) -> None:
    probe: PowerProbe = counting.probe  # type: ignore[attr-defined]
    attempt = Attempt("ollama:phi", "edge", "ok", total=1.0, output_tokens=9)
    assert not probe.answered(attempt, 0.0)  # nothing was measured yet
    counting(0, 0)
    counting(10, 8.0)
    assert probe.interval() == INTERVAL
    assert probe.answered(attempt, time.monotonic())
    assert not probe.answered(attempt, time.monotonic())  # it is known by now
    assert probe.interval() == 1.0
    counting(31, 8.0)
    assert probe.interval() == INTERVAL
    assert PowerProbe("m", recorded("mac-m2")).interval() == INTERVAL_MAC


def test_without_a_counter_the_battery_tells_what_a_long_answer_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    shutil.copytree(RECORDED / "linux-laptop", tmp_path, dirs_exist_ok=True)
    probe = PowerProbe("p", System(tmp_path, "linux"))

    def go(seconds: float, watts: float) -> Power:
        nonlocal now
        write(tmp_path, {"sys/class/power_supply/BAT0/power_now": int(1e6 * watts)})
        now += seconds
        return probe.read()

    go(0, 12.0)
    for _ in range(6):
        assert go(10, 12.0).watts == pytest.approx(12.0)
    began = now
    for _ in range(8):
        go(10, 32.0)
    probe.answered(Attempt("ollama:phi", "edge", "ok", total=now - began, output_tokens=800), now)
    power = go(10, 12.0)
    assert power.joules_per_token == {"ollama:phi": pytest.approx(2.0)}
    assert power.source == "sysfs"
    write(tmp_path, {"sys/class/power_supply/BAT0/status": "Charging", "sys/class/power_supply/AC/online": 1})
    assert (go(10, 30.0).watts, go(10, 30.0).watts) == (None, None)


def test_counters_behind_a_driver_that_has_hung_are_told_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    probe = PowerProbe("p", recorded("linux-container"))
    for at, joules in [(990.0, 0.0), (1000.0, 700.0)]:
        probe._uses["nvml"].sampled(at, joules)
    probe._gpus.latest = Sample((), now)
    assert probe.read() == Power(watts=70.0, source="nvml")
    now += 3 * INTERVAL + 1
    assert probe.read() == Power()


def test_the_battery_pays_for_all_and_is_not_added_to_the_processor(counting: Callable[..., Power]) -> None:
    probe: PowerProbe = counting.probe  # type: ignore[attr-defined]
    bay = {"type": "Battery", "status": "Discharging", "capacity": 50, "power_now": 20_000_000}
    write(probe._system.path("/"), {f"sys/class/power_supply/BAT0/{name}": value for name, value in bay.items()})
    counting(0, 0)
    power = counting(10, 8.0)
    assert (power.watts, power.source) == (8.0, "sysfs, rapl")
    assert power.battery is not None
    assert power.battery.discharge_watts == 20.0


def test_devices_that_come_and_go_are_no_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum over two devices is not the counter of one."""
    now, joules = 1000.0, [(100.0, 900.0), (200.0, 1000.0), (300.0,), (400.0,), (500.0, 1300.0), (600.0, 1400.0), ()]
    monkeypatch.setattr(time, "monotonic", lambda: now)

    class Graphics(GpuProbe):
        def read(self) -> tuple[Gpu, ...]:
            return tuple(Gpu("one", 0.0, 0.0, energy_joules=each) for each in joules.pop(0))

    probe = PowerProbe("p", recorded("linux-container"))
    probe._graphics = Graphics(nobody, HERE)
    watts = []
    while joules:
        probe._read_gpus()
        watts.append(probe._uses["nvml"].watts)
        now += 10.0
    assert watts == [None, 20.0, None, 10.0, None, 20.0, None]


def test_only_what_ran_here_is_counted(counting: Callable[..., Power]) -> None:
    agent = PowerAgent()
    told: list[Attempt] = []
    agent._probe.answered = lambda attempt, now: bool(told.append(attempt))  # type: ignore[method-assign, func-returns-value]
    near, far = ScriptedModel("ollama:phi", "here"), ScriptedModel("ollama:far", "there")
    far.spec = replace(far.spec, endpoint="http://192.168.7.7:11434")
    surroundings = ClientSurroundings({model.spec.id: model for model in (near, far)})
    surroundings.refresh()
    agent.attach(surroundings)
    here = Attempt("ollama:phi", "edge", "ok", total=1.0, output_tokens=9)
    agent.notice(here)  # not started: nothing is measured
    agent.is_active = True
    agent.notice(Attempt("openai:gpt-4", "cloud", "ok", total=1.0, output_tokens=9))
    agent.notice(Attempt("ollama:phi", "edge", "postponed"))
    agent.notice(replace(here, model_id="ollama:far"))  # on another machine
    agent.notice(here)
    assert told == [here]


# --- in a client ---


def test_in_a_client_it_is_asked_and_told(tmp_path: Path) -> None:
    shutil.copytree(RECORDED / "mac-m2", tmp_path, dirs_exist_ok=True)

    async def main() -> None:
        async with OblixClient(store=":memory:") as client:
            client.hook(ScriptedModel("ollama:phi", "here"))
            client.hook_agent(PowerAgent(system=System(tmp_path, "darwin")))
            for _ in range(300):
                reply = await client.execute("hi")
                if not reply.agent_checks["power"].stale:
                    break
            assert reply.agent_checks["power"]["state"] == "low"
            assert reply.agent_checks["power"]["sparing"] is True

    asyncio.run(main())


class SlowToFind(GpuProbe):
    """Graphics processors that it takes a moment to find."""

    def __init__(self) -> None:
        super().__init__(nobody, HERE)
        self.looked, self.found = threading.Event(), threading.Event()

    def is_present(self) -> bool:
        self.looked.set()
        return self.found.wait(30)

    def read(self) -> tuple[Gpu, ...]:
        return ()


def test_an_agent_that_is_stopped_while_it_reads_leaves_no_thread() -> None:
    agent = PowerAgent("stopped-power", system=recorded("linux-laptop"))
    graphics = agent._probe._graphics = SlowToFind()

    async def main() -> None:
        await agent.initialize()
        await asyncio.to_thread(graphics.looked.wait, 30)
        await agent.shutdown()
        graphics.found.set()

    asyncio.run(main())
    wait_until(lambda: not [thread for thread in threading.enumerate() if "stopped-power" in thread.name])


def test_one_client_s_end_takes_nothing_from_another_that_uses_the_same_agent() -> None:
    agent = PowerAgent("shared-power", system=recorded("linux-laptop"))

    async def main() -> None:
        await agent.initialize()
        await agent.shutdown()
        await agent.check()
        assert agent._probe._is_on  # graphics processors are read as well
        await agent.shutdown()

    asyncio.run(main())


def test_nothing_is_read_before_the_first_prompt() -> None:
    agent = PowerAgent()
    assert agent.peek() is None
    assert not agent.is_active


def test_an_agent_that_is_dropped_leaves_no_thread() -> None:
    agent = PowerAgent("dropped-power", system=recorded("linux-laptop"))
    agent._sensor.start()
    assert [thread for thread in threading.enumerate() if thread.name == "oblix-sensor-dropped-power"]
    del agent
    gc.collect()
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "oblix-sensor-dropped-power"])


def test_a_battery_whose_driver_hangs_holds_up_neither_a_prompt_nor_the_exit(tmp_path: Path) -> None:
    """A file that never answers: a pipe that nobody writes to."""
    bay = tmp_path / "sys/class/power_supply/BAT0"
    write(tmp_path, {"sys/class/power_supply/BAT0/type": "Battery"})
    os.mkfifo(bay / "status")
    program = f"""
import asyncio
from pathlib import Path
from oblix import OblixClient
from oblix.agents import PowerAgent
from oblix.agents.probes.system import System
from oblix.testing import ScriptedModel

async def main():
    client = OblixClient(store=":memory:")
    client.hook(ScriptedModel("ollama:phi", "here"))
    client.hook_agent(PowerAgent(system=System(Path({str(tmp_path)!r}), "linux")))
    for _ in range(3):
        reply = await client.execute("hi")
        report = reply.agent_checks["power"]
        print(reply, report.state, report.stale, report.sparing, report.reason)

asyncio.run(main())
"""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout == "here unknown True False no reading within 90 ms\n" * 3
    assert (ran.returncode, ran.stderr) == (0, "")
