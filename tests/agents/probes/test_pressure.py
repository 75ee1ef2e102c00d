"""Pressure: the kernel's totals, and its means for when there is only one reading."""

from __future__ import annotations

from pathlib import Path

import pytest

from oblix.agents.probes import pressure
from oblix.agents.probes.pressure import Pressure

from .machines import written

FILE = "/proc/pressure/cpu"
SOME = "some avg10=12.50 avg60=1.00 avg300=0.50 total=2500000"
FULL = "full avg10=2.50 avg60=1.00 avg300=0.50 total=500000"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"{SOME}\n{FULL}", Pressure(2.5, 0.5, 12.5, 2.5)),
        (SOME, Pressure(2.5, 0.0, 12.5, 0.0)),  # Linux before 5.13 tells no "full" of processors
        (FULL, None),
        ("", None),
        ("some avg10=1.0", None),
        ("some avg10=x total=5", None),
        ("some nothing", None),
    ],
    ids=["both", "some only", "full only", "empty", "no total", "no number", "no fields"],
)
def test_the_file(tmp_path: Path, text: str, found: Pressure | None) -> None:
    assert pressure.read(written(tmp_path, {FILE[1:]: text}), FILE) == found


def test_a_kernel_without_it(tmp_path: Path) -> None:
    assert pressure.read(written(tmp_path, {}), FILE) is None
