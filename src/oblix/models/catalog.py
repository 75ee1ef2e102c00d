"""Prices and context windows from the kept catalogue (genai-prices), looked up beside the path of a prompt.

Importing the catalogue costs about 150 ms of CPU, so that a daemon thread does it, while the first prompt is under way.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from oblix.types.spec import Price

_log = logging.getLogger("oblix.models")


@dataclass(frozen=True, slots=True)
class Entry:
    """What the catalogue knows of a model; `None` is "not known", never zero."""

    price: Price | None = None
    window: int | None = None


_EMPTY = Entry()
_SAMPLE = 1000  # tokens


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
        return self._entries.get((provider, name), _EMPTY)

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


def look_up(provider: str, name: str) -> Entry:
    """Price and window of `name`, as the catalogue of `provider` has them.

    Priced for a request of ordinary size: some models cost more per token above a context of some 200,000, none below a thousand.
    Cached-token tiers are left out.
    """
    from importlib.metadata import version

    from genai_prices import Usage, calc_price

    try:
        found = calc_price(Usage(input_tokens=_SAMPLE, output_tokens=_SAMPLE), model_ref=name, provider_id=provider)
    except LookupError:
        return Entry()
    per_million = 1e6 / _SAMPLE
    price = Price(
        float(found.input_price) * per_million,
        float(found.output_price) * per_million,
        f"genai-prices {version('genai-prices')}",
    )
    return Entry(price, found.model.context_window)
