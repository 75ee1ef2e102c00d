"""The machine as ResourceMonitor tells of it: thresholds, states, and whose load it is."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from oblix.agents import AgentReport, ResourceMonitor
from oblix.agents.probes.machine import Machine
from oblix.errors import ConfigurationError
from oblix.types.traffic import Endpoint

IDLE: dict[str, Any] = {
    "cpu_percent": 5.0,
    "cores": 2,
    "memory_percent": 40.0,
    "pressure_cpu_percent": 0.0,
    "load_1min": 0.1,
}
Recorded = Callable[..., AgentReport]


class Around:
    """What a client would tell."""

    def __init__(self, *processes: int, server: bool = False) -> None:
        self._processes, self._server = frozenset(processes), server

    def cloud_endpoints(self) -> tuple[Endpoint, ...]:
        return ()

    def inference_processes(self) -> frozenset[int]:
        return self._processes

    def has_local_server(self) -> bool:
        return self._server

    def runs_here(self, model_id: str) -> bool:
        return True

    def spent(self, period: str) -> None:
        return None

    def network_changed(self) -> None:
        raise AssertionError("a machine has no network to tell of")


async def look(monitor: ResourceMonitor) -> AgentReport:
    await monitor.initialize()
    try:
        return await monitor.check()
    finally:
        await monitor.shutdown()


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """The report on a machine that reads as given."""

    def judge(thresholds: dict[str, float] | None = None, **readings: Any) -> AgentReport:
        file = tmp_path / "machine.json"
        file.write_text(json.dumps({"recorded": "by hand", **IDLE, **readings}))
        monkeypatch.setenv("OBLIX_READINGS", str(file))
        for thread in threading.enumerate():
            if thread.name == "oblix-sensor-machine":
                thread.join(2.0)  # it may be half-way through the reading of an earlier test, and would hand that to us
        return asyncio.run(look(ResourceMonitor(custom_thresholds=thresholds)))

    return judge


def gpu(load: float) -> dict[str, Any]:
    return {"gpus": [{"name": "H100", "load_percent": load, "memory_percent": 10.0}]}


NO_PRESSURE = {"pressure_cpu_percent": None}


@pytest.mark.parametrize(
    ("readings", "state", "reason"),
    [
        ({}, "available", "machine idle (CPU 5 %, memory 40 %)"),
        ({"cpu_percent": 79.9}, "available", "machine free (CPU 80 %, memory 40 %)"),
        ({"cpu_percent": 80.0}, "constrained", "CPU 80 % (limit 80 %)"),
        ({"cpu_percent": 90.0}, "critical", "CPU 90 % (limit 90 %)"),
        ({"memory_percent": 84.9}, "available", "machine idle (CPU 5 %, memory 85 %)"),
        ({"memory_percent": 85.0}, "constrained", "memory 85 % (limit 85 %)"),
        ({"memory_percent": 95.0}, "critical", "memory 95 % (limit 95 %)"),
        (gpu(84.0), "available", "machine idle (CPU 5 %, memory 40 %)"),
        (gpu(85.0), "constrained", "GPU 85 % (limit 85 %)"),
        (gpu(95.0), "critical", "GPU 95 % (limit 95 %)"),
        ({"cpu_percent": 97.0, "memory_percent": 99.0}, "critical", "CPU 97 % (limit 90 %), memory 99 % (limit 95 %)"),
        ({"cpu_percent": 85.0, "memory_percent": 99.0}, "critical", "memory 99 % (limit 95 %)"),
        ({"cpu_percent": 50.0, "pressure_cpu_percent": 60.0}, "constrained", "tasks waited for the CPU 60 % of the time"),
        ({"cpu_percent": 49.0, "pressure_cpu_percent": 99.0}, "available", "machine free (CPU 49 %, memory 40 %)"),
        ({"load_1min": 64.0}, "available", "machine idle (CPU 5 %, memory 40 %)"),
        ({**NO_PRESSURE, "load_1min": 3.9}, "available", "machine idle (CPU 5 %, memory 40 %)"),
        ({**NO_PRESSURE, "load_1min": 4.0}, "constrained", "load 4.0 (limit 4)"),
        ({**NO_PRESSURE, "load_1min": 15.9, "cores": 8}, "available", "machine idle (CPU 5 %, memory 40 %)"),
        ({**NO_PRESSURE, "load_1min": 16.0, "cores": 8}, "constrained", "load 16.0 (limit 16)"),
        ({"cpu_percent": None}, "available", "machine free (CPU unknown, memory 40 %)"),
        ({"memory_percent": None}, "available", "machine idle (CPU 5 %)"),
        ({"cpu_percent": None, "memory_percent": 97.0}, "critical", "memory 97 % (limit 95 %)"),
        ({"cpu_percent": None, "memory_percent": None}, "unknown", "neither processor nor memory can be read"),
        # A first reading, over 60 ms, needs a second witness.
        ({"settled": False, "cpu_percent": 97.0}, "available",
         "machine free as far as a first glance of 60 ms tells (CPU 97 %, not borne out by pressure, memory 40 %)"),
        ({"settled": False, "cpu_percent": 79.0}, "available", "machine free (CPU 79 %, memory 40 %)"),
        ({"settled": False, "cpu_percent": 97.0, "pressure_cpu_percent": 20.0}, "critical", "CPU 97 % (limit 90 %)"),
        ({"settled": False, "cpu_percent": 97.0, **NO_PRESSURE, "load_1min": 1.5}, "available",
         "machine free as far as a first glance of 60 ms tells (CPU 97 %, not borne out by the load, memory 40 %)"),
        ({"settled": False, "cpu_percent": 97.0, **NO_PRESSURE, "load_1min": 1.6}, "critical", "CPU 97 % (limit 90 %)"),
        # The load of our own inference is told, and does not count.
        ({"own_percent": 90.0}, "available", "machine idle (CPU 5 %, memory 40 %)"),
    ],
)  # fmt: skip
def test_states(recorded: Recorded, readings: dict[str, Any], state: str, reason: str) -> None:
    report = recorded(**readings)
    assert (report.state, report.reason) == (state, f"{reason} (recorded: machine.json)")
    speaks_for = {"critical": ("cloud", "cloud", None), "constrained": ("hybrid", None, "cloud")}
    assert (report.target, report.vote, report.lean) == speaks_for.get(state, ("hybrid", None, None))
    assert report.proceed


def test_a_report_reads_as_a_mapping_with_its_figures(recorded: Recorded) -> None:
    report = recorded(own_percent=12.34, **gpu(50.0))
    assert report["state"] == "available"
    assert report.get("target") == "hybrid"
    assert report["metrics"]["own_inference_percent"] == 12.3
    (card,) = report["metrics"]["gpus"]
    assert (card["name"], card["load_percent"], card["memory_percent"], card["free_bytes"]) == (
        "H100",
        50.0,
        10.0,
        None,
    )
    assert report["metrics"]["source"] == "recorded: machine.json"
    assert json.loads(json.dumps(report.to_dict()))["metrics"]["cpu_percent"] == 5.0


# --- thresholds ---


@pytest.mark.parametrize(
    ("thresholds", "readings", "state"),
    [
        ({"cpu_threshold": 50}, {"cpu_percent": 50.0}, "constrained"),
        ({"critical_cpu": 85}, {"cpu_percent": 85.0}, "critical"),
        ({"memory_threshold": 30}, {}, "constrained"),
        ({"critical_memory": 90}, {"memory_percent": 90.0}, "critical"),
        ({"gpu_threshold": 10}, gpu(10.0), "constrained"),
        ({"critical_gpu": 90}, gpu(90.0), "critical"),
        ({"load_threshold": 1.5}, {**NO_PRESSURE, "load_1min": 1.5}, "constrained"),
        ({"load_threshold": 100}, {**NO_PRESSURE, "load_1min": 99.0}, "available"),
        # The third program of the page: at its critical twin of 90, which is lifted half-way to 100.
        ({"cpu_threshold": 90.0}, {"cpu_percent": 89.0}, "available"),
        ({"cpu_threshold": 90.0}, {"cpu_percent": 94.0}, "constrained"),
        ({"cpu_threshold": 90.0}, {"cpu_percent": 95.0}, "critical"),
        ({"cpu_threshold": 98.0}, {"cpu_percent": 98.5}, "constrained"),
        ({"cpu_threshold": 98.0}, {"cpu_percent": 99.0}, "critical"),
        # Below the other's default: what was asked for stands.
        ({"critical_cpu": 70}, {"cpu_percent": 70.0}, "critical"),
        ({"critical_cpu": 70}, {"cpu_percent": 69.0}, "available"),
        ({"critical_memory": 50}, {"memory_percent": 51.0}, "critical"),
    ],
)  # fmt: skip
def test_thresholds_act(recorded: Recorded, thresholds: dict[str, float], readings: dict[str, Any], state: str) -> None:
    assert recorded(thresholds, **readings).state == state


def test_only_two_wishes_that_contradict_each_other_are_worth_a_warning() -> None:
    with pytest.warns(
        UserWarning, match=r"cpu_threshold=95 is not below critical_cpu=90; critical_cpu is taken as 97\.5"
    ):
        monitor = ResourceMonitor(custom_thresholds={"cpu_threshold": 95, "critical_cpu": 90})
    assert monitor.thresholds.percent["critical_cpu"] == 97.5
    for quiet in ({"cpu_threshold": 95}, {"critical_cpu": 60}, {"gpu_threshold": 90.0, "critical_gpu": 95.0}):
        ResourceMonitor(custom_thresholds=quiet)  # a warning would be an error


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("cpu_treshold", "cpu_threshold"),
        ("CPU_THRESHOLD", None),
        ("memory", "critical_memory"),
        ("critical_mem", "critical_memory"),
        ("load", "load_threshold"),
        ("gpu", "critical_gpu"),
        ("temperature_of_the_room", None),
    ],
)
def test_an_unknown_threshold_names_the_nearest(key: str, nearest: str | None) -> None:
    with pytest.raises(ConfigurationError, match=f"{key!r} is no threshold of ResourceMonitor") as failed:
        ResourceMonitor(custom_thresholds={key: 50})
    hint = failed.value.hint or ""
    assert hint.endswith(
        "Known: cpu_threshold, memory_threshold, gpu_threshold, critical_cpu, critical_memory, critical_gpu, load_threshold."
    )
    if nearest is not None:
        assert hint.startswith(f"Did you mean {nearest!r}?")


@pytest.mark.parametrize("value", ["80", True, None, 0, -1, 100.1, float("nan"), float("inf"), [80]], ids=repr)
def test_a_value_that_is_no_percentage_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"cpu_threshold=.* is no number in its range"):
        ResourceMonitor(custom_thresholds={"cpu_threshold": value})


def test_a_number_in_quotes_is_told_as_one() -> None:
    with pytest.raises(ConfigurationError, match="cpu_threshold='80' is no number in its range, but a text") as failed:
        ResourceMonitor(custom_thresholds={"cpu_threshold": "80"})  # type: ignore[dict-item]  # wrong on purpose
    assert failed.value.hint == "Write it without quotes: cpu_threshold=80."


@pytest.mark.parametrize("given", [[1], [], 80, "cpu_threshold", ("cpu_threshold", 80)], ids=repr)
def test_thresholds_that_are_no_mapping_are_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="is no mapping of names to numbers") as failed:
        ResourceMonitor(custom_thresholds=given)
    assert failed.value.hint == 'Give e.g. {"cpu_threshold": 70}.'


def test_a_name_that_is_no_text_is_unknown() -> None:
    with pytest.raises(ConfigurationError, match="80 is no threshold of ResourceMonitor"):
        ResourceMonitor(custom_thresholds={80: 80})  # type: ignore[dict-item]  # wrong on purpose


@pytest.mark.parametrize("value", [0, -3, "4", float("nan")], ids=repr)
def test_a_load_that_cannot_be_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="load_threshold"):
        ResourceMonitor(custom_thresholds={"load_threshold": value})
    assert ResourceMonitor(custom_thresholds={"load_threshold": 250}).thresholds.load == 250.0


# --- recorded readings ---


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (None, "No such file or directory"),
        ("", "truncated"),
        ("cpu 99", "malformed"),
        ("[]", "Expected `object`, got `array`"),
        ("{}", "missing required field `cpu_percent`"),
        ('{"cores": "two", "cpu_percent": 1}', "Expected `float`, got `str` - at `$.cores`"),
        ('{"cores": 0, "cpu_percent": 1}', "cores=0 is not above 0"),
        ('{"cores": 2, "cpu_percent": -4}', "cpu_percent=-4 is no percentage from 0 to 100"),
        ('{"cores": 2, "cpu_percent": 1, "gpus": [{"name": "x"}]}', "at `$.gpus[0]`"),
    ],
)  # fmt: skip
def test_a_broken_recording_is_told_and_costs_no_answer(
    text: str | None, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "machine.json"
    if text is not None:
        file.write_text(text)
    monkeypatch.setenv("OBLIX_READINGS", str(file))
    report = asyncio.run(look(ResourceMonitor()))
    assert (report.state, report.stale, report.proceed) == ("unknown", True, True)
    assert report.reason.startswith(f"OBLIX_READINGS={str(file)!r} is no recorded reading: ")
    assert wrong in report.reason
    assert report.reason.endswith(". It must be a JSON object with cpu_percent (0 to 100, or null) and cores")
    assert "is no recorded reading" in caplog.text


def test_a_misspelt_field_of_a_recording_names_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "machine.json"
    file.write_text(json.dumps({**IDLE, "pressure_cpu_percnt": 1}))
    monkeypatch.setenv("OBLIX_READINGS", str(file))
    reason = asyncio.run(look(ResourceMonitor())).reason
    assert (
        "'pressure_cpu_percnt' is none of its fields. Did you mean 'pressure_cpu_percent'? Known: cpu_percent, cores"
        in reason
    )


def test_readings_are_taken_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second; a reading younger than 3 s is taken as it stands."""
    file = tmp_path / "machine.json"
    file.write_text(json.dumps(IDLE))
    monkeypatch.setenv("OBLIX_READINGS", str(file))

    async def main() -> None:
        monitor = ResourceMonitor()
        await monitor.initialize()
        assert (await monitor.check()).state == "available"
        busy = tmp_path / "busy.json"
        busy.write_text(json.dumps({**IDLE, "cpu_percent": 99.0}))
        busy.rename(file)
        async with asyncio.timeout(20):
            while (await monitor.check()).state != "critical":
                await asyncio.sleep(0.05)
        assert monitor.peek() is not None
        await monitor.shutdown()

    asyncio.run(main())


def test_a_monitor_that_starts_again_trusts_no_old_reading(recorded: Recorded) -> None:
    recorded()

    async def main() -> None:
        monitor = ResourceMonitor()
        assert (await look(monitor)).state == "available"
        assert monitor.peek() is not None
        recorded_again = monitor._seat.latest
        await monitor.initialize()
        assert monitor._seat.latest is not recorded_again
        await monitor.shutdown()

    asyncio.run(main())


# --- real readings ---


def test_the_first_reading_is_there_within_the_deadline_of_a_check() -> None:
    report = asyncio.run(look(ResourceMonitor()))
    assert report.state in ("available", "constrained", "critical", "unknown")
    if not report.stale:
        assert report.metrics["memory_percent"] > 0
        assert report.metrics["source"] == "sensors"


def test_nothing_is_invented() -> None:
    """What this machine does not have is not told of."""
    report = asyncio.run(look(ResourceMonitor()))
    if report.stale:
        return  # no reading within 90 ms: then nothing at all is told
    assert (report.metrics["swap_percent"] is None) is (psutil.swap_memory().total == 0)
    if shutil.which("nvidia-smi") is None and not Path("/sys/class/drm").exists():
        assert report.metrics["gpus"] == []
        assert "GPU" not in report.reason


def test_the_monitor_asks_the_client_which_processes_are_ours() -> None:
    async def main(pid: int) -> AgentReport:
        monitor = ResourceMonitor()
        monitor.attach(Around(pid))
        await monitor.initialize()
        async with asyncio.timeout(30):
            while True:
                report = await monitor.check()
                if report.metrics.get("own_inference_percent", 0.0) > 5.0:
                    await monitor.shutdown()
                    return report
                await asyncio.sleep(0.1)

    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as burner:
        try:
            assert asyncio.run(main(burner.pid)).metrics["source"] == "sensors"
        finally:
            burner.kill()


def test_the_machine_itself_can_be_looked_at(recorded: Recorded) -> None:
    async def main() -> Machine | None:
        monitor = ResourceMonitor()
        assert monitor.machine() is None
        await look(monitor)
        return monitor.machine()

    recorded(cores=7)
    machine = asyncio.run(main())
    assert machine is not None
    assert machine.cores == 7


def test_nothing_is_started_before_the_first_prompt(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "oblix")
    monitor = ResourceMonitor()
    assert monitor.peek() is None
    assert not monitor.is_active
    assert caplog.records == []
