"""How many tokens a model counts for what we estimate: learned, so that no answer is stopped too early or paid too late. Pure."""

from __future__ import annotations

from collections import deque

KEPT = 16  # answers; a model's tokenizer does not change, what it is asked for does
FEW = 3  # below so many nothing is known
SHORT = 16  # estimated tokens; the counts of shorter answers are mostly rounding
LOWEST, HIGHEST = 0.5, 2.0  # what is beyond is no matter of tokenizers: hidden thoughts, tools


class Scale:
    """What to multiply the estimates of one model's answers with: by the largest ratio of its latest answers."""

    __slots__ = ("_ratios", "factor")

    def __init__(self) -> None:
        self._ratios: deque[float] = deque(maxlen=KEPT)
        self.factor = 1.0

    def note(self, counted: int, estimated: int) -> None:
        """An answer came whole, and its provider told how many tokens it had."""
        if estimated < SHORT:
            return
        self._ratios.append(counted / estimated)
        if len(self._ratios) >= FEW:
            self.factor = min(HIGHEST, max(LOWEST, *self._ratios))
