"""Free memory, for models to be loaded into: what a container leaves us of the main memory, and that of graphics processors.

And what an embedded model takes of it, which its file tells.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from oblix.agents.probes.system import HERE, System
from oblix.errors import AttemptFailed
from oblix.models.memory import DEFAULT_WINDOW, Need, Room, need

if TYPE_CHECKING:
    from oblix.agents.probes.gpu import Gpu, GpuProbe

EMBEDDED_SLOTS, EMBEDDED_BATCH = 2, 64  # as the embedded engine is started


class RoomProbe:
    """Takes readings one after the other. For one thread, which a broken graphics driver may hang; it also imports what reads."""

    def __init__(self, system: System = HERE) -> None:
        self._system = system
        self._gpus: GpuProbe | None = None

    def read(self) -> Room:
        """What is free now."""
        from oblix.agents.probes.gpu import GpuProbe

        self._gpus = self._gpus or GpuProbe(frozenset, self._system)
        try:
            return Room(_ram(self._system), vram_of(self._gpus.read() if self._gpus.is_present() else ()))
        finally:
            self._gpus.close()


def vram_of(gpus: Iterable[Gpu]) -> int | None:
    """Free bytes of the processors that have a memory of their own; `None` where there are none, or none says.

    What they may use of the main memory is counted there, once. Some have both: a part that is set apart at boot, and a share of the rest.
    """
    told = [(gpu.free_bytes, gpu.free_shared_bytes) for gpu in gpus if gpu.free_bytes is not None]
    own = [free - shared for free, shared in told if free > shared or not shared]
    return sum(own) if own else None


def _ram(system: System) -> int | None:
    from oblix.agents.probes import cgroup, memory

    found = memory.read(system)
    if found is None:
        return None
    left = [group.limit - used for group in cgroup.find(system).memory if (used := group.used(system)) is not None]
    return max(0, min([found.available, *left]))


def embedded_need(name: str, window: int | None) -> Need | None:
    """What an embedded model takes once it is loaded; `None` when its weights are not here. Reads the head of a file."""
    from oblix.models.embedded.gguf import CorruptFile, read_head
    from oblix.models.embedded.weights import resolve

    try:
        weights = resolve(name)
        shape = read_head(weights.path).shape
    except (AttemptFailed, CorruptFile, OSError):
        return None
    chosen = window or min(weights.window or DEFAULT_WINDOW, DEFAULT_WINDOW)
    return need(weights.size, shape, window=chosen, slots=EMBEDDED_SLOTS, batch=EMBEDDED_BATCH)
