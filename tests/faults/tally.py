"""What many requests came to: counts by kind and moment, breaches, times."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from oblix.testing.faults import KINDS

from .findings import BREACHES, Breach
from .judge import Verdict
from .play import Outcome

TOLD = 12  # findings of each breach that are kept in full; the rest is counted
Cell = tuple[str, str]  # kind, moment


@dataclass(slots=True)
class Tally:
    """Grows with each request; those of several processes are added up.

    Attributes:
        endings: (kind, moment) → how its requests ended.
        breaches: Breach → count.
        told: Breaches in words, the first `TOLD` of each.
        failovers: Seconds, of hard faults only.
        repeated: Requests that were asked again: `unmet`, because their fault was not played, or `starved`, because the machine
            stood still meanwhile.
        leftovers: What was still there when all had ended: tasks, file descriptors, errors of the loop.
        memory: The most memory of a process, in bytes.
        seconds: The longest run of a process.
    """

    endings: dict[Cell, Counter[str]] = field(default_factory=dict)
    breaches: Counter[str] = field(default_factory=Counter)
    told: dict[str, list[str]] = field(default_factory=dict)
    failovers: list[float] = field(default_factory=list)
    repeated: Counter[str] = field(default_factory=Counter)
    leftovers: list[str] = field(default_factory=list)
    memory: int = 0
    seconds: float = 0.0

    def add(self, outcome: Outcome, verdict: Verdict) -> None:
        """Count one request. What was wrong counts also where the fault was not met."""
        ask = outcome.ask
        for breach, words in verdict.findings:
            self.breach(breach, f"{ask}: {words}")
        if verdict.ending in ("unmet", "starved"):
            self.repeated[verdict.ending] += 1
            return
        self.endings.setdefault((ask.fault.kind, ask.fault.moment), Counter())[verdict.ending] += 1
        if outcome.failover is not None and is_hard(outcome) and verdict.ending == "elsewhere":
            self.failovers.append(outcome.failover)

    def breach(self, breach: Breach, words: str) -> None:
        """Count one, and keep its words while there is room."""
        self.breaches[breach] += 1
        told = self.told.setdefault(breach, [])
        if len(told) < TOLD:
            told.append(words)

    def merge(self, other: Tally) -> None:
        """Add another process's."""
        for cell, counts in other.endings.items():
            self.endings.setdefault(cell, Counter()).update(counts)
        self.breaches.update(other.breaches)
        for breach, told in other.told.items():
            self.told.setdefault(breach, []).extend(told)
        self.failovers += other.failovers
        self.repeated.update(other.repeated)
        self.leftovers += other.leftovers
        self.memory = max(self.memory, other.memory)
        self.seconds = max(self.seconds, other.seconds)

    @property
    def requests(self) -> int:
        """Requests that met their fault."""
        return sum(counts.total() for counts in self.endings.values())

    @property
    def kinds(self) -> int:
        """Kinds that were played."""
        return len({kind for kind, _ in self.endings})

    @property
    def broken(self) -> int:
        """Streams that broke after the commit point, in the typed error with their text."""
        return sum(counts["broken"] for counts in self.endings.values())

    def is_good(self, *, on_time: bool = True) -> bool:
        """Whether every counter is 0 and nothing is left over; `on_time=False` does not judge lateness."""
        judged = [breach for breach in BREACHES if on_time or breach != "late"]
        return not self.leftovers and not any(self.breaches[breach] for breach in judged)

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, ready for JSON."""
        return {
            "requests": self.requests,
            "kinds": self.kinds,
            "broken_streams": self.broken,
            "repeated": dict(self.repeated),
            "breaches": {breach: self.breaches[breach] for breach in BREACHES},
            "endings": [
                {"kind": kind, "moment": moment, "family": KINDS[kind].family, **counts}
                for (kind, moment), counts in sorted(self.endings.items())
            ],
            "failover_ms": {"p50": milliseconds(self.failovers, 0.5), "p99": milliseconds(self.failovers, 0.99)},
            "leftovers": self.leftovers,
            "findings": self.told,
            "memory_bytes": self.memory,
            "seconds": self.seconds,
        }


def is_hard(outcome: Outcome) -> bool:
    """Whether the fault shows by itself at once, before any text: no timer runs, no bomb is read."""
    kind = outcome.ask.kind
    return outcome.ask.fault.moment == "before_headers" and kind.family in ("status", "connection") and not kind.in_time


def milliseconds(seconds: list[float], share: float) -> float | None:
    """The quantile, by the nearest rank; `None` without any."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return round(1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)
