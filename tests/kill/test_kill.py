"""A hundred kills, three processes at a time on one file: nothing that was acknowledged is lost, doubled or wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

KILLS = 100
SEED = 20261123
ROOT = Path(__file__).resolve().parents[2]


def test_a_hundred_kills_lose_and_double_nothing_and_the_books_are_right() -> None:
    """In a program of its own: it forks, and so must have no threads."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.kill", str(KILLS), str(SEED)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    print(ran.stdout)
    assert (ran.returncode, ran.stderr) == (0, "")
    line = ran.stdout.splitlines()[-1]
    found = re.fullmatch(
        r"kill: kills=(\d+) acked=(\d+) lost=0 duplicated=0 orphans=0 balance=exact max_recovery_ms=\d+", line
    )
    assert found, line
    assert int(found[1]) == KILLS
    assert int(found[2]) > 10 * KILLS
