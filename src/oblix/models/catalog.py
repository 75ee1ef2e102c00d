"""Prices and context windows from the kept catalogue (genai-prices), looked up beside the path of a prompt.

Importing the catalogue costs about 150 ms of CPU, so that a daemon thread does it, while the first prompt is under way.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from math import inf
from typing import TYPE_CHECKING

from oblix.types.spec import Price, PriceTier

if TYPE_CHECKING:
    from decimal import Decimal

    from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

_log = logging.getLogger("oblix.models")


@dataclass(frozen=True, slots=True)
class Entry:
    """What the catalogue knows of a model; `None` is "not known", never zero.

    Attributes:
        until: Seconds since the epoch when another price may begin to hold: some change on a date, some with the hour.
    """

    price: Price | None = None
    window: int | None = None
    until: float = inf


STALE = 180 * 86_400.0  # seconds; providers change their prices a few times a year
EARLIEST = 1_700_000_000.0  # November 2023: some installers give every file a date of old, which tells nothing
_EMPTY = Entry()
_RATES = {  # our names, and the catalogue's
    "input_per_mtok": "input_mtok",
    "output_per_mtok": "output_mtok",
    "cached_input_per_mtok": "cache_read_mtok",
    "cache_write_per_mtok": "cache_write_mtok",
    "cache_write_1h_per_mtok": "cache_write_1h_mtok",
}


class PriceBook:
    """Entries of the hooked models, looked up by one daemon thread when they are first needed."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], Entry] = {}
        self._wanted: list[tuple[str, str]] = []
        self._idle = threading.Event()
        self._idle.set()
        self._too_slow = False

    def want(self, provider: str, name: str) -> None:
        """Remember to look a model up."""
        if (provider, name) not in self._entries:
            self._wanted.append((provider, name))

    def kick(self) -> None:
        """Start looking up what is wanted; waits for nothing."""
        if self._wanted and self._idle.is_set():
            self._idle.clear()
            threading.Thread(target=self._work, name="oblix-prices", daemon=True).start()

    def entry(self, provider: str, name: str) -> Entry:
        """What is known by now; empty before the look-up."""
        found = self._entries.get((provider, name), _EMPTY)
        if found.until != inf and time.time() >= found.until:
            # The catalogue is in memory by now, so that this costs microseconds and need not go to the thread.
            found = self._entries[provider, name] = look_up(provider, name)
        return found

    def is_settled(self) -> bool:
        """Whether everything wanted has been looked up."""
        return not self._wanted and self._idle.is_set()

    def wait(self, seconds: float) -> None:
        """Until everything wanted is looked up, at most so long, and never again after waiting in vain. Blocks: not for the event loop."""
        self.kick()
        if not self._too_slow:  # an import that hangs (a fork in its middle, a dead disk) must not delay every answer
            self._too_slow = not self._idle.wait(seconds)

    def _work(self) -> None:
        try:
            while self._wanted:
                provider, name = self._wanted.pop(0)  # at once, because more may come to the list meanwhile
                self._entries[provider, name] = look_up(provider, name)
        except Exception:  # noqa: BLE001  a broken catalogue costs a figure, never an answer
            _log.exception("the price catalogue cannot be used; costs stay unknown")
            self._wanted.clear()
        finally:
            self._too_slow = False
            self._idle.set()


def look_up(provider: str, name: str, *, at: datetime | None = None) -> Entry:
    """Price and window of `name`, an id or an alias, as the catalogue of `provider` has them.

    Args:
        at: When the request is made; now, unless given.
    """
    from genai_prices import Usage, calc_price

    at = at or datetime.now(UTC)
    try:
        found = calc_price(Usage(), model_ref=name, provider_id=provider, genai_request_timestamp=at)
    except LookupError:
        return Entry()
    return Entry(_price(found.model, found.model_price), found.model.context_window, _next_change(found.model, at))


def _price(model: ModelInfo, listed: ModelPrice) -> Price | None:
    """Our form of what the catalogue lists; `None` where it lists no price of text.

    Its prices have tiers of their own each; ours are tiers of the whole request, one for each step of any of them. Images, sound
    and searches have prices of their own there, which we do not count.
    """
    found: dict[str, Decimal | TieredPrices] = {
        ours: price for ours, theirs in _RATES.items() if (price := getattr(listed, theirs)) is not None
    }
    if "input_per_mtok" not in found:  # it lists nothing for what is free, and nothing for what it does not know
        return Price(0.0, 0.0, _source()) if model.id.endswith(":free") else None
    steps = sorted({tier.start for price in found.values() for tier in getattr(price, "tiers", ())})

    def rates(prompt_tokens: int) -> dict[str, float]:
        # Where nothing is listed for output, there is none, or it is free.
        return {"output_per_mtok": 0.0} | {ours: _rate(price, prompt_tokens) for ours, price in found.items()}

    tiers = tuple(PriceTier(above=step, **rates(step + 1)) for step in steps)
    return Price(source=_source(), tiers=tiers, **rates(0))


def _rate(price: Decimal | TieredPrices, prompt_tokens: int) -> float:
    from genai_prices.types import TieredPrices

    if not isinstance(price, TieredPrices):
        return float(price)
    reached = [tier.price for tier in price.tiers if prompt_tokens > tier.start]  # lowest first
    return float(reached[-1] if reached else price.base)


def _next_change(model: ModelInfo, at: datetime) -> float:
    """Seconds since the epoch when one of the conditions begins or ends."""
    from genai_prices.types import StartDateConstraint, TimeOfDateConstraint

    changes: list[datetime] = []
    for conditional in model.prices if isinstance(model.prices, list) else ():
        match conditional.constraint:
            case StartDateConstraint(start_date=day):
                changes.append(datetime(day.year, day.month, day.day, tzinfo=UTC))
            case TimeOfDateConstraint(start_time=start, end_time=end):
                days = [at.astimezone(UTC).date() + timedelta(ahead) for ahead in (-1, 0, 1)]
                changes += [_utc(datetime.combine(day, hour)) for day in days for hour in (start, end)]
    return min((change.timestamp() for change in changes if change > at), default=inf)


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@cache
def _source() -> str:
    """The catalogue, its version, and how new it can be. It holds no date of its own: that of its file is when it was installed."""
    from importlib.metadata import version

    from genai_prices import data

    named, installed = f"genai-prices {version('genai-prices')}", os.stat(data.__file__).st_mtime  # noqa: PTH116
    if installed < EARLIEST:
        return named
    day = f"{datetime.fromtimestamp(installed, UTC):%Y-%m-%d}"
    if time.time() - installed > STALE:
        _log.warning(
            "the price catalogue was installed on %s: `pip install -U genai-prices` brings today's prices", day
        )
    return f"{named}, installed {day}"
