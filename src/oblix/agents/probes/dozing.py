"""Lets a laptop's graphics processor fall asleep: each look at one keeps it awake, and awake it takes watts from the battery."""

from __future__ import annotations

import time
from collections.abc import Callable

from oblix.agents.probes.system import System

# Seconds for which an idle one is left alone: amdgpu puts it to sleep after 5 s without use (its autosuspend delay), and a look is use.
REST = 12.0


class Dozing:
    """When devices may be looked at. Those of a desktop or a server, which never sleep, always may.

    Args:
        devices: Their folders in sysfs, which have a `power` folder where the kernel can put a device to sleep.
    """

    def __init__(self, system: System, devices: tuple[str, ...], clock: Callable[[], float] = time.monotonic) -> None:
        self._system = system
        self._clock = clock
        self._devices = devices
        self._until = 0.0

    @property
    def can_sleep(self) -> bool:
        """Whether the kernel may put all of them to sleep; one that stays awake is worth looking at."""
        return bool(self._devices) and all(self._power(each, "control") == "auto" for each in self._devices)

    @property
    def is_asleep(self) -> bool:
        """Whether all of them sleep at the moment. Asking this wakes nobody."""
        return bool(self._devices) and all(self._power(each, "runtime_status") == "suspended" for each in self._devices)

    @property
    def is_resting(self) -> bool:
        """Whether they were idle a moment ago, and are left alone so that they can fall asleep."""
        return self._clock() < self._until

    def saw(self, *, idle: bool) -> None:
        """What the last look at them showed."""
        self._until = self._clock() + REST if idle and self.can_sleep else 0.0

    def _power(self, device: str, file: str) -> str | None:
        return self._system.text(f"{device}/power/{file}")
