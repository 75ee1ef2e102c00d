"""Bytes to JSON that is nearly right: mutated text hardly ever parses, so that it never reaches what stands behind the parser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MAX_EVENTS = 5
# What a field may hold that should not: numbers at the edges of 64 bits, texts that other fields mean something by, empty things.
_ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 7, 2**63, -(2**63), 1.5, 1e308, "", "x", "\ud83d", "\x00", "stop", "length", "tool_use", "text",
    "[DONE]", "error", "0", "nan", [], {}, [None], [[]], [{}], {"": None}, {"content": []}, [1, "a"],
)  # fmt: skip


class Dice:
    """Decisions out of bytes: each roll takes one; when none are left every roll is 0."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to decide with."""
        return self._at >= len(self._data)

    def roll(self, sides: int) -> int:
        """A number in [0, sides)."""
        if self.is_empty:
            return 0
        self._at += 1
        return self._data[self._at - 1] % sides


def bent(dice: Dice, models: Sequence[dict[str, Any]], odd: Sequence[Any] = ()) -> list[Any]:
    """Some of the model events, each as it is or with something wrong in it.

    Args:
        odd: More values that a field may hold, e.g. those that JSON has no words for.
    """
    values = (*_ODD, *odd)
    events: list[Any] = []
    while not dice.is_empty and len(events) < MAX_EVENTS:
        events.append(_bend(models[dice.roll(len(models))], dice, values))
    return events


def _bend(value: Any, dice: Dice, odd: Sequence[Any]) -> Any:
    what = dice.roll(16)
    if what == 15:
        return odd[dice.roll(len(odd))]
    if isinstance(value, dict):
        kept = {key: _bend(inner, dice, odd) for key, inner in value.items()}
        if what == 14 and kept:
            kept.pop(sorted(kept)[dice.roll(len(kept))])
        return kept
    if isinstance(value, list):
        return [_bend(inner, dice, odd) for inner in value] * (1 + (what == 14))
    return value
