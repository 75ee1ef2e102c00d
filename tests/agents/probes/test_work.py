"""Whether edge servers are at work."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from oblix.agents.probes.cpu import TICKS
from oblix.agents.probes.work import STILL_STANDING, cpu_seconds, stood_still

from .machines import written

STAT = "{number} ({name}) S 1 {number} {number} 0 -1 0 0 0 0 0 {user} {system} 0 0 20 0 1 0 500 0 0"


def process(number: int, name: str, *, user: float, system: float = 0.0) -> dict[str, object]:
    stat = STAT.format(number=number, name=name, user=int(user * TICKS), system=int(system * TICKS))
    return {f"proc/{number}/comm": name, f"proc/{number}/stat": stat, f"proc/{number}/statm": "100 50 10 1 0 1 0"}


def test_the_server_and_its_runner_count_and_others_do_not(tmp_path: Path) -> None:
    files = (
        process(10, "ollama", user=2.0, system=1.0) | process(11, "ollama", user=40.0) | process(12, "python", user=9)
    )
    assert cpu_seconds(written(tmp_path, files)) == 43.0


def test_where_no_server_is_seen_nothing_is_told(tmp_path: Path) -> None:
    assert cpu_seconds(written(tmp_path, process(12, "python", user=9.0))) is None


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (5.0, 5.0, True),
        (0.0, 10 * STILL_STANDING, True),
        (5.0, 6.0, False),
        (5.0, 3.0, False),  # one has ended
        (None, 5.0, False),
        (5.0, None, False),
    ],
)
def test_what_stood_still(before: float | None, after: float | None, *, expected: bool) -> None:
    assert stood_still(before, after, seconds=10.0) is expected


@contextmanager
def playing_ollama(folder: Path, script: str) -> Iterator[None]:
    """A real process of that name; goes on once the script has said something."""
    named = folder / "ollama"
    named.symlink_to(os.path.realpath(sys.executable))
    running = subprocess.Popen([named, "-S", "-c", script], stdout=subprocess.PIPE)
    try:
        assert running.stdout is not None
        running.stdout.readline()
        yield
    finally:
        running.kill()
        running.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems name a process after its file, not after the link")
def test_a_real_process_at_work(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ntime.sleep(60)"
    before = cpu_seconds() or 0.0
    with playing_ollama(tmp_path, burn):
        after = cpu_seconds()
    assert after is not None
    assert not stood_still(before, after, seconds=1.0)
