"""NVIDIA's devices, over a `pynvml` that a child process finds in place of the real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

STUBS = Path(__file__).parent / "stubs"
SECOND = 1_000_000  # microseconds
H100: dict[str, Any] = {
    "Name": "NVIDIA H100 80GB HBM3",
    "UtilizationRates": {"gpu": 97, "memory": 41},
    "MemoryInfo": {"total": 85_520_809_984, "free": 21_380_202_496, "used": 64_140_607_488},
    "TemperatureV": 61,
    "PowerUsage": 512_345,
    "TotalEnergyConsumption": 9_876_543_210,
    "CurrentClocksEventReasons": 0x4,
    "ComputeRunningProcesses": [{"pid": 11, "usedGpuMemory": 60_000_000_000}],
    "GraphicsRunningProcesses": [],
    "MigMode": [0, 0],
    "ProcessUtilization": [
        {"pid": 11, "timeStamp": 100 * SECOND, "smUtil": 90, "memUtil": 38},
        {"pid": 12, "timeStamp": 100 * SECOND, "smUtil": 6, "memUtil": 2},
        {"pid": 11, "timeStamp": 90 * SECOND, "smUtil": 50, "memUtil": 20},
        {"pid": 11, "timeStamp": 100 * SECOND, "smUtil": 4_294_967_295, "memUtil": 0},
    ],
}
Told = list[Any]


class Child:
    """Runs lines in a process of its own, where `probe`, `clock`, `driver(...)` and `tell()` are at hand."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "machine"
        self.root.mkdir()
        self._stub = folder / "nvml.json"

    def __call__(self, lines: str, *, own: tuple[int, ...] = (11,), **driver: Any) -> list[Told]:
        self._stub.write_text(json.dumps({"devices": [H100], **driver}))
        ran = self.run(PREPARE.format(own=own, root=str(self.root)) + textwrap.dedent(lines))
        assert (ran.returncode, ran.stderr) == (0, "")
        return [json.loads(line) for line in ran.stdout.splitlines()]

    def run(self, program: str, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(filter(None, (str(STUBS), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": path, "NVML_STUB": str(self._stub)}
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            env=environment, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def sysfs(self, control: str, status: str) -> None:
        device = self.root / "sys/bus/pci/devices/0000:01:00.0"
        (device / "power").mkdir(parents=True, exist_ok=True)
        for name, text in {
            "vendor": "0x10de",
            "class": "0x030000",
            "power/control": control,
            "power/runtime_status": status,
        }.items():
            (device / name).write_text(text + "\n")


PREPARE = """
import dataclasses, json, os, sys
from pathlib import Path
from oblix.agents.probes.nvidia import NvidiaProbe
from oblix.agents.probes.system import System

class Clock:
    now = 1000.0
    def __call__(self): return self.now

def driver(**changes):
    file = Path(os.environ["NVML_STUB"])
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))

def calls():
    return sys.modules["pynvml"].calls if "pynvml" in sys.modules else []

def tell(*also):
    # A reading, and what is so after it.
    print(json.dumps([dataclasses.asdict(gpu) for gpu in probe.read()] + [ask() for ask in also]))

clock = Clock()
probe = NvidiaProbe(lambda: frozenset({own}), System(Path({root!r}), "linux"), clock)
"""


@pytest.fixture
def child(tmp_path: Path) -> Child:
    return Child(tmp_path)


def changed(**changes: Any) -> list[dict[str, Any]]:
    """The device with other answers; `None` is one that it does not give."""
    return [{key: value for key, value in (H100 | changes).items() if value is not None}]


def test_everything_that_a_server_tells(child: Child) -> None:
    ((gpu,),) = child("tell()")
    assert gpu == {
        "name": "NVIDIA H100 80GB HBM3",
        "load_percent": 7.0,
        "memory_percent": pytest.approx(75.0, abs=0.01),
        "own_percent": 90.0,
        "memory_bytes": 85_520_809_984,
        "free_bytes": 21_380_202_496,
        "free_shared_bytes": 0,
        "temperature_celsius": 61.0,
        "power_watts": 512.345,
        "energy_joules": 9_876_543.21,
        "throttled": ["power"],
        "source": "nvml",
    }


@pytest.mark.parametrize("names", [True, False])
def test_names_are_bytes_in_some_bindings(child: Child, names: bool) -> None:
    ((gpu,),) = child("tell()", bytes=names)
    assert gpu["name"] == "NVIDIA H100 80GB HBM3"


@pytest.mark.parametrize("name", sorted(H100))
def test_what_one_device_cannot_tell_is_none_and_the_rest_is_told(child: Child, name: str) -> None:
    """vGPU, MIG, WSL, laptops and old cards: each leaves something out."""
    ((whole,),) = child("tell()")
    ((gpu,),) = child("tell()", devices=changed(**{name: {"error": 4}}))
    lost = {
        "Name": {"name"},
        "UtilizationRates": {"load_percent", "own_percent"},
        "MemoryInfo": {"memory_percent", "memory_bytes", "free_bytes"},
        "TemperatureV": {"temperature_celsius"},
        "PowerUsage": {"power_watts"},
        "TotalEnergyConsumption": {"energy_joules"},
        "CurrentClocksEventReasons": {"throttled"},
        "ProcessUtilization": {"load_percent", "own_percent"},
    }.get(name, set())
    assert {key for key in whole if whole[key] != gpu[key]} == lost
    if name == "ProcessUtilization":  # nobody else computes there, so all of it is ours
        assert (gpu["load_percent"], gpu["own_percent"]) == (0.0, 97.0)
    elif name == "Name":
        assert gpu["name"] == "NVIDIA GPU"
    else:
        assert all(gpu[key] is None for key in lost)


@pytest.mark.parametrize(
    ("computing", "drawing", "load", "own"),
    [
        ([11], [], 0.0, 97.0),
        ([11, 12], [], 97.0, None),
        ([11], [40], 97.0, None),
        ([12], [], 97.0, 0.0),
        ([], [], 97.0, None),  # busy for nobody: a container, or WSL
        (None, [], 97.0, None),
    ],
)
def test_where_the_driver_names_processes_without_their_load(
    child: Child, computing: list[int] | None, drawing: list[int], load: float, own: float | None
) -> None:
    lists = {
        f"{kind}RunningProcesses": None if pids is None else [{"pid": pid, "usedGpuMemory": None} for pid in pids]
        for kind, pids in (("Compute", computing), ("Graphics", drawing))
    }
    ((gpu,),) = child("tell()", devices=changed(ProcessUtilization=None, **lists))
    assert (gpu["load_percent"], gpu["own_percent"]) == (load, own)


def test_who_runs_nothing_here_has_no_share(child: Child) -> None:
    ((gpu,),) = child("tell()", own=())
    assert (gpu["load_percent"], gpu["own_percent"]) == (97.0, 0.0)
    ((gpu,),) = child("tell()", own=(99,))
    assert (gpu["load_percent"], gpu["own_percent"]) == (97.0, 0.0)


def test_shares_follow_the_processes(child: Child) -> None:
    told = child(
        """
        def samples(at, **shares):
            device = json.loads(Path(os.environ["NVML_STUB"]).read_text())["devices"][0]
            device["ProcessUtilization"] = [
                {"pid": int(pid[1:]), "timeStamp": at * 1_000_000, "smUtil": share, "memUtil": 0} for pid, share in shares.items()
            ]
            driver(devices=[device])

        tell()
        tell()                           # no news within that second: the samples stand
        samples(103, p12=95)             # ours rests, another one works
        tell()
        samples(103)                     # the driver has forgotten
        tell()
        """
    )
    shares = [(gpu["load_percent"], gpu["own_percent"]) for (gpu,) in told]
    assert shares == [
        (7.0, 90.0),
        (7.0, 90.0),
        (97.0, 0.0),
        (97.0, 0.0),
    ]


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (0x0, []), (0x1, []), (0x2, []), (0x100, []), (0x20, ["heat"]), (0x40 | 0x8, ["heat"]), (0x8, ["hardware"]),
        (0x80 | 0x8, ["power"]), (0x4 | 0x20, ["heat", "power"]),
    ],
)  # fmt: skip
def test_why_it_is_slowed_down(child: Child, bits: int, words: list[str]) -> None:
    ((gpu,),) = child("tell()", devices=changed(CurrentClocksEventReasons=bits))
    assert gpu["throttled"] == words


def test_an_older_binding_has_other_names(child: Child) -> None:
    gone = ["CurrentClocksEventReasons", "TotalEnergyConsumption", "MigMode"]
    ((gpu,),) = child(
        """
        import pynvml
        del pynvml.nvmlDeviceGetTemperatureV
        tell()
        """,
        devices=changed(Temperature=55, CurrentClocksThrottleReasons=0x40),
        unknown=[*gone, "TemperatureV"],
    )
    assert (gpu["temperature_celsius"], gpu["throttled"], gpu["energy_joules"]) == (55.0, ["heat"], None)


def test_a_divided_device_is_told_by_its_parts(child: Child) -> None:
    parts: list[dict[str, Any]] = [
        {
            "Name": "NVIDIA H100 80GB HBM3 MIG 3g.40gb",
            "MemoryInfo": {"total": 42 * 10**9, "free": 40 * 10**9, "used": 2 * 10**9},
        },
        {"Name": "NVIDIA H100 80GB HBM3 MIG 1g.10gb"},
    ]
    ((first, second),) = child("tell()", devices=[H100 | {"MigMode": [1, 1], "MaxMigDeviceCount": 7, "parts": parts}])
    nothing = dict.fromkeys(first, None) | {"free_shared_bytes": 0}
    assert second == nothing | {"name": parts[1]["Name"], "source": "nvml"}
    memory = {"memory_bytes": 42 * 10**9, "free_bytes": 40 * 10**9, "memory_percent": pytest.approx(100 / 21)}
    assert first == nothing | memory | {"name": parts[0]["Name"], "source": "nvml"}


def test_several_devices_and_one_that_is_lost(child: Child) -> None:
    for lost in (H100 | {"Name": {"error": 15}}, {"HandleByIndex": {"error": 15}}):
        (told,) = child("tell()", devices=[lost, H100 | {"Name": "the other"}])
        assert [gpu["name"] for gpu in told] == ["the other"]


# --- opening, losing, finding again ---


def test_it_stays_open(child: Child) -> None:
    told = child("for _ in range(3): tell(calls)")
    assert [calls for (_, calls) in told] == [["nvmlInit"]] * 3


def test_who_reads_seldom_lets_go_in_between(child: Child) -> None:
    told = child(
        """
        tell(calls)
        probe.close()
        probe.close()
        tell(calls)
        """
    )
    assert [calls for (_, calls) in told] == [["nvmlInit"], ["nvmlInit", "nvmlShutdown", "nvmlInit"]]


def test_the_free_memory_is_read_with_a_driver_that_is_open_no_longer(child: Child) -> None:
    told = child(
        """
        from oblix.agents.probes.room import RoomProbe
        room = RoomProbe()
        for _ in range(2):
            print(json.dumps([room.read().vram, __import__("pynvml").calls]))
        """
    )
    opened = ["nvmlInit", "nvmlShutdown"]
    assert told == [[H100["MemoryInfo"]["free"], opened], [H100["MemoryInfo"]["free"], opened * 2]]


def test_without_a_driver_it_is_tried_again_after_a_minute(child: Child) -> None:
    """In between it is not present: nothing is loaded, opened or asked."""
    told = child(
        """
        tell(probe.is_present, calls)
        tell(probe.is_present, calls)
        clock.now += 59
        tell(probe.is_present, calls)
        clock.now += 1
        driver(init=None)
        tell(probe.is_present, calls)
        """,
        init=12,
    )
    assert told[:3] == [[False, ["nvmlInit"]]] * 3
    gpu, present, calls = told[3]
    assert (gpu["load_percent"], present, calls) == (7.0, True, ["nvmlInit"] * 2)


@pytest.mark.parametrize("code", [1, 2, 9, 15, 18])
def test_a_driver_that_is_lost_and_comes_back(child: Child, code: int) -> None:
    told = child(
        f"""
        tell()
        driver(lost={code})
        tell(probe.is_present, calls)
        clock.now += 60
        tell(probe.is_present)
        driver(lost=None)
        clock.now += 60
        tell(probe.is_present)
        tell()
        """
    )
    assert told[1] == [False, ["nvmlInit", "nvmlShutdown"]]
    assert told[2] == [False]
    assert told[3][0]["load_percent"] == told[4][0]["load_percent"] == 7.0


def test_a_machine_without_devices(child: Child) -> None:
    assert child("tell(probe.is_present, calls)", devices=[]) == [[False, ["nvmlInit", "nvmlShutdown"]]]


def test_asking_whether_there_is_one_loads_nothing(child: Child) -> None:
    assert child("print(json.dumps([probe.is_present(), 'pynvml' in sys.modules]))") == [[True, False]]


def test_without_the_extra_there_is_none(child: Child) -> None:
    lines = f"sys.path.remove({str(STUBS)!r})\ntell(probe.is_present)"
    (told,) = child(lines)
    assert told == [False]


# --- sleep ---


def test_one_that_sleeps_is_not_woken(child: Child) -> None:
    child.sysfs("auto", "suspended")
    ((gpu, calls),) = child("tell(calls)")
    assert (gpu["name"], gpu["load_percent"], gpu["memory_bytes"], calls) == ("NVIDIA GPU", 0.0, None, [])


def test_a_laptop_s_idle_one_is_let_go_so_that_it_can_fall_asleep(child: Child) -> None:
    child.sysfs("auto", "active")
    idle = changed(UtilizationRates={"gpu": 0, "memory": 0}, ProcessUtilization=[], ComputeRunningProcesses=[])
    told = child(
        """
        tell(calls)
        clock.now += 11
        tell(calls)
        power = next(Path(probe._system.path("/sys/bus/pci/devices")).iterdir()) / "power/runtime_status"
        power.write_text("suspended")
        clock.now += 1
        tell(calls)
        power.write_text("active")
        tell(calls)
        """,
        devices=idle,
    )
    assert [calls for (_, calls) in told] == [["nvmlInit", "nvmlShutdown"]] * 3 + [["nvmlInit", "nvmlShutdown"] * 2]
    assert [gpu["power_watts"] for (gpu, _) in told] == [512.345, 512.345, None, 512.345]
    assert {gpu["memory_bytes"] for (gpu, _) in told} == {85_520_809_984}


def test_one_that_holds_a_model_is_not_idle(child: Child) -> None:
    child.sysfs("auto", "active")
    told = child(
        "tell(calls); tell(calls)", devices=changed(UtilizationRates={"gpu": 0, "memory": 0}, ProcessUtilization=[])
    )
    assert [calls for (_, calls) in told] == [["nvmlInit"]] * 2


def test_a_server_s_idle_one_is_kept(child: Child) -> None:
    child.sysfs("on", "active")
    told = child(
        "tell(calls); tell(calls)",
        devices=changed(UtilizationRates={"gpu": 0, "memory": 0}, ComputeRunningProcesses=[]),
    )
    assert [calls for (_, calls) in told] == [["nvmlInit"]] * 2


# --- the whole of it ---


def test_a_library_that_cannot_be_loaded_leaves_the_sensor_alive(child: Child) -> None:
    (told,) = child(
        """
        import logging
        logging.disable()
        from oblix.agents.sensor import Sensor
        sensor = Sensor("gpu", probe.read, 1e6)
        sensor.take()
        driver(init=None)
        clock.now += 60
        sensor.take()
        print(json.dumps([gpu.name for gpu in sensor.latest.value]))
        """,
        init="raise",
    )
    assert told == ["NVIDIA H100 80GB HBM3"]


def test_the_gpu_probe_finds_it(child: Child) -> None:
    (told,) = child(
        """
        from oblix.agents.probes.gpu import GpuProbe
        probe = GpuProbe(lambda: frozenset({11}))
        tell(probe.is_present)
        """
    )
    assert (told[0]["own_percent"], *told[1:]) == (90.0, True)


def test_a_driver_that_hangs_holds_up_neither_a_prompt_nor_the_exit(child: Child) -> None:
    told = child(
        """
        import asyncio, contextlib
        from oblix import OblixClient
        from oblix.agents import PowerAgent
        from oblix.testing import ScriptedModel

        async def main():
            client = OblixClient(store=":memory:")
            client.hook(ScriptedModel("ollama:phi", "here"))
            client.hook_agent(PowerAgent())
            for _ in range(3):
                reply = await client.execute("hi")
            await asyncio.to_thread(hung.wait, 30)
            reply = await client.execute("hi")
            print(json.dumps([str(reply), reply.agent_checks["power"].state]))

        import threading, pynvml
        hung = threading.Event()
        class Said:
            def write(self, text): hung.set()
            def flush(self): pass
        real, sys.stderr = sys.stderr, Said()
        asyncio.run(main())
        sys.stderr = real
        """,
        init="hang",
    )
    assert told == [["here", "unknown"]]
