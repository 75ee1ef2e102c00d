"""What the hands of one client keep from request to request: health, the budgets for more than one try, and chance."""

from __future__ import annotations

import asyncio
import os
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from oblix.execution import quarantine
from oblix.execution.accounts import Accounts, NoAccounts
from oblix.execution.health import HealthBook
from oblix.execution.scale import PromptScale, Scale
from oblix.models.base import Model
from oblix.types.request import Request
from oblix.types.spec import Price

FAREWELL = 1.0  # seconds


@dataclass(slots=True)
class Hands:
    """Handed to every walk.

    Attributes:
        chance: Numbers in [0, 1) for jitter; a test or a simulation puts its own here.
        price_of: What a model costs, as far as it is known.
        key_of: The digest of the key that a model is asked with, for budgets by key; empty where it has none.
        accounts: The books, in which each attempt that costs something reserves before anything is sent.
        scales: Model id → how its own count of an answer's tokens compares with our estimate; `prompts` the same for prompts.
        busy: Model id → how many attempts are under way.
        turns: Model id → the turn of the requests that were in its engine when it crashed.
        leftovers: Attempts that were beaten and are slow to let go; they are awaited when the client closes.
    """

    chance: Callable[[], float] = random.random
    health: HealthBook = field(init=False)
    price_of: Callable[[Model], Price | None] = lambda model: model.spec.price
    key_of: Callable[[Model], str] = lambda model: ""
    accounts: Accounts = field(default_factory=NoAccounts)
    scales: defaultdict[str, Scale] = field(default_factory=lambda: defaultdict(Scale))
    prompts: defaultdict[str, PromptScale] = field(default_factory=lambda: defaultdict(PromptScale))
    busy: dict[str, int] = field(default_factory=dict)
    turns: dict[str, asyncio.Lock] = field(default_factory=dict)
    leftovers: set[asyncio.Task[None]] = field(default_factory=set)
    _salt: bytes = field(default_factory=lambda: os.urandom(16))
    _claims: int = 0

    def __post_init__(self) -> None:
        self.health = HealthBook(self._chance)

    def _chance(self) -> float:
        return self.chance()  # asked anew each time, so that it can be set later

    async def close(self) -> None:
        """Wait for what is left over; a moment is enough for all that behaves."""
        if self.leftovers:
            await asyncio.wait(set(self.leftovers), timeout=FAREWELL)

    def claim_id(self, request: Request) -> str:
        """A name for what an attempt reserves, unique for ever: that of a request is the caller's choice, and may come again."""
        self._claims += 1
        return f"{request.id}#{self._salt[:6].hex()}{self._claims}"

    def fingerprint(self, request: Request, now: float, *, always: bool = False) -> bytes | None:
        """What tells this request from others, without telling the prompt; `None` as long as no engine has crashed, unless `always`."""
        return quarantine.fingerprint(request, self._salt) if always or self.health.has_suspects(now) else None

    def turn(self, model: Model, request: Request, now: float) -> asyncio.Lock | None:
        """What a request has to hold that was in this model's engine when it crashed, so that one such is in it at a time."""
        suspect = self.fingerprint(request, now)
        if suspect is None or not self.health.is_suspect(model.spec, suspect):
            return None
        return self.turns.setdefault(model.spec.id, asyncio.Lock())
