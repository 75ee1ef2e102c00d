"""All makes together: who is asked on which machine, and that nobody is invented."""

from __future__ import annotations

import pytest

from oblix.agents.probes.gpu import Gpu, GpuProbe
from oblix.agents.probes.graphics import without_own

from .machines import nobody, recorded


@pytest.mark.parametrize(
    ("machine", "is_present", "names"),
    [
        ("linux-laptop", False, []),
        ("linux-desktop-amd", True, ["AMD GPU 0x744c", "AMD GPU 0x164e"]),
        ("linux-container", False, []),
        ("mac-m2", True, ["Apple M2"]),
        ("mac-intel", True, ["IntelAccelerator", "AMD Radeon Pro 5500M"]),
        ("windows", False, []),
    ],
)
def test_recorded_machines(machine: str, is_present: bool, names: list[str]) -> None:
    probe = GpuProbe(nobody, recorded(machine))
    assert probe.is_present() is is_present
    assert [gpu.name for gpu in probe.read()] == names


@pytest.mark.parametrize(
    ("total", "own", "found"),
    [
        (97.0, 90.0, (7.0, 90.0)),
        (97.0, 99.0, (0.0, 97.0)),
        (97.0, -1.0, (97.0, 0.0)),
        (97.0, None, (97.0, None)),
        (None, 50.0, (None, None)),
        (0.0, 0.0, (0.0, 0.0)),
    ],
)
def test_our_share_is_never_more_than_the_load(
    total: float | None, own: float | None, found: tuple[float | None, float | None]
) -> None:
    assert without_own(total, own) == found


def test_what_is_not_known_is_none() -> None:
    gpu = Gpu("simulated", 50.0, 0.0)
    assert {gpu.own_percent, gpu.memory_bytes, gpu.free_bytes, gpu.temperature_celsius} == {None}
    assert {gpu.power_watts, gpu.energy_joules, gpu.throttled} == {None}
