"""States change on a machine that is really busy, and fall back; our own inference at full speed changes none.

Readings come twice a second, so three seconds are six of them: that is counted, and no clock is asserted. Everything here runs in one
control group of great weight, and what it leaves is taken by processes that count as our own: what else runs on the machine is pushed
aside, and changes nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

from oblix.agents.machine_state import HOLD

from .groups import MAX_SHARES, SHARES, Group, folders

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
SOON = 6  # readings: three seconds
PATIENCE = 90.0  # seconds; guards against hanging, and leaves others' tests the time to end
MB = 2**20
MOST = 20 * SHARES  # of a busy group: 95 %, where what is ours has the rest
ONLOOKER = [sys.executable, "-m", "tests.agents.busy.onlooker"]
BURN = [sys.executable, "-c", "while True: pass"]
Report = dict[str, Any]


@pytest.fixture(autouse=True, scope="module")
def _heavy(require: Callable[[object, str], None]) -> Iterator[None]:
    """All tests, and all that they start, in one group next to which nothing else on the machine matters."""
    require({"cpu", "cpuacct", "memory"} <= folders().keys(), "control groups (v1) that we may make")
    with Group(shares=MAX_SHARES) as group:
        group.add(os.getpid())
        yield


@pytest.fixture
def ollama(tmp_path: Path) -> list[str]:
    """A process that is called like an edge server, and computes all the time."""
    shell = tmp_path / "ollama"
    shutil.copy("/bin/sh", shell)
    return [str(shell), "-c", "while :; do :; done"]


@pytest.fixture
def _rest(ollama: list[str]) -> Iterator[None]:
    """What is left of the machine is in the hands of our own inference, so that nobody else can have it."""
    with Group(shares=SHARES) as group, running(*[ollama] * CORES, group=group):
        yield


class Onlooker:
    """The program that looks on, and what it has told so far."""

    def __init__(self, *options: str, group: Group | None = None) -> None:
        root = Path(__file__).parents[3]
        self._child = subprocess.Popen(
            [*ONLOOKER, *options],
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            preexec_fn=None if group is None else lambda: group.add(os.getpid()),  # noqa: PLW1509  before it starts any thread
        )
        os.set_blocking(self._child.stdout.fileno(), True)  # type: ignore[union-attr]
        self.reports: list[Report] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.wait()
        self._child.stdout.close()  # type: ignore[union-attr]

    def next(self) -> Report:
        """The next report; waits for it."""
        line = self._child.stdout.readline()  # type: ignore[union-attr]
        assert line, "the onlooker has ended"
        self.reports.append(json.loads(line))
        return self.reports[-1]

    def now(self) -> Report:
        """The first report on a reading that is taken from now on; older ones may still be in the pipe."""
        now = time.monotonic()  # the same clock in every process
        while (report := self.next())["at"] < now:
            pass
        return report

    def falls_back(self) -> Report:
        """The first report that is calm again; more than three seconds, of the readings' own time, after the last one over a limit."""
        report = self.until(is_("available"))
        over = [
            each["at"] for each in self.reports if each["state"] != "available" and "a moment ago" not in each["reason"]
        ]
        assert report["at"] - over[-1] > HOLD
        return report

    def until(self, true: Callable[[Report], object], *, within: int | None = None) -> Report:
        """The first report for which that is true, among the next so many."""
        end, left = time.monotonic() + PATIENCE, within
        report = self.now()
        while not true(report):
            left = None if left is None else left - 1
            told = [(each["state"], each["reason"]) for each in self.reports[-8:]]
            assert left != 0, f"not within {within} readings: {told}"
            assert time.monotonic() < end, f"never: {told}"
            report = self.next()
        return report


def is_(*states: str) -> Callable[[Report], bool]:
    return lambda report: report["state"] in states


@contextmanager
def running(*commands: list[str], group: Group | None = None) -> Iterator[list[subprocess.Popen[str]]]:
    """Child processes, in a group."""
    children = [
        subprocess.Popen(
            command,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=None if group is None else lambda: group.add(os.getpid()),  # noqa: PLW1509
        )
        for command in commands
    ]
    try:
        yield children
    finally:
        for child in children:
            child.kill()
            child.communicate()


@pytest.mark.usefixtures("_rest")
def test_a_burner_in_a_container() -> None:
    """A third of a core, used up by somebody else in there."""
    with Group(cores=0.3, shares=MOST) as group, Onlooker("--server", group=group) as onlooker:
        calm = onlooker.until(is_("available"))
        assert (calm["cores"], calm["cpu_limit_cores"]) == (0.3, 0.3)
        with running(BURN, group=group):
            report = onlooker.until(is_("critical"), within=SOON)
            assert re.fullmatch(
                r"CPU of this (container|control group) \d+ % of 0\.3 cores \(limit 90 %\).*", report["reason"]
            )
            assert report["throttled_percent"] > 20
        assert onlooker.falls_back()["cpu_percent"] < 75


HOG = """
import sys
from pathlib import Path
folder, block = Path(sys.argv[1]), []
def used():
    stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    cache = int(stat["total_active_file"]) + int(stat["total_inactive_file"])
    return int((folder / "memory.usage_in_bytes").read_text()) - cache
for line in sys.stdin:
    while used() < int(line):
        block.append(bytearray(b"x") * (1 << 19))
    print("full", flush=True)
"""


def fill(hog: subprocess.Popen[str], used: int) -> None:
    """Let it take memory until so many bytes of the group are in use."""
    assert hog.stdin is not None
    assert hog.stdout is not None
    hog.stdin.write(f"{used}\n")
    hog.stdin.flush()
    assert hog.stdout.readline() == "full\n"


@pytest.mark.usefixtures("_rest")
def test_a_memory_hog_in_a_container() -> None:
    with Group(memory=256 * MB) as group, Onlooker("--server", group=group) as onlooker:
        calm = onlooker.until(is_("available"))
        assert calm["memory_total_bytes"] == calm["memory_limit_bytes"] == 256 * MB
        with running([sys.executable, "-c", HOG, str(group.folders["memory"])], group=group) as (hog,):
            for percent, state in ((89, "constrained"), (97, "critical")):
                fill(hog, 256 * MB * percent // 100)
                report = onlooker.until(is_(state), within=SOON)
            assert re.match(
                r"memory of this (container|control group) 9\d % of 256 MB \(limit 95 %\)", report["reason"]
            )
            assert report["memory_available_bytes"] < 16 * MB
        assert onlooker.falls_back()["memory_percent"] < 80


READ = """
import mmap, sys
with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as pages:
    while True:
        pages[::4096]
"""


@pytest.mark.usefixtures("_rest")
def test_a_container_that_thrashes(tmp_path: Path) -> None:
    """There is memory left, by the figures; but what is read from files has no room, and is read again and again."""
    file = tmp_path / "weights"
    with file.open("wb") as out:
        for _ in range(96):
            out.write(os.urandom(MB))
        out.flush()
        os.fsync(out.fileno())
        os.posix_fadvise(out.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # else it would stay where we wrote it, outside
    with Group(memory=128 * MB) as group, Onlooker("--server", group=group) as onlooker:
        calm = onlooker.until(is_("available"))
        if calm["pressure_memory_percent"] is None:
            pytest.skip("this kernel tells no pressure")
        hogging, reading = (
            [sys.executable, "-c", HOG, str(group.folders["memory"])],
            [sys.executable, "-c", READ, str(file)],
        )
        with running(hogging, group=group) as (hog,):
            fill(hog, 90 * MB)
            with running(reading, group=group):
                report = onlooker.until(lambda report: "waited for memory" in report["reason"], within=3 * SOON)
            assert report["state"] in ("constrained", "critical")
            assert report["memory_percent"] < 85
            assert report["pressure_memory_percent"] >= 15
        onlooker.falls_back()


@pytest.mark.usefixtures("_rest")
def test_burners_on_the_whole_machine() -> None:
    with Group(shares=MOST) as group, Onlooker("--server") as onlooker:
        onlooker.until(is_("available"))
        with running(*[BURN] * CORES, group=group):
            report = onlooker.until(is_("critical"), within=SOON)
            assert re.match(r"CPU \d+ % \(limit 90 %\)", report["reason"])
        onlooker.falls_back()


@pytest.mark.usefixtures("_rest")
def test_many_who_wait_for_the_processor() -> None:
    """Seven of ten parts of the machine, for far too many: nobody is over a limit, but they wait all the time."""
    with Group(cores=0.7 * CORES, shares=MOST) as group, Onlooker("--server") as onlooker:
        calm = onlooker.until(is_("available"))
        if calm["pressure_cpu_percent"] is None:
            pytest.skip("this kernel tells no pressure")
        with running(*[BURN] * 4 * CORES, group=group):
            report = onlooker.until(is_("constrained", "critical"), within=SOON)
            assert report["cpu_percent"] < 80
            assert re.fullmatch(r"tasks waited for the CPU \d+ % of the time", report["reason"])
        onlooker.falls_back()


def test_our_own_inference_at_full_speed(weights: Path) -> None:
    """A real model loads, and writes on all cores; nobody else does anything that counts."""
    assert weights.exists()
    with Onlooker("--infer", str(CORES)) as onlooker:
        onlooker.until(lambda report: report["own_inference_percent"] > 40)
        onlooker.until(is_("available"))  # the program's own start is not inference
        for _ in range(2 * SOON):
            report = onlooker.next()
            if report["own_inference_percent"] > 40:  # else it is between two answers
                assert report["state"] == "available", report


def test_an_edge_server_at_full_speed(ollama: list[str]) -> None:
    """Ollama is no child of ours; its processes are known by their name."""
    with running(*[ollama] * CORES), Onlooker("--server") as onlooker:
        onlooker.until(lambda report: report["own_inference_percent"] > 80)
        onlooker.until(is_("available"))  # its own start is not inference
        for _ in range(SOON):
            assert onlooker.next()["state"] == "available", onlooker.reports[-1]
