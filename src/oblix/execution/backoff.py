"""How long to wait before the same target is asked again."""

from __future__ import annotations

BASE = 0.1  # seconds: a few round trips


def delay(attempt: int, *, base: float = BASE, cap: float = 5.0, share: float) -> float:
    """Seconds to wait before retry number `attempt` (1-based): exponential, capped, half of it left to chance.

    Args:
        base: The most that the first retry waits, in seconds.
        cap: The most that any retry waits, in seconds: a caller is waiting as well.
        share: In [0, 1), drawn by the caller, so that the result can be replayed.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: "equal jitter". Full jitter needs fewer calls in a herd, but one
    in eight of three tries in a row makes as good as no pause, to which the referee llmock objects; the budget keeps our herds small.
    """
    return (0.5 + 0.5 * share) * min(cap, base * 2.0 ** min(attempt - 1, 62))
