"""One try on one model, as it is told afterwards."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, Literal

from oblix.types.spec import Place


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one try.

    Attributes:
        outcome: `ok`, `failed` or `cancelled`.
        kind: The `FailureKind` value when it failed.
        why: The failure in words.
        window: Tokens that fit, where a prompt did not.
        first_token: Seconds until the first visible token, `None` when none came.
        total: Seconds in all.
    """

    model_id: str
    place: Place
    outcome: Literal["ok", "failed", "cancelled"]
    _: KW_ONLY
    kind: str | None = None
    why: str | None = None
    hint: str | None = None
    first_token: float | None = None
    total: float = 0.0
    input_tokens: int | None = None
    output_tokens: int | None = None
    window: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, ready for JSON."""
        return {name: getattr(self, name) for name in _FIELDS}  # `asdict` copies deeply, and took 20 times as long


_FIELDS = tuple(item.name for item in fields(Attempt))
