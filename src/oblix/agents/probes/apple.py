"""Graphics processors of a Mac, from the I/O registry: load, memory, and the time that each process took."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from oblix.agents.probes.graphics import Gpu, without_own
from oblix.agents.probes.ioreg import ioreg, number
from oblix.agents.probes.system import HERE, System

EVERY = 8.0  # seconds that a reading is kept: each one starts `ioreg`, which takes some 20 ms of a core
# Share of the main memory that Metal lets one program use, by default: two thirds, of 36 GiB and more three quarters. These are the
# `recommendedMaxWorkingSetSize` that llama.cpp prints on Macs of 8 to 192 GiB; `iogpu.wired_limit_mb` overrides it.
LARGE = 36 * 2**30


class AppleProbe:
    """The graphics processors of a Mac. For one thread only."""

    def __init__(
        self,
        own_processes: Callable[[], frozenset[int]],
        system: System = HERE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._own = own_processes
        self._system = system
        self._clock = clock
        self._latest: tuple[float, tuple[Gpu, ...]] | None = None
        self._spent: dict[
            tuple[int, int], tuple[float, int]
        ] = {}  # of each device and process: when, and nanoseconds until then

    def is_present(self) -> bool:
        """Whether this is a Mac: every one has a graphics processor."""
        return self._system.platform == "darwin"

    def read(self) -> tuple[Gpu, ...]:
        """A reading, at most eight seconds old."""
        now = self._clock()
        if self._latest is None or now - self._latest[0] >= EVERY:
            own = self._own()
            entries = ioreg(self._system, "IOAccelerator", depth=2 if own else 1)
            told = [(place, entry, entry.get("PerformanceStatistics")) for place, entry in enumerate(entries)]
            gpus = tuple(
                self._gpu(entry, figures, self._own_percent(place, entry, own, now))
                for place, entry, figures in told
                if isinstance(figures, dict)
            )
            self._latest = (now, gpus)
        return self._latest[1]

    def _gpu(self, entry: dict[str, Any], figures: dict[str, Any], own: float | None) -> Gpu:
        total, free, shared = self._memory(figures)
        load, own = without_own(_percent(figures, "Device Utilization %"), own)
        used = None if total is None or free is None else 100.0 * (total - free) / total
        return Gpu(
            _name(entry),
            load,
            used,
            own_percent=own,
            memory_bytes=total,
            free_bytes=free,
            free_shared_bytes=shared,
            source="ioreg",
        )

    def _memory(self, figures: dict[str, Any]) -> tuple[int | None, int | None, int]:
        """Bytes in all, the free ones, and those of the free ones that are main memory: a card (Intel Macs) has its own, others share."""
        used, free = number(figures, "vramUsedBytes"), number(figures, "vramFreeBytes")
        if used is not None and free is not None and used + free > 0:
            return used + free, free, 0
        used, main = number(figures, "In use system memory"), self._sysctl("hw.memsize")
        if used is None or main is None:
            return None, None, 0
        total = (self._sysctl("iogpu.wired_limit_mb") or 0) * 2**20 or (
            main * 3 // 4 if main >= LARGE else main * 2 // 3
        )
        free = max(0, total - used)
        return total, free, free

    def _sysctl(self, name: str) -> int | None:
        said = self._system.output("sysctl", "-n", name)
        return int(said) if said is not None and said.isdecimal() else None

    def _own_percent(self, place: int, entry: dict[str, Any], own: frozenset[int], now: float) -> float | None:
        """Our processes' share since the last reading; `None` where the driver does not tell, or nobody of ours was there before."""
        spent: dict[tuple[int, int], int] = {}
        for client in entry.get("IORegistryEntryChildren") or ():
            pid, nanoseconds = _creator(client), _nanoseconds(client)
            if pid in own and nanoseconds is not None:
                spent[place, pid] = spent.get((place, pid), 0) + nanoseconds
        shares = [
            (nanoseconds - self._spent[key][1]) / 1e9 / (now - self._spent[key][0])
            for key, nanoseconds in spent.items()
            if key in self._spent and now > self._spent[key][0]
        ]
        kept = {key: value for key, value in self._spent.items() if key[0] != place}
        self._spent = kept | {key: (now, nanoseconds) for key, nanoseconds in spent.items()}
        return 100.0 * sum(max(0.0, share) for share in shares) if shares else None


def _name(entry: dict[str, Any]) -> str:
    model = entry.get("model")
    if isinstance(model, bytes):  # as the firmware of Intel Macs has it
        model = model.rstrip(b"\0").decode("utf-8", "replace")
    return str(model or entry.get("IOObjectClass") or entry.get("IOClass") or "Apple GPU")


def _percent(figures: dict[str, Any], key: str) -> float | None:
    value = number(figures, key)
    return None if value is None else float(min(100, max(0, value)))


def _creator(client: object) -> int:
    """The process that a client of the driver belongs to ("pid 533, WindowServer"); -1 where that is not told."""
    said = client.get("IOUserClientCreator") if isinstance(client, dict) else None
    word = said.removeprefix("pid ").partition(",")[0] if isinstance(said, str) else ""
    return int(word) if word.isdecimal() else -1


def _nanoseconds(client: dict[str, Any]) -> int | None:
    """What it took of the device so far: on the client itself (Intel), or per interface (Apple silicon)."""
    if (direct := number(client, "accumulatedGPUTime")) is not None:
        return direct
    usage = client.get("AppUsage")
    if not isinstance(usage, list):
        return None
    return sum(number(item, "accumulatedGPUTime") or 0 for item in usage if isinstance(item, dict))
