"""Whether the edge servers of this machine are at work: the processor time that their processes have taken by now."""

from __future__ import annotations

from oblix.agents.probes import processes
from oblix.agents.probes.system import HERE, System

# Share of a core below which a server does nothing. One that answers works harder, also where a graphics processor computes: feeding that
# takes some percent of a core, waiting for it often a whole one.
STILL_STANDING = 0.02


def cpu_seconds(system: System = HERE) -> float | None:
    """Of all edge servers together; `None` where none is seen. Looks at every process, so that it belongs on a thread."""
    found = [processes.read(system, number) for number in processes.edge_servers(system)]
    spent = [process.cpu_seconds for process in found if process is not None]
    return sum(spent) if spent else None


def stood_still(before: float | None, after: float | None, *, seconds: float) -> bool:
    """Whether they did nothing in these seconds; `False` where that is not known: one may have ended, or cannot be seen."""
    return before is not None and after is not None and 0.0 <= after - before <= STILL_STANDING * seconds
