"""Processes: what ours take, and which are edge servers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.agents.probes.cpu import TICKS
from oblix.agents.probes.processes import PAGE, Process, Tally, edge_servers, now, read
from oblix.agents.probes.system import HERE

from .machines import written


def process(number: int, name: str, *, spent: int = 100, pages: str = "900 500 200 1 0 300 0") -> dict[str, object]:
    fields = f"S 1 1 1 0 -1 4194304 98 0 0 0 {spent} 50 7 7 20 0 1 0 4200 3133440 358"
    return {
        f"proc/{number}/stat": f"{number} ({name}) {fields}",
        f"proc/{number}/statm": pages,
        f"proc/{number}/comm": name,
    }


def test_a_process(tmp_path: Path) -> None:
    """Whatever its name looks like; files that it mapped are not its own memory."""
    system = written(tmp_path, process(7, "a) (b c"))
    assert read(system, 7) == Process(7, 4200 / TICKS, 150 / TICKS, 300 * PAGE)


@pytest.mark.parametrize("files", [{"proc/7/statm": "1 2"}, {"proc/7/stat": "7 (x) S 1"}, {"proc/7/stat": "odd"}])
def test_one_that_is_told_of_oddly_is_none(tmp_path: Path, files: dict[str, object]) -> None:
    assert read(written(tmp_path, process(7, "x") | files), 7) is None


def test_one_that_has_ended_is_none(tmp_path: Path) -> None:
    system = written(tmp_path, process(7, "zombie", pages="0 0 0 0 0 0 0"))
    assert read(system, 7) is None
    assert read(system, 8) is None


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc")
def test_this_process_and_its_memory() -> None:
    before = read(HERE, os.getpid())
    block = bytearray(os.urandom(32 << 20))
    after = read(HERE, os.getpid())
    assert before is not None
    assert after is not None
    assert after.memory_bytes - before.memory_bytes > len(block) * 0.9
    assert after.cpu_seconds >= before.cpu_seconds > 0
    assert after.started == before.started


@pytest.mark.parametrize("name", ["ollama", "llama-server", "LM Studio", "VLLM::EngineCor", "vllm", "lms", "llama-box"])
def test_edge_servers_are_known_by_name(tmp_path: Path, name: str) -> None:
    system = written(tmp_path, process(41, "python3") | process(42, name) | {"proc/uptime": "1 1", "proc/43/stat": "x"})
    assert edge_servers(system) == {42}


def test_a_running_one_is_found(tmp_path: Path) -> None:
    shell = tmp_path / "ollama"
    shutil.copy("/bin/sh", shell)
    with subprocess.Popen([shell, "-c", "read line"], stdin=subprocess.PIPE, text=True) as child:
        while child.pid not in edge_servers(HERE):  # until it has become that program
            assert child.poll() is None
        child.communicate("\n")
    assert child.pid not in edge_servers(HERE)


def test_what_a_child_takes_is_counted() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        tally = Tally(2.0)
        while tally.seconds < 0.05:
            found = read(HERE, child.pid)
            tally.add([] if found is None else [found], now(HERE))
        child.kill()


def took(number: int, seconds: float, *, started: float = 1.0) -> Process:
    return Process(number, started, seconds, 0)


LATER = 1e6  # long after they started


def test_a_tally() -> None:
    tally = Tally(2.0)
    assert tally.add([took(1, 100.0)], LATER) == 0.0  # nobody knows when it took those
    assert tally.add([took(1, 101.0), took(2, 7.0)], LATER) == 1.0
    assert tally.add([took(1, 101.5), took(2, 7.25)], LATER) == 1.75
    assert tally.add([took(2, 8.25)], LATER) == 2.75
    assert tally.add([took(1, 200.0), took(2, 8.25)], LATER) == 2.75  # a new one, or one that was gone for a while
    assert tally.add([took(2, 0.5, started=9.0)], LATER) == 2.75  # another process of the same number
    assert tally.add([], LATER) == 2.75


def test_one_that_is_young_counts_from_its_start() -> None:
    """Our engine's load took three seconds of two cores, and for five seconds the machine was critical."""
    tally = Tally(2.0)
    assert tally.add([took(1, 3.0, started=50.0)], 51.5) == 3.0
    assert tally.add([took(1, 3.5, started=50.0), took(2, 9.0, started=49.0)], 52.0) == 3.5


@given(st.lists(st.dictionaries(st.integers(1, 4), st.floats(0, 1e6), max_size=4), max_size=20))
def test_a_tally_never_goes_back(readings: list[dict[int, float]]) -> None:
    tally = Tally(2.0)
    seen = [tally.add((took(*each) for each in reading.items()), number) for number, reading in enumerate(readings)]
    assert seen == sorted(seen)


def test_the_clock_of_processes(tmp_path: Path) -> None:
    assert now(written(tmp_path / "one", {"proc/uptime": "1234.56 99.1"})) == 1234.56
    assert now(written(tmp_path / "two", {})) == float("inf")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        found = read(HERE, child.pid)
        assert found is not None
        assert -0.02 <= now(HERE) - found.started < 60
        child.communicate(b"\n")
