"""AMD's cards by amdgpu's files: load, memory, heat, sleep, and whose work it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from oblix.agents.probes.amd import LOOK_ANEW, AmdProbe
from oblix.agents.probes.dozing import REST
from oblix.agents.probes.graphics import Gpu
from oblix.agents.probes.system import System

from .machines import RECORDED, Clock, nobody, only, recorded, write

CARD = "sys/class/drm/card0/device"
FDINFO = "proc/4711/fdinfo"


@pytest.fixture
def desktop(tmp_path: Path) -> System:
    """A copy of the recorded one, to be changed."""
    shutil.copytree(RECORDED / "linux-desktop-amd", tmp_path, dirs_exist_ok=True)
    return System(tmp_path, "linux")


def spent(card: int, other: int = 77_000_000_000) -> dict[str, object]:
    told = f"drm-driver:\tamdgpu\ndrm-client-id:\t93\ndrm-pdev:\t0000:03:00.0\ndrm-engine-gfx:\t0 ns\ndrm-engine-compute:\t{card} ns"
    also = f"drm-client-id:\t94\ndrm-pdev:\t0000:16:00.0\ndrm-engine-gfx:\t{other} ns"
    return {f"{FDINFO}/12": told, f"{FDINFO}/13": told, f"{FDINFO}/14": also}


def test_a_card_and_built_in_graphics() -> None:
    probe = AmdProbe(nobody, recorded("linux-desktop-amd"))
    assert probe.is_present()
    assert probe.read() == (
        Gpu(
            "AMD GPU 0x744c",
            37.0,
            100.0 * 6438256640 / 25753026560,
            own_percent=0.0,
            memory_bytes=25753026560,
            free_bytes=25753026560 - 6438256640,
            temperature_celsius=54.0,
            power_watts=89.0,
            throttled=(),
            source="sysfs",
        ),
        # It has 512 MiB set apart, and may use main memory beside them.
        Gpu(
            "AMD GPU 0x164e",
            0.0,
            100.0 * 67108864 / 17314086912,
            own_percent=0.0,
            memory_bytes=17314086912,
            free_bytes=17314086912 - 67108864,
            free_shared_bytes=16777216000 - 33554432,
            temperature_celsius=41.0,
            power_watts=18.004,
            throttled=(),
            source="sysfs",
        ),
    )


@pytest.mark.parametrize("name", ["linux-laptop", "linux-container", "windows"])
def test_other_machines_have_none(name: str) -> None:
    probe = AmdProbe(nobody, recorded(name))
    assert not probe.is_present()
    assert probe.read() == ()


def test_our_own_inference_is_taken_out(desktop: System, tmp_path: Path) -> None:
    clock = Clock()
    probe = AmdProbe(only(4711), desktop, clock)
    write(tmp_path, spent(10_000_000_000) | {f"{CARD}/gpu_busy_percent": 95})
    first = probe.read()[0]
    assert (first.load_percent, first.own_percent) == (95.0, None)  # nothing to compare with yet
    clock.go(2)
    write(tmp_path, spent(11_800_000_000))  # 1.8 s in 2 s, told by two descriptors of the same client
    second = probe.read()[0]
    assert second.load_percent == pytest.approx(5.0)
    assert second.own_percent == pytest.approx(90.0)


def test_several_processes_of_ours_are_added_also_when_the_cards_are_looked_up_anew(
    desktop: System, tmp_path: Path
) -> None:
    clock = Clock()
    probe = AmdProbe(only(4711, 4712, 4713), desktop, clock)
    other = "drm-client-id:\t95\ndrm-pdev:\t0000:03:00.0\ndrm-engine-gfx:\t{} ns"
    write(tmp_path, spent(0) | {"proc/4713/fdinfo/7": other.format(0), f"{CARD}/gpu_busy_percent": 95})
    probe.read()
    clock.go(LOOK_ANEW)
    write(tmp_path, spent(9 * 10**9) | {"proc/4713/fdinfo/7": other.format(15 * 10**9)})
    assert probe.read()[0].own_percent == pytest.approx(80.0)


def test_it_is_told_from_the_work_on_another_card(desktop: System, tmp_path: Path) -> None:
    clock = Clock()
    probe = AmdProbe(only(4711, 4712), desktop, clock)
    probe.read()
    clock.go(1)
    write(tmp_path, spent(10_000_000_000, other=77_900_000_000) | {f"{CARD}/gpu_busy_percent": 95})
    card, built_in = probe.read()
    assert (card.load_percent, card.own_percent) == (95.0, 0.0)
    assert (built_in.load_percent, built_in.own_percent) == (0.0, 0.0)  # idle: our share is never more than the load


def test_work_that_the_driver_does_not_name_stays_with_the_load(desktop: System, tmp_path: Path) -> None:
    """ROCm's own queues."""
    shutil.rmtree(tmp_path / FDINFO)
    clock = Clock()
    probe = AmdProbe(only(4711), desktop, clock)
    probe.read()
    clock.go(1)
    card = probe.read()[0]
    assert (card.load_percent, card.own_percent) == (37.0, None)


def table(form: int, revision: int, at: int, status: int, *, size: int = 128) -> dict[str, object]:
    figures = bytearray([size, 0, form, revision]) + bytes(size - 4)
    figures[at : at + 8] = status.to_bytes(8, "little")
    return {f"{CARD}/gpu_metrics": bytes(figures[:size])}


@pytest.mark.parametrize(
    ("figures", "throttled"),
    [
        (table(1, 3, 112, 1 << 36), ("heat",)),  # hot spot
        (table(1, 3, 112, 1 << 0 | 1 << 34), ("heat", "power")),  # power limit, memory
        (table(2, 2, 120, 1 << 16), ("power",)),  # current
        (table(2, 4, 120, 1 << 46), ("heat",)),
        (table(1, 3, 112, 0), ()),
        (table(1, 3, 112, 2**64 - 1), None),  # not supported
        (table(1, 4, 112, 1 << 36), None),  # a form that is not known
        (table(1, 1, 68, 1 << 36), None),
        (table(1, 3, 112, 1 << 36, size=116), None),
        ({f"{CARD}/gpu_metrics": b"x\0\1"}, None),
        ({f"{CARD}/gpu_metrics": b""}, None),
    ],
)
def test_why_it_is_slowed_down(
    desktop: System, tmp_path: Path, figures: dict[str, object], throttled: tuple[str, ...] | None
) -> None:
    write(tmp_path, figures)
    assert AmdProbe(nobody, desktop).read()[0].throttled == throttled


def test_what_is_missing_is_none(desktop: System, tmp_path: Path) -> None:
    for gone in ("mem_info_vram_used", "gpu_metrics", "hwmon/hwmon3/temp1_input", "hwmon/hwmon3/power1_average"):
        (tmp_path / CARD / gone).unlink()
    write(tmp_path, {f"{CARD}/gpu_busy_percent": "?", f"{CARD}/product_name": "Radeon RX 7900 XTX"})
    assert AmdProbe(nobody, desktop).read()[0] == Gpu(
        "Radeon RX 7900 XTX", None, None, memory_bytes=25753026560, source="sysfs"
    )


def test_a_card_that_sleeps_is_not_woken(desktop: System, tmp_path: Path) -> None:
    """Reading one of amdgpu's files wakes it."""
    write(tmp_path, {f"{CARD}/power/control": "auto", f"{CARD}/power/runtime_status": "suspended"})
    probe = AmdProbe(nobody, desktop)
    assert probe.is_present()
    (tmp_path / CARD / "mem_info_vram_total").unlink()
    assert probe.read()[0] == Gpu("AMD GPU 0x744c", 0.0, None, throttled=(), source="sysfs")


def test_one_that_idles_is_left_alone_so_that_it_can_fall_asleep(desktop: System, tmp_path: Path) -> None:
    clock = Clock()
    probe = AmdProbe(nobody, desktop, clock)
    write(tmp_path, {f"{CARD}/power/control": "auto", f"{CARD}/gpu_busy_percent": 0})
    assert probe.read()[0].load_percent == 0.0
    write(tmp_path, {f"{CARD}/gpu_busy_percent": 99})
    clock.go(REST - 1)
    assert probe.read()[0].load_percent == 0.0
    clock.go(1)
    assert probe.read()[0].load_percent == 99.0
    clock.go(1)
    write(tmp_path, {f"{CARD}/gpu_busy_percent": 98})
    assert probe.read()[0].load_percent == 98.0  # at work, it is looked at each time


def test_a_card_that_is_plugged_in_is_found(tmp_path: Path) -> None:
    clock = Clock()
    probe = AmdProbe(nobody, System(tmp_path, "linux"), clock)
    assert not probe.is_present()
    shutil.copytree(RECORDED / "linux-desktop-amd", tmp_path, dirs_exist_ok=True)
    assert not probe.is_present()
    clock.go(LOOK_ANEW)
    assert probe.is_present()
    assert len(probe.read()) == 2
    shutil.rmtree(tmp_path / "sys/class/drm/card0")
    clock.go(LOOK_ANEW)
    assert [gpu.name for gpu in probe.read()] == ["AMD GPU 0x164e"]
