"""Whether an answer comes while it is written, or at once, as a proxy that buffers or a very quick server sends it. Pure."""

from __future__ import annotations

from oblix.types.money import IN_FLIGHT, QUICKEST

LONG = 64  # tokens; whether a shorter answer flowed cannot be told


class Flow:
    """How far an answer ran ahead of what can be stopped: the most tokens that came above the pace of the quickest services."""

    __slots__ = ("_ahead", "_at", "_burst", "_tokens")

    def __init__(self) -> None:
        self._tokens = self._burst = self._ahead = self._at = 0.0

    def came(self, tokens: float, now: float) -> None:
        """A piece of so many tokens was read. Where we read late that counts as well: so late would we have stopped it."""
        self._tokens += tokens
        self._ahead = max(0.0, self._ahead - QUICKEST * (now - self._at)) + tokens
        self._at = now
        self._burst = max(self._burst, self._ahead)

    @property
    def is_steady(self) -> bool | None:
        """Whether what was reserved for tokens in flight covered it all the time; `None` where it was too short to tell."""
        if self._burst > IN_FLIGHT:
            return False
        return True if self._tokens >= LONG else None
