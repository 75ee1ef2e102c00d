"""One try on one model, as it is told afterwards."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, Literal

from oblix.types.failure import Certainty
from oblix.types.spec import Place

Outcome = Literal["ok", "failed", "cancelled", "postponed"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one try.

    Attributes:
        outcome: `ok`, `failed`, `cancelled` (the caller left, or another answered first), or `postponed` (nothing was sent: it is still
            loading, somebody else probes it, or it may not have this request; `why` says which).
        certainty: What the peer can know of it, which decides whether it may have cost something.
        hedged: It was started beside another that was slower than usual.
        cost_usd: What was certainly or possibly billed for it; `None` when unpriced.
        kind: The `FailureKind` value when it failed.
        why: The failure in words.
        window: Tokens that fit, where a prompt did not.
        first_token: Seconds until the first visible token, `None` when none came.
        total: Seconds in all.
        cut: Messages of the conversation that were left out, because they did not fit its window.
        load: Seconds that it waited for the model to be brought into memory, `None` when it did not.
    """

    model_id: str
    place: Place
    outcome: Outcome
    _: KW_ONLY
    kind: str | None = None
    why: str | None = None
    hint: str | None = None
    first_token: float | None = None
    total: float = 0.0
    input_tokens: int | None = None
    output_tokens: int | None = None
    window: int | None = None
    certainty: Certainty = "possibly_accepted"
    hedged: bool = False
    load: float | None = None
    cost_usd: float | None = None
    cut: int = 0

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, ready for JSON."""
        return {name: getattr(self, name) for name in _FIELDS}  # `asdict` copies deeply, and took 20 times as long


_FIELDS = tuple(item.name for item in fields(Attempt))
