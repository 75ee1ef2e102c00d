"""One graphics processor, as the probes tell of it."""

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
        free_shared_bytes: Of the free ones, those that lie in the main memory, and are free there as well.
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
    free_shared_bytes: int = 0
    temperature_celsius: float | None = None
    power_watts: float | None = None
    energy_joules: float | None = None
    throttled: tuple[str, ...] | None = None
    source: str = "nvml"


def without_own(total: float | None, own: float | None) -> tuple[float | None, float | None]:
    """The load of everybody else and our own, from the device's whole load and ours; the two were measured at different moments."""
    if total is None or own is None:
        return total, None
    own = min(max(0.0, own), total)
    return total - own, own
