"""Main memory, as the kernel tells of it."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from oblix.agents.probes import memory
from oblix.agents.probes.memory import Memory
from oblix.agents.probes.system import HERE

from .containers import HOST
from .machines import written


def test_a_host(tmp_path: Path) -> None:
    assert memory.read(written(tmp_path, HOST)) == Memory(8 * 2**30, 6 * 2**30, 25.0)


def test_without_swap_its_share_is_not_known(tmp_path: Path) -> None:
    text = "MemTotal: 1000 kB\nMemAvailable: 500 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB"
    assert memory.read(written(tmp_path, {"proc/meminfo": text})) == Memory(1024000, 512000, None)


@pytest.mark.parametrize("text", ["", "MemTotal: 5 kB", "MemTotal: x kB\nMemAvailable: 3 kB", "MemAvailable: 3 kB"])
def test_what_is_not_told_is_not_known(tmp_path: Path, text: str) -> None:
    assert memory.read(written(tmp_path, {"proc/meminfo": text})) is None


def test_this_machine() -> None:
    found = memory.read(HERE)
    assert found is not None
    assert found.total == psutil.virtual_memory().total
    assert 0 < found.available <= found.total
