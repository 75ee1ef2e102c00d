"""The money of one client: its books, the budgets that hold for it, and who is asked where one has no room."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import tzinfo
from typing import Literal

from oblix.client import refusals
from oblix.decision.facts import Facts
from oblix.errors import AttemptFailed, BudgetExceeded, ConfigurationError, known_hint
from oblix.execution.hands import Hands
from oblix.execution.journey import Journey
from oblix.ledger import Ledger
from oblix.models.base import Model
from oblix.models.registry import PROVIDERS
from oblix.settings import Budget
from oblix.storage.store import Store
from oblix.types.decision import Decision
from oblix.types.money import Limit, OnLimit, Period, Room, Spent, micro
from oblix.types.reply import Reply
from oblix.types.request import Request
from oblix.types.secret import SecretStr
from oblix.types.spec import Place

Approve = Callable[[BudgetExceeded], bool | Awaitable[bool]]
_log = logging.getLogger("oblix")


def key_of(model: Model) -> str:
    """The digest of the key that a model is asked with, for budgets by key; empty where it has none."""
    key = getattr(model, "key", None)
    return key.digest if isinstance(key, SecretStr) else ""


def provider_of(name: str, *, told_in: str = "") -> str:
    """The provider that is meant by its own name, or by that of a variable that holds its key.

    Args:
        told_in: Where the name stands, for the error.

    Raises:
        ConfigurationError: There is none.
    """
    known: dict[str, str] = {}
    for row in PROVIDERS.values():
        if row.key_env:
            known |= dict.fromkeys((row.name, *row.key_env), row.name)
    if name not in known:
        where = f"{told_in}: " if told_in else ""
        said = f"{where}{name!r} is no provider, and no variable that holds a key."
        raise ConfigurationError(said, hint=known_hint(name, known))
    return known[name]


class Books:
    """What a client knows and settles of money.

    Attributes:
        ledger: Shared with every process on the same file.
        on_limit: What follows where a budget excludes the model that would have answered.
        approve: Asked with `on_limit = "ask"` whether a request may pass its budgets; without it, nobody may.
    """

    def __init__(self, store: Store, wall: Callable[[], float], hands: Hands) -> None:
        self.on_limit: OnLimit = "edge-only"
        self.approve: Approve | None = None
        self._store = store
        self._wall = wall
        self._hands = hands
        self._limits: dict[str, tuple[Limit, ...]] = {}
        self._by_key: tuple[Limit, ...] = ()  # of the settings; their subjects are names of variables or providers
        self.keep()

    def settle(self, budget: Budget) -> None:
        """Take over what a settings file says of money; before the first request.

        Raises:
            ConfigurationError: A limit is for the key of nobody.
        """
        self._by_key = tuple(
            replace(each, subject=provider_of(each.subject, told_in=each.origin))
            for each in budget.limits
            if each.scope == "key"
        )
        self._store.durability = budget.durability or self._store.durability
        if budget.on_limit is not None:
            self.on_limit = budget.on_limit
        if budget.zone is not None or budget.on_failure is not None:
            self.keep(zone=budget.zone, on_failure=budget.on_failure)
        self.watch("settings", [each for each in budget.limits if each.scope != "key"])

    def know_keys(self, models: Iterable[Model]) -> None:
        """Budgets by key hold for every key that a hooked model of their provider has; some are found only after hooking."""
        if not self._by_key:
            return
        digests = dict.fromkeys((model.spec.provider, key_of(model)) for model in models)
        found = tuple(
            replace(limit, subject=digest)
            for limit in self._by_key
            for provider, digest in digests
            if digest and provider == limit.subject
        )
        if found != self._limits.get("keys", ()):
            self.watch("keys", found)

    def keep(self, *, zone: tzinfo | None = None, on_failure: Literal["refuse", "go-on"] | None = None) -> None:
        """How the books are kept from now on; before the first request. As in `Ledger`."""
        self.ledger = Ledger(self._store, self.limits, zone=zone, wall=self._wall, on_failure=on_failure)
        self._hands.accounts = self.ledger
        self._hands.key_of = key_of

    def watch(self, source: str, limits: Iterable[Limit]) -> None:
        """These are the client's own limits of this source (its settings, an agent) from now on, beside those of others."""
        if self._limits.get(source, ()) == (wanted := tuple(limits)):
            return
        self._limits[source] = wanted
        self.ledger.watch(self.limits)

    @property
    def limits(self) -> list[Limit]:
        """The client's own."""
        return [limit for limits in self._limits.values() for limit in limits]

    def spent(self, period: Period) -> int | None:
        """What was spent in the present window, in micro-USD; `None` before the books are open, or where they cannot be read."""
        if not self._store.is_open:
            return None
        import apsw

        try:
            return self.ledger.spent("all", period)
        except (apsw.Error, ConfigurationError, OSError):
            return None

    @property
    def has_limits(self) -> bool:
        """Whether any limit is known, stored or the client's own."""
        if any(self._limits.values()):
            return True
        if not self._store.is_open:
            return False
        import apsw

        try:
            return self.ledger.has_limits
        except (apsw.Error, ConfigurationError, OSError):
            return False  # they cannot be read; reserving will tell

    async def open(self) -> None:
        """Read the books, if there are any yet. Where they cannot be read, what costs something is refused later, or goes on, by policy."""
        is_wanted = self._store.is_open or any(self._limits.values())
        if not (is_wanted or await asyncio.to_thread(self._store.exists)):
            return  # looking creates nothing
        import apsw

        try:
            await self.ledger.open()
        except (apsw.Error, ConfigurationError, OSError) as error:
            _log.debug(
                "the books cannot be opened: %s", error
            )  # the log of decisions says so aloud, and reserving will

    def rooms(
        self, request: Request, models: Mapping[str, Model]
    ) -> Callable[[Iterable[str]], Mapping[str, Room | None]]:
        """What the budgets leave for models, for this request."""

        def look(model_ids: Iterable[str]) -> Mapping[str, Room | None]:
            keys = {model_id: key_of(models[model_id]) for model_id in model_ids}
            return self.ledger.rooms(keys, request.tags, keys=keys)

        return look

    # --- the user may let a request pass ---

    async def decided(self, decision: Decision, facts: Facts) -> bool:
        """Whether a request that no model may answer, because of a budget, may pass it: the user is asked."""
        if facts.on_limit != "ask" or decision.plan or refusals.budgeted_out(decision, facts) is None:
            return False
        if not any(each.reason.code == "budget" for each in decision.candidates):
            return False  # to pass a budget brings no price
        error = refusals.no_route(decision, facts)
        return isinstance(error, BudgetExceeded) and await self._approves(error)

    def prepare(self, journey: Journey, facts: Facts) -> None:
        """What the hands need to know of budgets."""
        journey.home_steps_in = facts.on_limit == "edge-only"
        journey.is_approved = facts.asked.approved
        if facts.on_limit == "ask" and self.approve is not None:
            journey.ask = self._approves_attempt

    async def _approves_attempt(self, refused: AttemptFailed) -> bool:
        error = BudgetExceeded(refused.message, hint=refused.hint)
        error.room = refused.room
        return await self._approves(error)

    async def _approves(self, error: BudgetExceeded) -> bool:
        """Whether the user says yes. A handler that fails has not said so, and is no failure of the model."""
        if self.approve is None:
            return False
        try:
            found = self.approve(error)
            return bool(await found if inspect.isawaitable(found) else found)
        except Exception:  # noqa: BLE001  the door to users' code
            _log.exception("approve_over_budget failed, which is taken as a no")
            return False

    # --- what it came to ---

    def answered(self, reply: Reply, request: Request, key: str = "") -> None:
        """Note how a request ended, for the reports."""
        figures = reply.metrics
        cost, saved = figures["cost_usd"], figures["saved_usd"]
        place: Place = next((each.place for each in reply.attempts if each.outcome == "ok"), "edge")
        spent = Spent(
            micro(cost or 0.0),
            cost == 0.0 or (cost is not None and not figures["estimated"]),  # nothing, and that not certain: not known
            "ok",
            input_tokens=figures["input_tokens"],
            output_tokens=figures["output_tokens"],
            cached_tokens=figures["cached_tokens"],
        )
        saved_micro = None if saved is None else micro(saved)
        self.ledger.answer(
            reply.request_id, reply.model_id, place, spent, saved_micro_usd=saved_micro, tags=request.tags, key=key
        )

    def close(self) -> None:
        """Write down what is left."""
        self.ledger.close()
