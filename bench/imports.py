"""What an import costs: CPU and memory of a fresh interpreter over those of a bare one."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Sequence
from statistics import median

from bench.workers import ROOT, environment

REPEATS = 7  # fresh interpreters for each; the median of fewer still moves by a tenth on a busy machine
PAGE = resource.getpagesize() / 1e6  # MB
IMPORTS = {
    "bare": "pass",
    "oblix": "import oblix",
    "used": "from oblix import OblixClient; from oblix.agents import ConnectivityAgent, ResourceMonitor",
    "aiohttp": "import aiohttp",
    "openai": "import openai",
}
# Resident memory from /proc: `ru_maxrss` of a child begins with what its parent had.
_TOLD = """
import time
cpu = time.process_time()
try:
    with open("/proc/self/statm") as statm:
        pages = int(statm.read().split()[1])
except OSError:
    pages = 0
print(cpu, pages)
"""


def measure() -> dict[str, tuple[float, float]]:
    """CPU milliseconds and MB of resident memory over bare Python; the interpreters take turns."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in IMPORTS}
    for turn in range(REPEATS + 1):
        for name, code in IMPORTS.items():
            found = _run(code)
            if turn:  # the first turn fills the caches of the disk, and compiles
                seen[name].append(found)
    bare = _middle(seen.pop("bare"))
    return {name: (1e3 * (cpu - bare[0]), (pages - bare[1]) * PAGE) for name, (cpu, pages) in _all(seen)}


def _run(code: str) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-c", code + _TOLD],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=environment(None),
    )
    cpu, pages = done.stdout.split()
    return float(cpu), float(pages)


def _middle(found: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return median(cpu for cpu, _ in found), median(pages for _, pages in found)


def _all(seen: dict[str, list[tuple[float, float]]]) -> list[tuple[str, tuple[float, float]]]:
    return [(name, _middle(found)) for name, found in seen.items()]
