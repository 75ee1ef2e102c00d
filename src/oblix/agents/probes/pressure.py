"""Pressure stall information: for how long tasks had to wait for a processor or for memory (Linux, `/proc/pressure`).

The kernel's own averages are slow: the quickest one forgets half of what it saw in 7 s. The totals beside them are exact, so two
readings tell the share of any window (https://docs.kernel.org/accounting/psi.html).
"""

from __future__ import annotations

from dataclasses import dataclass

from oblix.agents.probes.system import System


@dataclass(frozen=True, slots=True)
class Pressure:
    """Counters, in seconds since the machine (or the control group) began.

    Attributes:
        some: At least one task waited.
        full: All that had something to do waited.
        some_percent: The kernel's mean over the last 10 s, for when there is no second reading yet.
        full_percent: The same.
    """

    some: float
    full: float
    some_percent: float
    full_percent: float


def read(system: System, path: str) -> Pressure | None:
    """The counters of one file; `None` where the kernel keeps none, or they are switched off."""
    text = system.text(path)
    if not text:
        return None
    found: dict[str, dict[str, str]] = {}
    try:
        for line in text.splitlines():
            kind, *fields = line.split()
            found[kind] = dict(field.split("=") for field in fields)
        some, full = found["some"], found.get("full", _NEVER)  # older kernels tell no "full" of processors
        return Pressure(
            1e-6 * int(some["total"]), 1e-6 * int(full["total"]), float(some["avg10"]), float(full["avg10"])
        )
    except (KeyError, ValueError):
        return None


_NEVER = {"avg10": "0", "total": "0"}
