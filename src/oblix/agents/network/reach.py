"""Whether an endpoint can be reached, as a machine over what was seen: fast down, slow up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from oblix.types.traffic import Trouble

STEADY = 3.0  # seconds between two good contacts, without a bad one between them, that prove a way back


@dataclass(frozen=True, slots=True)
class Reach:
    """One endpoint.

    Attributes:
        since: When this state began.
        trouble: Why it is down.
        good_at: The first good contact of a way that is coming back.
    """

    state: Literal["unknown", "up", "down"] = "unknown"
    since: float = float("-inf")
    trouble: Trouble | None = None
    good_at: float | None = None

    def contact(self, at: float) -> Reach:
        """Something good came from there."""
        if self.state == "up" or at < self.since:
            return self
        if self.state == "unknown" or (self.good_at is not None and at - self.good_at >= STEADY):
            return Reach("up", at)
        return self if self.good_at is not None else replace(self, good_at=at)

    def failure(self, at: float, trouble: Trouble) -> Reach:
        """It surely cannot be reached at the moment."""
        if self.state != "down":
            return Reach("down", at, trouble)
        if self.trouble == trouble and self.good_at is None:
            return self
        return replace(self, trouble=trouble, good_at=None)
