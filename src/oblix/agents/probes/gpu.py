"""Graphics processors: NVIDIA by NVML (extra `gpu`). Where nothing can be told, none is reported; nothing is ever guessed."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass


@dataclass(frozen=True, slots=True)
class Gpu:
    """One graphics processor. Percent are of the device; `None` is "cannot tell".

    Attributes:
        load_percent: Load of everybody else, as far as the driver tells processes apart: our own inference is taken out.
        memory_percent: Memory in use.
        own_percent: Load of our own inference; `None` where the driver does not tell processes apart.
        memory_bytes: Of the device. On a machine whose GPU shares the main memory, what it may use of that.
        free_bytes: Of that, not in use.
        throttled: Why it is slowed down (`heat`, `power`, …); empty when it is not.
        energy_joules: Used since some moment in the past.
        source: Who told: `nvml`, `sysfs`, `ioreg`.
    """

    name: str
    load_percent: float | None
    memory_percent: float | None
    _: KW_ONLY
    own_percent: float | None = None
    memory_bytes: int | None = None
    free_bytes: int | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None
    energy_joules: float | None = None
    throttled: tuple[str, ...] | None = None
    source: str = "nvml"


def read_gpus() -> tuple[Gpu, ...]:
    """All that NVML tells of; empty without its library or a device."""
    try:
        import pynvml
    except ImportError:
        return ()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        return tuple(_read(number) for number in range(pynvml.nvmlDeviceGetCount()))
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()


def _read(number: int) -> Gpu:
    import pynvml

    handle = pynvml.nvmlDeviceGetHandleByIndex(number)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    name = pynvml.nvmlDeviceGetName(handle)
    return Gpu(
        name.decode() if isinstance(name, bytes) else str(name),
        float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        100.0 * memory.used / memory.total if memory.total else 0.0,
    )
