"""How an upstream answers when it is well: how long its answers are, how fast it writes, what it thinks unseen, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How an upstream answers when it is well.

    Attributes:
        lengths: Tokens of its answers, the fewest and the most; which of them is up to the marker. `None`: 14 to 21.
        thoughts: Tokens that it writes unseen before the first word. They are billed as output, and the caller's limit counts them.
        cached: Share of each prompt that it has in its cache, from 0 to 1.
        tells_usage: Whether it says what it counted.
        pause: Seconds between two tokens, each of which leaves on its own; `None`: the whole answer at once. Who leaves stops it, and
            is billed for what was written until then.
    """

    lengths: tuple[int, int] | None = None
    thoughts: int = 0
    cached: float = 0.0
    tells_usage: bool = True
    pause: float | None = None
