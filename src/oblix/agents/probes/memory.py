"""Main memory: how much there is, and how much of it could be had without swapping."""

from __future__ import annotations

from dataclasses import dataclass

from oblix.agents.probes.system import System


@dataclass(frozen=True, slots=True)
class Memory:
    """Main memory of the machine, in bytes.

    Attributes:
        available: What programs can get without swapping; the file cache that can be dropped is a part of it.
        swap_percent: Swap in use; `None` where there is none.
    """

    total: int
    available: int
    swap_percent: float | None


def read(system: System) -> Memory | None:
    """What there is now."""
    if system.platform != "linux":
        return _from_psutil()
    found = _fields(system.text("/proc/meminfo") or "")
    total, available = found.get("MemTotal"), found.get("MemAvailable")
    if not total or available is None:
        return None
    swap, free = found.get("SwapTotal", 0), found.get("SwapFree", 0)
    return Memory(total, available, 100.0 * (swap - free) / swap if swap else None)


def _fields(text: str) -> dict[str, int]:
    """`MemTotal:  24668720 kB` and the like, in bytes."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        value, _, unit = rest.strip().partition(" ")
        if value.isdigit():
            found[name] = int(value) * (1024 if unit == "kB" else 1)
    return found


def _from_psutil() -> Memory:
    import psutil

    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    return Memory(int(memory.total), int(memory.available), float(swap.percent) if swap.total else None)
