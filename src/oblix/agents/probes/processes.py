"""Processes: what those of our own inference take, and which ones are edge servers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

from oblix.agents.probes.cpu import TICKS
from oblix.agents.probes.system import System

# How the processes of the usual edge servers are called. The kernel keeps 15 characters of a name; vLLM names its workers `VLLM::…`.
SERVER_NAMES = ("ollama", "llama-server", "llama-box", "lms", "lm-studio", "lm studio", "vllm")
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096  # bytes


@dataclass(frozen=True, slots=True)
class Process:
    """One process.

    Attributes:
        started: When, on the clock of `now`. With the number, it tells processes apart.
        cpu_seconds: Processor time since then.
        memory_bytes: What it holds of its own; files that it has mapped (weights) can be dropped and are not in it.
    """

    number: int
    started: float
    cpu_seconds: float
    memory_bytes: int


def read(system: System, number: int) -> Process | None:
    """The process; `None` when it has ended."""
    if system.platform != "linux":
        return _from_psutil(number)
    stat, pages = system.text(f"/proc/{number}/stat"), system.text(f"/proc/{number}/statm")
    if not stat or not pages:
        return None
    fields = stat.rpartition(")")[2].split()  # its name may hold spaces and brackets
    try:
        _, resident, shared, *_ = map(int, pages.split())
        spent, started = int(fields[11]) + int(fields[12]), int(fields[19])
    except (ValueError, IndexError):  # not as any kernel that we know writes it
        return None
    if not resident:
        return None  # a zombie
    return Process(number, started / TICKS, spent / TICKS, (resident - shared) * PAGE)


def now(system: System) -> float:
    """Seconds since the machine began; where there is no `/proc`, since the epoch."""
    if system.platform != "linux":
        return time.time()
    try:
        return float((system.text("/proc/uptime") or "").partition(" ")[0])
    except ValueError:
        return float("inf")  # everything is old


def edge_servers(system: System) -> frozenset[int]:
    """The processes that are called like an edge server. Looks at every process: some 10 µs each."""
    if system.platform != "linux":
        return _servers_from_psutil()
    numbers = (int(name) for name in system.names("/proc") if name.isdigit())
    return frozenset(number for number in numbers if _is_server(system.text(f"/proc/{number}/comm")))


class Tally:
    """Processor seconds of a set of processes that changes, as a counter that only grows.

    What a process took before it was first seen is left out, because nobody knows when it took it; but of one that is young it counts
    in full: an engine is busiest while it loads, and it is not told of as ours in the first moment. What one took between its last
    reading and its end is lost.

    Args:
        young: Seconds. As long as the window that the counter is looked at through.
    """

    def __init__(self, young: float) -> None:
        self.seconds = 0.0
        self._young = young
        self._seen: dict[tuple[int, float], float] = {}

    def add(self, processes: Iterable[Process], now: float) -> float:
        """The counter with what these processes took since the last call."""
        seen = {(process.number, process.started): process.cpu_seconds for process in processes}
        for process, spent in seen.items():
            is_young = now - process[1] <= self._young
            before = self._seen.get(process, 0.0 if is_young else spent)
            self.seconds += max(0.0, spent - before)
        self._seen = seen
        return self.seconds


def _is_server(name: str | None) -> bool:
    return name is not None and name.lower().startswith(SERVER_NAMES)


def _from_psutil(number: int) -> Process | None:
    import psutil

    try:
        process = psutil.Process(number)
        with process.oneshot():
            spent, memory = process.cpu_times(), process.memory_info()
            return Process(number, process.create_time(), spent.user + spent.system, int(memory.rss))
    except psutil.Error:
        return None


def _servers_from_psutil() -> frozenset[int]:
    import psutil

    return frozenset(process.pid for process in psutil.process_iter(["name"]) if _is_server(process.info["name"]))
