"""Graphics processors: NVIDIA (extra `gpu`), AMD, Apple. Where nothing can be told, none is reported; nothing is ever guessed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from oblix.agents.probes.amd import AmdProbe
from oblix.agents.probes.apple import AppleProbe
from oblix.agents.probes.graphics import Gpu
from oblix.agents.probes.nvidia import NvidiaProbe
from oblix.agents.probes.system import HERE, System

__all__ = ["Gpu", "GpuProbe"]


class _Make(Protocol):
    def is_present(self) -> bool: ...
    def read(self) -> tuple[Gpu, ...]: ...


class GpuProbe:
    """All graphics processors of a machine. `read` is for one thread, which a broken driver may hang; `is_present` is for any.

    Args:
        own_processes: Asked at each reading for the processes whose load is our own inference.
    """

    def __init__(self, own_processes: Callable[[], frozenset[int]], system: System = HERE) -> None:
        self._makes: tuple[_Make, ...]
        self._nvidia = NvidiaProbe(own_processes, system)
        if system.platform == "darwin":
            self._makes = (AppleProbe(own_processes, system),)
        elif system.is_recorded:  # NVML tells of the machine that it runs on, and of no other
            self._makes = (AmdProbe(own_processes, system),)
        else:
            self._makes = (self._nvidia, AmdProbe(own_processes, system))

    def is_present(self) -> bool:
        """Whether a reading is worth its while. Takes microseconds and touches no driver."""
        return any(make.is_present() for make in self._makes)

    def read(self) -> tuple[Gpu, ...]:
        """One reading of each device; empty where there is none. May hang with its driver."""
        return tuple(gpu for make in self._makes if make.is_present() for gpu in make.read())

    def close(self) -> None:
        """Let go of the drivers, for who reads seldom: a processor whose driver is open does not fall asleep."""
        self._nvidia.close()
