"""Which models the Ollama test server has in memory: plays cold loads, which a real engine of this size is too quick for."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from oblix.errors import ConfigurationError
from oblix.models.ollama_memory import keep_seconds
from oblix.testing.ollama_options import OllamaOptions
from oblix.testing.ollama_wire import BadRequestError

_DEFAULT_KEEP = "5m"  # Ollama's own
_FOR_EVER = timedelta(days=365 * 100)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory, with the window that it was loaded for."""

    window: int
    until: datetime


class Loads:
    """The memory of one server. A load takes its time once for all who wait, and is given up when the one who began it leaves."""

    def __init__(self, options: OllamaOptions) -> None:
        self._options = options
        self._loaded: dict[str, Loaded] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def listed(self) -> dict[str, Loaded]:
        """What is in memory now."""
        now = datetime.now(UTC)
        return {name: loaded for name, loaded in self._loaded.items() if loaded.until > now}

    async def bring(self, name: str, body: Mapping[str, Any]) -> bool:
        """Have the model in memory with the window that `body` asks for, and say whether a load had to be waited for."""
        keep = _keep(body)
        wished = (body.get("options") or {}).get("num_ctx") or self._options.window
        window = min(wished, self._options.window)
        waits = self._locks[name].locked()
        async with self._locks[name]:
            there = self.listed().get(name)
            if there is None or there.window != window:
                waits = True
                self._loaded.pop(name, None)
                await asyncio.sleep(self._options.load_seconds)
            self._loaded[name] = Loaded(window, datetime.now(UTC) + max(keep, timedelta(minutes=1)))
        return waits

    def used(self, name: str, body: Mapping[str, Any]) -> None:
        """An answer has ended: from now on its `keep_alive` runs; 0 gives the memory back at once."""
        there = self._loaded.get(name)
        if there is not None:
            self._loaded[name] = Loaded(there.window, datetime.now(UTC) + _keep(body))

    def drop(self, name: str) -> None:
        """Unload it."""
        self._loaded.pop(name, None)


def _keep(body: Mapping[str, Any]) -> timedelta:
    wished = body.get("keep_alive")
    try:
        return min(timedelta(seconds=min(keep_seconds(_DEFAULT_KEEP if wished is None else wished), 3e9)), _FOR_EVER)
    except ConfigurationError as error:
        raise BadRequestError(f'time: invalid duration "{wished}"') from error
