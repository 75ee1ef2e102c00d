"""What is known of a model before it is asked."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

Place = Literal["edge", "cloud"]
KeyState = Literal["given", "missing", "placeholder", "not_needed"]
Capability = Literal["tools", "vision", "json", "logprobs", "prefill"]


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens, with where the figures come from (`"caller"`, or the catalogue and its date)."""

    input_per_mtok: float
    output_per_mtok: float
    source: str

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """USD for so many tokens."""
        return (input_tokens * self.input_per_mtok + output_tokens * self.output_per_mtok) / 1e6


FREE = Price(0.0, 0.0, "edge models cost nothing unless an energy price is set")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds that each phase of an attempt may be silent, as the caller sets them; `None` leaves it to us, which means learned.

    Attributes:
        connect: Name look-up and connection.
        load: Bringing the model into memory.
        first_token: From the request to the first sign of work.
        idle: Between two signs of work.
    """

    connect: float | None = None
    load: float | None = None
    first_token: float | None = None
    idle: float | None = None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A hooked model, as the mind sees it.

    Attributes:
        id: `provider:name`.
        place: `edge` runs on this machine or on a host the user declares as theirs; `cloud` is everything else.
        place_reason: Why it counts as such, in words.
        endpoint: Base address, or `None` for the embedded engine.
        order: Position in the order of hooking, from 0.
        tier: Given by the caller, else `None` (then tiers follow the order of hooking, edge before cloud).
        window: Context window in tokens, or `None` when unknown.
        price: `None` when unknown.
        capabilities: `prefill` means that it goes on from the beginning of an answer that it is given.
        timeouts: What the caller set for this model.
    """

    id: str
    provider: str
    name: str
    place: Place
    _: KW_ONLY
    place_reason: str = ""
    endpoint: str | None = None
    order: int = 0
    tier: int | None = None
    window: int | None = None
    capabilities: frozenset[Capability] = frozenset()
    price: Price | None = None
    key: KeyState = "not_needed"
    timeouts: Timeouts = Timeouts()

    @property
    def is_edge(self) -> bool:
        """Whether the model runs at home."""
        return self.place == "edge"
