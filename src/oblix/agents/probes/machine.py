"""One reading of the machine, or of the container that we are in: processor, memory, pressure, and which of it is our own inference."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from oblix.agents.probes import cgroup, cpu, memory, pressure, processes
from oblix.agents.probes.gpu import Gpu
from oblix.agents.probes.system import HERE, System
from oblix.agents.probes.window import SETTLED, Counters, free_cores, seconds_between, stalled, throttled
from oblix.errors import ConfigurationError, known_hint

# Seconds that a reading covers. The first is short enough for a prompt to wait for it, and 12 clock ticks on two cores; of the others, half
# of a second is noise, and after 3 s a busy machine must be known as one.
FIRST_WINDOW, WINDOW = 0.06, 2.0
FORGOTTEN = 10.0  # seconds without a reading, after which a mean over all that time says nothing about now
SLOW = 10.0  # seconds between two looks at what seldom changes: limits, and which cores we may use
RECORDED = "recorded: "  # what the source of a recorded reading begins with, before the name of its file
REQUIRED = "It must be a JSON object with cpu_percent (0 to 100, or null) and cores."
SERVERS_EVERY = 30.0  # seconds between two searches for edge servers, which look at every process


@dataclass(frozen=True, slots=True)
class Machine:
    """What the machine is doing. Percent are of what this process may use of it; `None` is "cannot tell".

    Where control groups (a container) limit this process, it is the tightest limit that counts.

    Attributes:
        cpu_percent: What everybody else takes: our own inference is taken out; of a first reading, this process as well.
        cores: Cores that we may use, possibly a fraction of one.
        own_percent: Load of our own inference.
        settled: Measured over long enough to be believed without a second witness.
        pressure_cpu_percent: Share of the last 2 s (of a first reading: of the last 10 s) in which somebody waited for a processor.
        pressure_memory_percent: The same for memory: somebody waited while it was being freed, or read back.
        pressure_memory_full_percent: Share of the time in which nobody could work for that reason.
        memory_percent: What everybody else holds: what our own inference holds is taken out.
        own_memory_bytes: What our own inference holds; weights that are mapped from a file are not in it.
        throttled_percent: Share of the periods in which the container's quota of processor time was used up.
        machine_cores: Of the machine, where a limit leaves us fewer.
        in_container: `None` where nobody looked (a recorded reading).
        gpus_stale: There are graphics processors, and they gave no reading in the last seconds.
        source: `sensors`, or the file of a recorded reading.
    """

    cpu_percent: float | None
    cores: float
    _: KW_ONLY
    own_percent: float = 0.0
    settled: bool = True
    load_1min: float | None = None
    pressure_cpu_percent: float | None = None
    pressure_memory_percent: float | None = None
    pressure_memory_full_percent: float | None = None
    memory_percent: float | None = None
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None
    memory_limit_bytes: int | None = None
    own_memory_bytes: int = 0
    swap_percent: float | None = None
    cpu_limit_cores: float | None = None
    throttled_percent: float | None = None
    machine_cores: int | None = None
    in_container: bool | None = None
    gpus: tuple[Gpu, ...] = ()
    gpus_stale: bool = False
    source: str = "sensors"


@dataclass(frozen=True, slots=True)
class _Place:
    """What seldom changes: where we run, and under which limits."""

    usable: frozenset[int] | None
    machine_cores: int
    groups: cgroup.Groups

    @property
    def cores(self) -> int:
        return len(self.usable) if self.usable else self.machine_cores

    def confines(self, system: System, number: int) -> bool:
        """Whether a process may run on no other cores than we may."""
        if self.usable is None or len(self.usable) >= self.machine_cores:
            return True
        theirs = cpu.usable_cores(system, number)
        return theirs is not None and theirs <= self.usable

    @property
    def limit(self) -> float:
        return min(float(self.cores), self.groups.cpu_limit() or float(self.cores))


class _Own(NamedTuple):
    """A process of our own inference, and which of our limits hold for it as well."""

    process: processes.Process
    inside: cgroup.Inside
    is_here: bool  # it may run on no processors but ours


class MachineProbe:
    """Takes readings one after the other; what is a share of time is the difference between two of them. For one thread only.

    Args:
        own_processes: Processes of our own inference.
        has_local_server: Whether the edge servers of this machine count as our own inference, too.
        clock: Seconds that do not go back.
        wait: Waits so many seconds, for the first reading.

    Attributes:
        own: The processes that the last reading took for our own inference. To be read from any thread.
    """

    def __init__(
        self,
        own_processes: Callable[[], frozenset[int]],
        has_local_server: Callable[[], bool],
        *,
        system: System = HERE,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._own, self._has_server = own_processes, has_local_server
        self._system, self._clock, self._wait = system, clock, wait
        self._place: _Place | None = None
        self._looked_around = self._searched = float("-inf")
        self._servers: frozenset[int] = frozenset()
        self._past: deque[Counters] = deque()
        self._tally, self._tally_inside, self._tally_here = (processes.Tally(WINDOW) for _ in range(3))
        self.own: frozenset[int] = frozenset()

    def read(self) -> Machine:
        """A reading. The first one takes 60 ms, because load needs an interval.

        Raises:
            ConfigurationError: `OBLIX_READINGS` names a file that holds no reading.
        """
        recorded = os.environ.get("OBLIX_READINGS")
        if recorded:
            return read_recorded(Path(recorded))
        place = self._look_around()
        if self._past and self._clock() - self._past[-1].at > FORGOTTEN:
            self._past.clear()
        if not self._past:
            self._past.append(self._count(place, self._own_now(place)))
            self._wait(FIRST_WINDOW)
        own = self._own_now(place)
        now = self._count(place, own)
        return self._compose(place, self._step(now), now, own)

    def _look_around(self) -> _Place:
        now, before = self._clock(), self._place
        if before is not None and now - self._looked_around < SLOW:
            return before
        self._looked_around = now
        system = self._system
        self._place = _Place(cpu.usable_cores(system), cpu.core_count(system), cgroup.find(system))
        if self._place != before:
            self._past.clear()  # counters of other cores or groups cannot be compared with these
        return self._place

    def _own_now(self, place: _Place) -> list[_Own]:
        system = self._system
        self.own = self._own() | self._edge_servers()
        found = ((number, processes.read(system, number)) for number in self.own)
        return [
            _Own(process, place.groups.inside(system, number), place.confines(system, number))
            for number, process in found
            if process is not None
        ]

    def _edge_servers(self) -> frozenset[int]:
        if not self._has_server():
            return frozenset()
        now = self._clock()
        if now - self._searched >= SERVERS_EVERY:
            self._searched = now
            self._servers = processes.edge_servers(self._system)
        return self._servers

    def _count(self, place: _Place, own: list[_Own]) -> Counters:
        groups, system = place.groups, self._system
        since_boot = processes.now(system) if own else 0.0
        return Counters(
            self._clock(),
            cpu.read(system, place.usable),
            self._tally.add((each.process for each in own), since_boot),
            self._tally_inside.add((each.process for each in own if each.inside.cpu), since_boot),
            self._tally_here.add((each.process for each in own if each.is_here), since_boot),
            tuple(group.read(system) for group in groups.cpu),
            pressure.read(system, groups.pressure_cpu or "/proc/pressure/cpu"),
            pressure.read(system, groups.pressure_memory or "/proc/pressure/memory"),
            self._ourselves(),
        )

    def _ourselves(self) -> float:
        """Processor time of this process; none where it counts as our own inference already."""
        number = os.getpid()
        found = None if number in self.own else processes.read(self._system, number)
        return found.cpu_seconds if found is not None else 0.0

    def _step(self, now: Counters) -> Counters:
        """Keep these counters, and give those of a window ago; what is older is forgotten."""
        self._past.append(now)
        while len(self._past) > 2 and now.at - self._past[1].at >= WINDOW:
            self._past.popleft()
        return self._past[0]

    def _compose(self, place: _Place, before: Counters, now: Counters, own: list[_Own]) -> Machine:
        groups, limit, seconds = place.groups, place.limit, seconds_between(before, now)
        free = free_cores(before, now, cores=place.cores, limits=[group.limit for group in groups.cpu])
        some, full = stalled(before.pressure_memory, now.pressure_memory, seconds)
        held, others = _held(self._system, groups, own)
        return Machine(
            None if free is None else 100.0 * (1.0 - min(limit, free) / limit),
            limit,
            own_percent=min(100.0, 100.0 * (now.own - before.own) / (seconds * limit)),
            settled=seconds >= SETTLED,
            load_1min=cpu.load_average(self._system),
            pressure_cpu_percent=stalled(before.pressure_cpu, now.pressure_cpu, seconds)[0],
            pressure_memory_percent=some,
            pressure_memory_full_percent=full,
            memory_percent=None if held is None else 100.0 * others / held.total,
            memory_total_bytes=held.total if held else None,
            memory_available_bytes=held.available if held else None,
            memory_limit_bytes=min((group.limit for group in groups.memory), default=None),
            own_memory_bytes=sum(each.process.memory_bytes for each in own),
            swap_percent=held.swap_percent if held else None,
            cpu_limit_cores=groups.cpu_limit(),
            throttled_percent=throttled(before, now),
            machine_cores=place.machine_cores,
            in_container=groups.in_container,
        )


def _held(system: System, groups: cgroup.Groups, own: list[_Own]) -> tuple[memory.Memory | None, int]:
    """The memory that we may use (the machine's, or what the tightest group leaves of it), and how much of it everybody else holds.

    What our own inference holds is taken out where it is counted: not out of a group that it is not in.
    """
    found = memory.read(system)
    if found is None:
        return None, 0
    total, available = found.total, found.available
    room = available + sum(each.process.memory_bytes for each in own)
    for place, group in enumerate(groups.memory):
        used = group.used(system)
        if used is not None:
            left = max(0, group.limit - used)
            inside = sum(each.process.memory_bytes for each in own if each.inside.memory[place])
            total, available, room = min(total, group.limit), min(available, left), min(room, left + inside)
    return memory.Memory(total, available, found.swap_percent), max(0, total - room)


def read_recorded(path: Path) -> Machine:
    """A recorded reading, for tests and for telling others what a decision saw.

    Raises:
        ConfigurationError: The file is missing or does not hold one.
    """
    import msgspec

    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        found.pop("recorded", None)
        machine = msgspec.convert({**found, "source": f"{RECORDED}{path.name}"}, Machine)
        wrong, hint = _wrong_in(found)
        if not wrong:
            return machine
    except OSError as error:
        wrong, hint = error.strerror or type(error).__name__, REQUIRED
    except msgspec.MsgspecError as error:
        wrong, hint = str(error), REQUIRED
    raise ConfigurationError(f"OBLIX_READINGS={str(path)!r} is no recorded reading: {wrong}.", hint=hint)


def _wrong_in(found: Mapping[str, Any]) -> tuple[str, str]:
    """What cannot be, though it is of the right kind, and what to do about it; empty where all is well."""
    known = [each.name for each in fields(Machine) if each.name != "source"]
    for name, value in found.items():
        if name not in known:
            return f"{name!r} is none of its fields", known_hint(name, known)
        if name.endswith("_percent") and value is not None and not 0 <= value <= 100:
            return f"{name}={value} is no percentage from 0 to 100", REQUIRED
    return ("", "") if found["cores"] > 0 else (f"cores={found['cores']} is not above 0", REQUIRED)
