"""What is in the repository is for every machine: no path of one, no host of a package index."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOREIGN = re.compile(
    rb"/(?:work/main|work/shared|root/\.|opt/pypi|Users/\w+)|/home/\w+/|--(?:extra-)?index-url|--find-links|--trusted-host"
    rb"|files\.pythonhosted\.org|pypi\.org/simple"
)
THIS = "tests/house/test_tracked.py"


@pytest.fixture(scope="module")
def tracked(require: Callable[[object, str], None]) -> list[str]:
    """The files that git knows."""
    ran = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    require(ran.returncode == 0, "this is no git checkout")
    return [name for name in ran.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_no_tracked_file_names_a_place_of_one_machine(tracked: list[str]) -> None:
    found = {
        name: told.group().decode()
        for name in tracked
        if name != THIS and (told := FOREIGN.search((ROOT / name).read_bytes()))
    }
    assert found == {}


def test_the_locked_requirements_name_no_host_and_every_hash(tracked: list[str]) -> None:
    locks = [name for name in tracked if name.startswith("requirements/") and name.endswith(".txt")]
    assert locks
    for name in locks:
        text = (ROOT / name).read_text("utf-8")
        assert "://" not in text
        pins = re.findall(r"^([A-Za-z0-9._-]+)(\[[^\]]*\])?==\S+", text, re.MULTILINE)
        assert pins
        assert text.count("--hash=sha256:") >= len(pins)


def test_nothing_large_is_tracked(tracked: list[str]) -> None:
    assert {name: size for name in tracked if (size := (ROOT / name).stat().st_size) > 500_000} == {}
