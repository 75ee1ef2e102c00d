"""What is known of a model before it is asked."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

Place = Literal["edge", "cloud"]
# `withheld`: its address comes from a settings file that nobody named, so that no key of the user's goes there.
KeyState = Literal["given", "missing", "placeholder", "not_needed", "withheld"]
Capability = Literal["tools", "vision", "json", "logprobs", "prefill"]


@dataclass(frozen=True, slots=True)
class Rates:
    """USD per million tokens.

    Attributes:
        cached_input_per_mtok: For what was read from the provider's prompt cache; `None` is the price of other input.
        cache_write_per_mtok: For what was written to it; `None` is the price of other input.
        cache_write_1h_per_mtok: For what was written to it to stay for an hour; `None` is the price of other writing.
    """

    input_per_mtok: float
    output_per_mtok: float
    _: KW_ONLY
    cached_input_per_mtok: float | None = None
    cache_write_per_mtok: float | None = None
    cache_write_1h_per_mtok: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTier(Rates):
    """What a whole request costs whose prompt has more than `above` tokens."""

    above: int


@dataclass(frozen=True, slots=True)
class Price(Rates):
    """What a model costs, in USD per million tokens.

    Attributes:
        source: Where the figures come from: `"caller"`, or the catalogue and its version.
        tiers: For longer prompts, by rising `above`; the last one that a prompt reaches is the price of the whole request.
    """

    source: str
    _: KW_ONLY
    tiers: tuple[PriceTier, ...] = ()

    @property
    def is_free(self) -> bool:
        """Whether nothing costs anything."""
        return not (self.input_per_mtok or self.output_per_mtok or self.tiers)

    def cost(
        self,
        input_tokens: int,
        output_tokens: int,
        cached_tokens: int = 0,
        cache_write_tokens: int = 0,
        cache_write_1h_tokens: int = 0,
    ) -> float:
        """USD for so many tokens.

        Args:
            input_tokens: The whole prompt; what was read from or written to a cache is part of it.
            cache_write_tokens: All that were written; those that stay for an hour are part of them.
        """
        rates: Rates = self
        for tier in self.tiers:
            if input_tokens > tier.above:
                rates = tier
        plain, usd = input_tokens, output_tokens * rates.output_per_mtok
        # No part is taken as larger than what is left: a peer that counts more must not turn the rest negative.
        if cached_tokens and rates.cached_input_per_mtok is not None:
            part = min(cached_tokens, plain)
            plain, usd = plain - part, usd + part * rates.cached_input_per_mtok
        if cache_write_tokens:
            hour, hourly = 0, rates.cache_write_1h_per_mtok
            if cache_write_1h_tokens and hourly is not None:
                hour = min(cache_write_1h_tokens, cache_write_tokens, plain)
                plain, usd = plain - hour, usd + hour * hourly
            if rates.cache_write_per_mtok is not None:
                part = min(cache_write_tokens - hour, plain)
                plain, usd = plain - part, usd + part * rates.cache_write_per_mtok
        return (usd + plain * rates.input_per_mtok) / 1e6


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
        is_declared: The caller said so, and vouches for it.
        endpoint: Base address, or `None` for the embedded engine.
        order: Position in the order of hooking, from 0.
        tier: Given by the caller, else `None` (then tiers follow the order of hooking, edge before cloud).
        window: Context window in tokens, or `None` when unknown.
        price: `None` when unknown.
        capabilities: `prefill` means that it goes on from the beginning of an answer that it is given.
        timeouts: What the caller set for this model.
        keeps_prefix: A conversation that goes on is not read, or paid, from its beginning.
    """

    id: str
    provider: str
    name: str
    place: Place
    _: KW_ONLY
    place_reason: str = ""
    is_declared: bool = False
    endpoint: str | None = None
    order: int = 0
    tier: int | None = None
    window: int | None = None
    capabilities: frozenset[Capability] = frozenset()
    price: Price | None = None
    key: KeyState = "not_needed"
    timeouts: Timeouts = Timeouts()
    keeps_prefix: bool = True

    @property
    def is_edge(self) -> bool:
        """Whether the model runs at home."""
        return self.place == "edge"
