"""Real load for the demo: processes that compute, for a bounded time and only while the demo lives."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 60  # each process ends by itself after so long, whatever happens to us
_SPIN = f"""
import os, time
parent, end = os.getppid(), time.monotonic() + {SECONDS}
while time.monotonic() < end and os.getppid() == parent:
    sum(range(50_000))
"""


@contextmanager
def busy_machine() -> Iterator[None]:
    """Two computing processes for each core."""
    spinners = [
        subprocess.Popen([sys.executable, "-I", "-c", _SPIN], stdin=subprocess.DEVNULL)
        for _ in range(2 * (os.cpu_count() or 1))
    ]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
        for spinner in spinners:
            spinner.wait()
