"""The thresholds of the ResourceMonitor: their defaults, and what a user may give instead."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

from oblix.errors import ConfigurationError, known_hint

# In percent, as the contract has them; a load is none, and its default depends on the machine.
DEFAULTS: dict[str, float] = {
    "cpu_threshold": 80.0,
    "memory_threshold": 85.0,
    "gpu_threshold": 85.0,
    "critical_cpu": 90.0,
    "critical_memory": 95.0,
    "critical_gpu": 95.0,
}
LOAD = "load_threshold"
TWINS = (("cpu_threshold", "critical_cpu"), ("memory_threshold", "critical_memory"), ("gpu_threshold", "critical_gpu"))


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From which values on a machine is constrained or critical.

    Attributes:
        percent: All keys of `DEFAULTS`.
        load: Tasks that run or wait; `None`: by the number of cores.
    """

    percent: Mapping[str, float]
    load: float | None = None

    @classmethod
    def read(cls, given: Mapping[str, float]) -> Thresholds:
        """The defaults with what a user wishes. A threshold at or above its critical twin lifts the twin half-way to 100.

        Raises:
            ConfigurationError: It is no mapping, a key is unknown (the nearest is named), or a value is no number in its range.
        """
        if not isinstance(given, Mapping):
            hint = 'Give e.g. {"cpu_threshold": 70}.'
            raise ConfigurationError(f"custom_thresholds={given!r} is no mapping of names to numbers.", hint=hint)
        for key, value in given.items():
            _check(key, value)
        percent = DEFAULTS | {key: float(value) for key, value in given.items() if key in DEFAULTS}
        for lower, critical in TWINS:
            if lower in given and percent[lower] >= percent[critical]:
                lifted = (percent[lower] + 100.0) / 2
                if critical in given:
                    told = f"{lower}={given[lower]} is not below {critical}={given[critical]}"
                    # At whoever made the ResourceMonitor.
                    warnings.warn(f"{told}; {critical} is taken as {lifted:g}", UserWarning, stacklevel=3)
                percent[critical] = lifted
        return cls(percent, float(given[LOAD]) if LOAD in given else None)


def in_quotes(key: str, value: object) -> tuple[str, str]:
    """What an error has to add about a text where a number belongs: to what happened, and as the hint. Empty for anything else."""
    if not isinstance(value, str):
        return "", ""
    try:
        float(value)
    except ValueError:
        return ", but a text", ""
    return ", but a text", f"Write it without quotes: {key}={value.strip()}."


def _check(key: str, value: object) -> None:
    known = (*DEFAULTS, LOAD)
    if key not in known:
        hint = known_hint(str(key), known, closeness=0.4)
        raise ConfigurationError(f"{key!r} is no threshold of ResourceMonitor.", hint=hint)
    most = 1e6 if key == LOAD else 100.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        hint = "Give a number above 0." if key == LOAD else "Give percent, above 0 and up to 100."
        but, instead = in_quotes(key, value)
        raise ConfigurationError(f"{key}={value!r} is no number in its range{but}.", hint=instead or hint)
