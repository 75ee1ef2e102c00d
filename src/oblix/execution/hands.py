"""What the hands of one client keep from request to request: health, the budgets for more than one try, and chance."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from oblix.execution import quarantine
from oblix.execution.health import HealthBook
from oblix.models.base import Model
from oblix.types.request import Request
from oblix.types.spec import Price


@dataclass(slots=True)
class Hands:
    """Handed to every walk.

    Attributes:
        chance: Numbers in [0, 1) for jitter; a test or a simulation puts its own here.
        price_of: What a model costs, as far as it is known.
    """

    chance: Callable[[], float] = random.random
    health: HealthBook = field(init=False)
    price_of: Callable[[Model], Price | None] = lambda model: model.spec.price
    _salt: bytes = field(default_factory=lambda: os.urandom(16))

    def __post_init__(self) -> None:
        self.health = HealthBook(self._chance)

    def _chance(self) -> float:
        return self.chance()  # asked anew each time, so that it can be set later

    def fingerprint(self, request: Request, now: float, *, always: bool = False) -> bytes | None:
        """What tells this request from others, without telling the prompt; `None` as long as no engine has crashed, unless `always`."""
        return quarantine.fingerprint(request, self._salt) if always or self.health.has_suspects(now) else None
