"""How much memory is free for a model: the machine's, what a container leaves of it, and that of graphics processors."""

from __future__ import annotations

from pathlib import Path

import pytest

from oblix.agents.probes.graphics import Gpu
from oblix.agents.probes.room import EMBEDDED_BATCH, EMBEDDED_SLOTS, RoomProbe, embedded_need, vram_of
from oblix.agents.probes.system import HERE
from oblix.models.embedded.gguf import read_head
from oblix.models.memory import Room, fit, need

from .containers import HOST, MB, V1_DOCKER
from .machines import recorded, written

GB, GIB = 10**9, 2**30


def test_what_programs_can_get_without_swapping(tmp_path: Path) -> None:
    assert RoomProbe(written(tmp_path, HOST)).read() == Room(6291456 * 1024)


def test_a_container_leaves_less(tmp_path: Path) -> None:
    room = RoomProbe(written(tmp_path, V1_DOCKER)).read()
    assert room.ram is not None
    assert 256 * MB - 50 * MB <= room.ram <= 256 * MB


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    assert RoomProbe(written(tmp_path, {})).read() == Room(None)


def test_a_card_of_its_own_counts_apart() -> None:
    room = RoomProbe(recorded("linux-desktop-amd")).read()
    assert room.vram is not None
    # The graphics built into the processor add what is set apart for them, and none of the main memory that they may use.
    assert room.vram == (25753026560 - 6438256640) + (536870912 - 33554432)


def test_main_memory_that_built_in_graphics_may_use_is_counted_once(tmp_path: Path) -> None:
    """A laptop with 16 GB, of which 9 are free; the driver tells 8 of these as the graphics' own."""
    card = "sys/class/drm/card0/device"
    laptop = {
        "proc/meminfo": f"MemTotal: {16 * GIB // 1024} kB\nMemAvailable: {9 * GIB // 1024} kB\n",
        f"{card}/gpu_busy_percent": 0,
        f"{card}/mem_info_vram_total": GIB // 2,
        f"{card}/mem_info_vram_used": GIB // 2,
        f"{card}/mem_info_gtt_total": 8 * GIB,
        f"{card}/mem_info_gtt_used": 0,
        f"{card}/gpu_metrics": bytes([128, 0, 2, 3]) + bytes(200),
    }
    room = RoomProbe(written(tmp_path, laptop)).read()
    assert room == Room(9 * GIB)
    assert fit(need(12 * GIB), room) == "no"


def test_a_card_in_an_intel_mac_has_a_memory_of_its_own() -> None:
    assert RoomProbe(recorded("mac-intel")).read().vram == 7 * GIB


def test_a_mac_that_shares_its_memory_has_no_other() -> None:
    assert RoomProbe(recorded("mac-m2")).read().vram is None


def test_this_machine_tells() -> None:
    room = RoomProbe(HERE).read()
    assert room.ram is None or room.ram > 0


@pytest.mark.parametrize(
    ("gpus", "free"),
    [
        ((), None),
        ((Gpu("a", 0.0, 0.0),), None),
        ((Gpu("a", 0.0, 0.0, free_bytes=2 * GB), Gpu("b", 0.0, 0.0, free_bytes=3 * GB)), 5 * GB),
        ((Gpu("a", 0.0, 0.0, free_bytes=0),), 0),
        ((Gpu("m2", 0.0, 0.0, free_bytes=8 * GB, free_shared_bytes=8 * GB),), None),
        ((Gpu("apu", 0.0, 0.0, free_bytes=8 * GB, free_shared_bytes=7 * GB),), GB),
    ],
)
def test_memory_of_graphics_processors(gpus: tuple[Gpu, ...], free: int | None) -> None:
    assert vram_of(gpus) == free


@pytest.mark.engine
def test_what_the_embedded_model_takes(weights: Path) -> None:
    shape, size = read_head(weights).shape, weights.stat().st_size
    assert embedded_need("smollm2", None) == need(size, shape, window=4096, slots=EMBEDDED_SLOTS, batch=EMBEDDED_BATCH)
    assert embedded_need("smollm2", 512) == need(size, shape, window=512, slots=EMBEDDED_SLOTS, batch=EMBEDDED_BATCH)
    assert embedded_need("nothing.gguf", None) is None
