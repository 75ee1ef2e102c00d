"""Graphics processors: NVIDIA by NVML (extra `gpu`). Where nothing can be told, none is reported; nothing is ever guessed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gpu:
    """One graphics processor: load and memory in use, in percent."""

    name: str
    load_percent: float
    memory_percent: float


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
