"""Graphics processors by NVIDIA, told of by their driver's library NVML (extra `gpu`)."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from oblix.agents.probes.dozing import Dozing
from oblix.agents.probes.graphics import Gpu, without_own
from oblix.agents.probes.system import HERE, System

RETRY = (
    60.0  # seconds until a driver that is missing or was lost is tried again: it may have been installed or reloaded
)
WINDOW = 1_000_000  # microseconds up to the newest sample of processes; the driver takes one or more in each second
MOST_PERCENT = 100  # some drivers tell of processes with more, which are none
# nvmlReturn_t (NVML API reference): not initialised, no such handle any more, no driver, no library, GPU lost, reset needed, other
# version. Each other error only means that this device cannot tell one thing.
LOST = frozenset({1, 2, 9, 12, 15, 16, 18})
# nvmlClocksEventReasons (same place): who slows the clocks down. Idle clocks and those that somebody has set slow nobody down.
REASONS = ((0x20 | 0x40, "heat"), (0x4 | 0x80, "power"), (0x8, "hardware"))
_HW_SLOWDOWN, _EXPLAINED = 0x8, 0x40 | 0x80  # the first is set together with either of the others, and says less
_log = logging.getLogger("oblix.agents")


class NvidiaProbe:
    """Keeps NVML open, because opening it takes long and wakes the device. For one thread, which a broken driver may hang.

    Args:
        own_processes: Asked at each reading for the processes whose load is our own inference.
    """

    def __init__(
        self,
        own_processes: Callable[[], frozenset[int]],
        system: System = HERE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._own = own_processes
        self._system = system
        self._clock = clock
        self._nvml: Any = None
        self._handles: tuple[Any, ...] = ()
        self._binding: bool | None = None
        self._retry_at = float("-inf")
        self._since: dict[int, int] = {}  # of each device: from when on its processes' samples are new
        self._latest: tuple[Gpu, ...] = ()
        self._dozing: Dozing | None = None

    def is_present(self) -> bool:
        """Whether a reading is worth its while: NVML's binding is installed, and did not find its library missing a moment ago."""
        if self._binding is None:
            self._binding = "pynvml" in sys.modules or find_spec("pynvml") is not None
        return self._binding and (self._nvml is not None or self._clock() >= self._retry_at)

    def read(self) -> tuple[Gpu, ...]:
        """One reading of each device; empty where there is none. A sleeping one is told as idle, and is not woken."""
        dozing = self._dozing = self._dozing or Dozing(self._system, _devices(self._system), self._clock)
        if dozing.is_resting:
            return self._latest
        if dozing.is_asleep:
            return self._sleeping()
        if self._nvml is None and not self._open():
            return ()
        told = (self._gpu(place, handle) for place, handle in enumerate(self._handles))
        self._latest = tuple(gpu for gpu in told if gpu is not None)
        if not self._latest:
            self._close()  # the driver was unloaded or updated, or the last device fell off the bus
            return ()
        dozing.saw(idle=dozing.can_sleep and self._is_idle())
        if dozing.is_resting:
            self._close(retry_in=0.0)  # what is open stays awake
        return self._latest

    def _is_idle(self) -> bool:
        """Whether nobody uses any of them: a model that is held for the next prompt is a use."""
        return not any(gpu.load_percent or gpu.own_percent for gpu in self._latest) and not any(
            self._ask("nvmlDeviceGetComputeRunningProcesses", handle) for handle in self._handles
        )

    def _open(self) -> bool:
        if self._clock() < self._retry_at:
            return False
        self._retry_at = self._clock() + RETRY
        try:
            import pynvml
        except ImportError:
            self._binding = False
            return False
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            _log.debug("no graphics processor by NVIDIA: %s", error)
            return False
        self._nvml = pynvml
        self._handles = tuple(self._find())
        if not self._handles:
            self._close()
        return bool(self._handles)

    def close(self) -> None:
        """Let go of the driver; the next reading opens it again."""
        if self._nvml is not None:
            self._close(retry_in=0.0)

    def _close(self, retry_in: float = RETRY) -> None:
        nvml, self._nvml, self._handles, self._since = self._nvml, None, (), {}
        self._retry_at = self._clock() + retry_in
        with suppress(nvml.NVMLError):  # it may be gone already
            nvml.nvmlShutdown()

    def _find(self) -> Iterator[Any]:
        """All devices; of one that is divided (MIG), its parts: they are what a program gets."""
        for place in range(self._ask("nvmlDeviceGetCount") or 0):
            device = self._ask("nvmlDeviceGetHandleByIndex", place)
            if device is None:
                continue
            mode = self._ask("nvmlDeviceGetMigMode", device)
            if not mode or not mode[0]:
                yield device
                continue
            for part in range(self._ask("nvmlDeviceGetMaxMigDeviceCount", device) or 0):
                if (handle := self._ask("nvmlDeviceGetMigDeviceHandleByIndex", device, part)) is not None:
                    yield handle

    def _ask(self, function: str, *arguments: Any) -> Any:
        """What NVML says; `None` where this driver or device cannot tell."""
        try:
            return getattr(self._nvml, function)(*arguments)
        except AttributeError:
            return None  # an older binding
        except self._nvml.NVMLError:
            return None

    def _gpu(self, place: int, handle: Any) -> Gpu | None:
        """One device; `None` when it is lost."""
        try:
            name = self._nvml.nvmlDeviceGetName(handle)
        except self._nvml.NVMLError as error:
            if getattr(error, "value", None) in LOST:
                return None
            name = "NVIDIA GPU"
        rates = self._ask("nvmlDeviceGetUtilizationRates", handle)
        total = None if rates is None else float(rates.gpu)
        load, own = without_own(total, None if total is None else self._own_percent(place, handle, total))
        memory = self._ask("nvmlDeviceGetMemoryInfo", handle)
        known = memory is not None and memory.total > 0
        return Gpu(
            name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name),
            load,
            100.0 * memory.used / memory.total if known else None,
            own_percent=own,
            memory_bytes=int(memory.total) if known else None,
            free_bytes=int(memory.free) if known else None,
            temperature_celsius=self._temperature(handle),
            power_watts=_scaled(self._ask("nvmlDeviceGetPowerUsage", handle)),
            energy_joules=_scaled(self._ask("nvmlDeviceGetTotalEnergyConsumption", handle)),
            throttled=self._throttled(handle),
        )

    def _temperature(self, handle: Any) -> float | None:
        for function in ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature"):  # the second goes with CUDA 14
            if (found := self._ask(function, handle, 0)) is not None:  # 0: NVML_TEMPERATURE_GPU
                return float(found)
        return None

    def _throttled(self, handle: Any) -> tuple[str, ...] | None:
        for function in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"):
            if (bits := self._ask(function, handle)) is not None:
                bits = bits & ~_HW_SLOWDOWN if bits & _EXPLAINED else bits
                return tuple(word for mask, word in REASONS if bits & mask)
        return None

    def _own_percent(self, place: int, handle: Any, total: float) -> float | None:
        """Load of our own inference, `None` where the driver does not tell processes apart."""
        own = self._own()
        if not own:
            return 0.0
        try:
            samples = self._nvml.nvmlDeviceGetProcessUtilization(handle, self._since.get(place, 0))
        except (AttributeError, self._nvml.NVMLError) as error:
            if getattr(error, "value", None) == 6:  # not found: nobody used it since then
                return 0.0
            return self._own_if_alone(handle, own, total)
        newest = max((sample.timeStamp for sample in samples), default=WINDOW)
        self._since[place] = newest - WINDOW  # older ones would stand for processes that are idle by now
        shares = (
            sample.smUtil
            for sample in samples
            if sample.pid in own and sample.timeStamp >= newest - WINDOW and sample.smUtil <= MOST_PERCENT
        )
        return float(sum(shares))

    def _own_if_alone(self, handle: Any, own: frozenset[int], total: float) -> float | None:
        """Where the driver names processes without their load: all of it is ours if nobody else is there."""
        working = self._ask("nvmlDeviceGetComputeRunningProcesses", handle)
        drawing = self._ask("nvmlDeviceGetGraphicsRunningProcesses", handle)
        if working is None or drawing is None:
            return None
        pids = {process.pid for process in (*working, *drawing)}
        if not pids:  # one that works for nobody is one whose users are not told (containers, WSL)
            return None if total else 0.0
        if not pids & own:
            return 0.0
        return total if pids <= own else None

    def _sleeping(self) -> tuple[Gpu, ...]:
        """What is known of devices that sleep: nobody uses them."""
        if self._nvml is not None:
            self._close(retry_in=0.0)
        known = self._latest or (Gpu("NVIDIA GPU", 0.0, None),)
        self._latest = tuple(
            replace(gpu, load_percent=0.0, own_percent=None, temperature_celsius=None, power_watts=None, throttled=())
            for gpu in known
        )
        return self._latest


def _scaled(milli: int | None) -> float | None:
    return None if milli is None else milli / 1000.0


def _devices(system: System) -> tuple[str, ...]:
    """The folders of NVIDIA's display devices on the PCI bus; none where there is no such bus."""
    bus = "/sys/bus/pci/devices"
    return tuple(
        f"{bus}/{name}"
        for name in system.names(bus)
        if system.text(f"{bus}/{name}/vendor") == "0x10de"
        and (system.text(f"{bus}/{name}/class") or "").startswith("0x03")
    )
