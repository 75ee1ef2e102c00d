"""What happened between two looks at counters that only grow: exact means over the time between. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oblix.agents.probes.cgroup import CpuUse
from oblix.agents.probes.cpu import CpuTimes
from oblix.agents.probes.pressure import Pressure

SETTLED = 0.4  # seconds from which on shares are believed without a second witness; below, one clock tick of 10 ms is 2 % and more


@dataclass(frozen=True, slots=True)
class Counters:
    """All counters of one moment, in seconds.

    Attributes:
        at: The moment, on a clock that does not go back.
        own: Processor time of our own inference.
        own_inside: Of that, what was taken inside of our control group.
        own_here: Of that, what was surely taken on our processors: by processes that may run on no others.
        groups: One entry for each control group that is limited, the innermost first.
        ourselves: Processor time of this very process, unless it is our own inference.
    """

    at: float
    cpu: CpuTimes | None
    own: float
    own_inside: float
    own_here: float
    groups: tuple[CpuUse | None, ...]
    pressure_cpu: Pressure | None
    pressure_memory: Pressure | None
    ourselves: float = 0.0


def seconds_between(before: Counters, now: Counters) -> float:
    """Never zero, so that one may divide by it."""
    return max(1e-3, now.at - before.at)


def free_cores(before: Counters, now: Counters, *, cores: int, limits: Sequence[float]) -> float | None:
    """Cores that everybody else left to us and to our own inference; the tightest group counts. `None`: nothing tells.

    Args:
        cores: Those of the machine that we may run on.
        limits: Of each control group, in cores.
    """
    found: list[float] = []
    ourselves = _ourselves(before, now)
    if before.cpu is not None and now.cpu is not None and (total := now.cpu.total - before.cpu.total) > 0:
        elsewhere = now.cpu.elsewhere - before.cpu.elsewhere
        others = now.cpu.busy - before.cpu.busy - _own_here(before, now, elsewhere) - ourselves
        found.append(cores * (1.0 - max(0.0, others) / total))
    for limit, earlier, later in zip(limits, before.groups, now.groups, strict=True):
        if earlier is not None and later is not None:
            others = later.seconds - earlier.seconds - (now.own_inside - before.own_inside) - ourselves
            found.append(limit - max(0.0, others) / seconds_between(before, now))
    return max(0.0, min(found)) if found else None


def _own_here(before: Counters, now: Counters, elsewhere: float) -> float:
    """The least that our own inference took on our processors: what those that are `elsewhere` cannot have given it.

    It may have taken more, and then others count as busier than they are; never as idle when they are not.
    """
    here = now.own_here - before.own_here
    return here + max(0.0, now.own - before.own - here - elsewhere)


def _ourselves(before: Counters, now: Counters) -> float:
    """What this process took of a window that is too short to tell: a program that has just begun is busy with its imports.

    Of a longer window nothing is taken out: a program that computes leaves less to a model beside it.
    """
    return max(0.0, now.ourselves - before.ourselves) if seconds_between(before, now) < SETTLED else 0.0


def stalled(before: Pressure | None, now: Pressure | None, seconds: float) -> tuple[float | None, float | None]:
    """Percent of the time in which some, and in which all, had to wait; over a time too short to tell, the kernel's own mean."""
    if before is None or now is None:
        return None, None
    if seconds < SETTLED:
        return now.some_percent, now.full_percent
    return _share(now.some - before.some, seconds), _share(now.full - before.full, seconds)


def throttled(before: Counters, now: Counters) -> float | None:
    """Percent of the periods in which a quota was used up, in the worst group; `None` without a quota."""
    pairs = [(one, two) for one, two in zip(before.groups, now.groups, strict=True) if one and two]
    if not pairs:
        return None
    return max(_share(two.throttled - one.throttled, max(1, two.periods - one.periods)) for one, two in pairs)


def _share(part: float, whole: float) -> float:
    return min(100.0, max(0.0, 100.0 * part / whole))
