"""What happened in a simulated world, line by line, and what of it broke an invariant."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Broken:
    """An invariant that did not hold.

    Attributes:
        invariant: Its name (see `judge.py`).
        at: Seconds of simulated time.
    """

    invariant: str
    at: float
    what: str

    def __str__(self) -> str:
        return f"{self.invariant} at {self.at:.6f}: {self.what}"


@dataclass(slots=True)
class Trace:
    """Every event with its time. Two runs of a seed must give the same lines, to the last digit."""

    lines: list[str] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)

    def note(self, event: str) -> None:
        """Something happened now."""
        self.lines.append(f"{asyncio.get_running_loop().time()!r} {event}")

    def breach(self, invariant: str, what: str) -> None:
        """An invariant does not hold."""
        broken = Broken(invariant, asyncio.get_running_loop().time(), what)
        self.broken.append(broken)
        self.lines.append(f"{broken.at!r} BROKEN {invariant}: {what}")

    def digest(self) -> str:
        """A fingerprint of all lines."""
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()[:16]
