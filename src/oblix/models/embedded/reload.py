"""When the engine may be loaded again after it was killed: a machine over (state, outcome, now), pure."""

from __future__ import annotations

from dataclasses import dataclass

# An engine that is too large for the memory is killed, loaded by the next request, killed again, and takes its neighbours' memory each
# time. Three tries tell bad luck (a neighbour that needed the memory for a moment) from weights that do not fit (resilience.md 2a).
MOST = 3
WITHIN = 600.0  # seconds


@dataclass(frozen=True, slots=True)
class Deaths:
    """When the engine died for want of memory or while it loaded, on one clock, in seconds; the oldest first."""

    times: tuple[float, ...] = ()


def died(state: Deaths, now: float, *, repeats: bool) -> Deaths:
    """The state after an engine ended.

    Args:
        repeats: It ended in a way that the next load is likely to repeat: killed for want of memory, or dead before it was ready. A crash
            in the middle of an answer is none: that answer may be its cause, and is held back by itself.
    """
    recent = tuple(time for time in state.times if now - time < WITHIN)
    return Deaths((*recent, now)[-MOST:] if repeats else recent)


def pause(state: Deaths, now: float) -> float:
    """Seconds until the next load is allowed; 0 when it is allowed now."""
    if len(state.times) < MOST:
        return 0.0
    return max(0.0, state.times[-MOST] + WITHIN - now)
