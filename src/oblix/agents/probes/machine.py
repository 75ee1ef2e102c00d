"""One reading of the machine: processor, memory, pressure, graphics processors."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from oblix.agents.probes.gpu import Gpu, read_gpus
from oblix.errors import ConfigurationError

FIRST_WINDOW = 0.06  # seconds; short enough for the first prompt to wait for it, 12 clock ticks on two cores
SERVER_NAMES = (
    "ollama",
    "llama-server",
    "llama-box",
    "lms",
    "vllm",
)  # how the usual edge servers' processes are called
SERVERS_EVERY = 30.0  # seconds; listing all processes takes 40 ms


@dataclass(frozen=True, slots=True)
class Machine:
    """What the machine is doing. Percent are of the whole machine; `None` is "cannot tell".

    Attributes:
        cpu_percent: Load of everybody else: our own inference is taken out.
        own_percent: Load of our own inference.
        settled: Measured over long enough to be believed without a second witness.
        pressure_cpu_percent: Share of the last 10 s in which somebody waited for a processor (`/proc/pressure/cpu`, some avg10).
        source: `sensors`, or the file of a recorded reading.
    """

    cpu_percent: float | None
    cores: int
    _: KW_ONLY
    own_percent: float = 0.0
    settled: bool = True
    load_1min: float | None = None
    pressure_cpu_percent: float | None = None
    memory_percent: float | None = None
    memory_available_bytes: int | None = None
    swap_percent: float | None = None
    gpus: tuple[Gpu, ...] = ()
    source: str = "sensors"


class MachineProbe:
    """Takes readings one after the other; processor load is the difference between two of them. For one thread only."""

    def __init__(self, own_processes: Callable[[], frozenset[int]], has_local_server: Callable[[], bool]) -> None:
        self._own = own_processes
        self._has_server = has_local_server
        self._last: tuple[float, float, float, dict[int, float]] | None = None
        self._smooth: float | None = None
        self._servers: tuple[float, frozenset[int]] = (float("-inf"), frozenset())

    def read(self) -> Machine:
        """A reading. The first one takes 60 ms, because load needs an interval."""
        recorded = os.environ.get("OBLIX_READINGS")
        if recorded:
            return read_recorded(Path(recorded))
        import psutil

        settled = self._last is not None
        if self._last is None:
            self._last = self._times()
            time.sleep(FIRST_WINDOW)
        total, own = self._load()
        others = None if total is None else max(0.0, total - own)
        if others is not None:
            self._smooth = others if self._smooth is None else 0.5 * self._smooth + 0.5 * others
        memory = psutil.virtual_memory()
        return Machine(
            self._smooth,
            _cores(),
            own_percent=own,
            settled=settled,
            load_1min=_load_average(),
            pressure_cpu_percent=_pressure(),
            memory_percent=float(memory.percent),
            memory_available_bytes=int(memory.available),
            swap_percent=float(psutil.swap_memory().percent),
            gpus=read_gpus(),
        )

    def _load(self) -> tuple[float | None, float]:
        """Percent of the whole machine since the last call: of everybody, and of our own inference."""
        before, self._last = self._last, self._times()
        assert before is not None
        elapsed, busy = self._last[1] - before[1], self._last[2] - before[2]
        if elapsed <= 0:
            return None, 0.0
        own = sum(seconds - before[3][pid] for pid, seconds in self._last[3].items() if pid in before[3])
        wall = max(1e-3, self._last[0] - before[0])
        return 100 * busy / elapsed, min(100.0, 100 * max(0.0, own) / (wall * (os.cpu_count() or 1)))

    def _times(self) -> tuple[float, float, float, dict[int, float]]:
        """Now, processor seconds of all cores in all and busy, and those of each process of ours."""
        import psutil

        times: Any = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # counted in user and nice already
        all_ = sum(times) - guests
        own: dict[int, float] = {}
        for pid in self._own() | self._server_processes():
            try:
                spent = psutil.Process(pid).cpu_times()
            except psutil.Error:
                continue  # it has ended
            own[pid] = spent.user + spent.system
        return time.monotonic(), all_, all_ - idle, own

    def _server_processes(self) -> frozenset[int]:
        if not self._has_server():
            return frozenset()
        at, found = self._servers
        if time.monotonic() - at > SERVERS_EVERY:
            import psutil

            found = frozenset(
                process.pid
                for process in psutil.process_iter(["name"])
                if (process.info["name"] or "").lower().startswith(SERVER_NAMES)
            )
            self._servers = (time.monotonic(), found)
        return found


def read_recorded(path: Path) -> Machine:
    """A recorded reading, for tests and for telling others what a decision saw.

    Raises:
        ConfigurationError: The file is missing or does not hold one.
    """
    import msgspec

    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        found.pop("recorded", None)
        return msgspec.convert({**found, "source": f"recorded: {path.name}"}, Machine)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigurationError(f"OBLIX_READINGS={str(path)!r} is no recorded reading: {error}") from error


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _load_average() -> float | None:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _pressure() -> float | None:
    try:
        text = Path("/proc/pressure/cpu").read_text("ascii")
        return float(text.split("avg10=", 1)[1].split(" ", 1)[0])
    except (OSError, IndexError, ValueError):
        return None
