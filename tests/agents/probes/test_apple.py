"""The graphics processors of Macs, by the I/O registry."""

from __future__ import annotations

import plistlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oblix.agents.probes.apple import EVERY, AppleProbe
from oblix.agents.probes.graphics import Gpu
from oblix.agents.probes.system import System

from .machines import RECORDED, Clock, nobody, only, recorded, write, written

ALONE = "commands/ioreg_-a_-r_-d_1_-c_IOAccelerator.txt"
WITH_CLIENTS = "commands/ioreg_-a_-r_-l_-d_2_-c_IOAccelerator.txt"
MEMORY = "commands/sysctl_-n_hw.memsize.txt"
LIMIT = "commands/sysctl_-n_iogpu.wired_limit_mb.txt"
GIB = 2**30


@pytest.fixture
def mac(tmp_path: Path) -> System:
    """A copy of the recorded one, to be changed."""
    shutil.copytree(RECORDED / "mac-m2", tmp_path, dirs_exist_ok=True)
    return System(tmp_path, "darwin")


@pytest.fixture
def change(mac: System) -> Callable[..., None]:
    """Change what the registry says of our process."""

    def change(spent: Any, busy: int = 62) -> None:
        entries = plistlib.loads(mac.path(WITH_CLIENTS).read_bytes())
        entries[0]["PerformanceStatistics"]["Device Utilization %"] = busy
        entries[0]["IORegistryEntryChildren"][1]["AppUsage"][0]["accumulatedGPUTime"] = spent
        mac.path(WITH_CLIENTS).write_bytes(plistlib.dumps(entries))

    return change


def test_apple_silicon() -> None:
    probe = AppleProbe(nobody, recorded("mac-m2"))
    assert probe.is_present()
    total = 16 * GIB * 2 // 3
    assert probe.read() == (
        Gpu(
            "Apple M2",
            62.0,
            100.0 * (4 * GIB) / total,
            memory_bytes=total,
            free_bytes=total - 4 * GIB,
            free_shared_bytes=total - 4 * GIB,
            source="ioreg",
        ),
    )


def test_an_intel_mac_with_two() -> None:
    built_in, card = AppleProbe(nobody, recorded("mac-intel")).read()
    assert built_in == Gpu("IntelAccelerator", 3.0, None, source="ioreg")
    assert card == Gpu("AMD Radeon Pro 5500M", 8.0, 12.5, memory_bytes=8 * GIB, free_bytes=7 * GIB, source="ioreg")


@pytest.mark.parametrize(
    ("main", "limit", "total"),
    [
        (8, 0, 8 * GIB * 2 // 3),
        (32, 0, 32 * GIB * 2 // 3),
        (36, 0, 27 * GIB),
        (64, 0, 48 * GIB),
        (64, 57_344, 56 * GIB),
        (64, "", 48 * GIB),
    ],
)  # fmt: skip
def test_what_a_gpu_may_use_of_the_main_memory(
    mac: System, tmp_path: Path, main: int, limit: object, total: int
) -> None:
    write(tmp_path, {MEMORY: main * GIB, LIMIT: limit})
    (gpu,) = AppleProbe(nobody, mac).read()
    assert (gpu.memory_bytes, gpu.free_bytes) == (total, total - 4 * GIB)


def test_our_own_inference_is_taken_out(mac: System, change: Callable[..., None]) -> None:
    clock = Clock()
    probe = AppleProbe(only(4711), mac, clock)
    (first,) = probe.read()
    assert (first.load_percent, first.own_percent) == (62.0, None)  # nothing to compare with yet
    clock.go(EVERY)
    change(12_000_000_000 + 4_000_000_000)
    (second,) = probe.read()
    assert (second.load_percent, second.own_percent) == (12.0, 50.0)
    clock.go(EVERY)
    change(16_000_000_000 + 7_900_000_000, busy=97)
    (third,) = probe.read()
    assert (third.load_percent, third.own_percent) == (0.0, 97.0)  # 98.75, which is never more than the load


@pytest.mark.parametrize(("busy", "load"), [(-1, 0.0), (0, 0.0), (100, 100.0), (112, 100.0)])
def test_percent_is_percent(mac: System, change: Callable[..., None], busy: int, load: float) -> None:
    change(0, busy=busy)
    assert [gpu.load_percent for gpu in AppleProbe(only(4711), mac).read()] == [load]


def test_programs_are_started_seldom(mac: System, tmp_path: Path) -> None:
    clock = Clock()
    probe = AppleProbe(nobody, mac, clock)
    first = probe.read()
    (tmp_path / ALONE).unlink()
    clock.go(EVERY - 0.1)
    assert probe.read() == first
    clock.go(0.1)
    assert probe.read() == ()


@pytest.mark.parametrize("spent", [None, True, "12", {}, -5], ids=repr)
def test_what_a_driver_does_not_tell_is_none(mac: System, change: Callable[..., None], spent: Any) -> None:
    clock = Clock()
    probe = AppleProbe(only(4711), mac, clock)
    change(0 if spent is None else spent)
    probe.read()
    clock.go(EVERY)
    (gpu,) = probe.read()
    assert gpu.load_percent == 62.0
    assert gpu.own_percent in (None, 0.0)


@given(said=st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**64 - 1) | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["PerformanceStatistics", "Device Utilization %", "IORegistryEntryChildren", "AppUsage", "model",
                         "IOUserClientCreator", "accumulatedGPUTime", "In use system memory", "vramUsedBytes", "vramFreeBytes"]),
        inner, max_size=4),
    max_leaves=12))  # fmt: skip
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_registry_however_strange_raises_anything(tmp_path: Path, said: Any) -> None:
    if not isinstance(said, bytes):
        try:
            said = plistlib.dumps(said)
        except (TypeError, OverflowError):
            return  # no property list
    clock = Clock()
    probe = AppleProbe(
        only(4711), written(tmp_path, {ALONE: said, WITH_CLIENTS: said, MEMORY: 8 * GIB}, "darwin"), clock
    )
    for _ in range(2):
        for gpu in probe.read():
            assert gpu.load_percent is None or 0.0 <= gpu.load_percent <= 100.0
        clock.go(EVERY)
