"""The accounts of a client: reserve before anything is sent, top up while it grows, settle when it is known."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import tzinfo
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from oblix.decision.money import usd
from oblix.errors import AttemptFailed, ConfigurationError, FailureKind
from oblix.ledger import balances, books, estimate
from oblix.ledger.advice import advice, mending
from oblix.ledger.balances import Amounts
from oblix.ledger.books import Answer, Refused, Taken, Terms
from oblix.ledger.entries import Call, Pair, Which, answer_lengths
from oblix.ledger.estimate import Tariff
from oblix.ledger.failing import OnFailure, Owed, Trouble, Wish, failures, passing
from oblix.ledger.hold import Hold
from oblix.ledger.notes import Notes
from oblix.ledger.owner import Lease
from oblix.ledger.picture import Picture, name_of
from oblix.ledger.upkeep import Upkeep
from oblix.ledger.waiting import Line
from oblix.ledger.windows import Calendar
from oblix.storage.store import Store
from oblix.types.money import Claim, Limit, Period, Room, Scope, Spent
from oblix.types.spec import Place

if TYPE_CHECKING:
    import apsw


class Standing(NamedTuple):
    """A limit, and where it stands in the present window; amounts in micro-USD.

    Attributes:
        is_own: This client's alone; else it holds for every process.
        allowed: What the user allowed beyond it.
    """

    limit: Limit
    settled: int
    reserved: int
    allowed: int
    resets_at: float | None
    is_own: bool


class Ledger:
    """The books of one client, which it shares with every process on the same file.

    Args:
        limits: The client's own, beside those that are stored in the file.
        zone: Where days and months begin; `None` is the system's.
        wall: Seconds since the epoch.
        on_failure: What becomes of calls that cost something while the books cannot be written: `refuse`, or `go-on` (they are written down
            when that works again). By default those that a limit holds for are refused, and others go on.
    """

    def __init__(
        self,
        store: Store,
        limits: Iterable[Limit] = (),
        *,
        zone: tzinfo | None = None,
        wall: Callable[[], float] = time.time,
        on_failure: OnFailure | None = None,
    ) -> None:
        self._store = store
        self._wall = wall
        self._on_failure = on_failure
        self._calendar = Calendar(zone)
        self._picture = Picture(store, self._calendar, wall)
        self._line = Line(self._has_changed, self._refresh)
        self._history = estimate.History()
        self._holds: dict[str, Hold] = {}
        self._trouble = Trouble()
        self._owed = Owed(store, self._calendar, self._trouble)
        self._notes = Notes(store, self._today, self._trouble.is_here)
        self._upkeep = Upkeep(
            store,
            wall,
            self._owed,
            self._trouble,
            held=self._holds.keys,
            is_needed=lambda: bool(self._holds or self._line),
            wake=self._line.wake,
        )
        self._is_open = False
        self._opening: asyncio.Lock | None = None
        self.overrun = 0
        self.watch(limits)

    # --- limits ---

    def watch(self, limits: Iterable[Limit]) -> None:
        """These are the client's own limits from now on."""
        self._limits = tuple(limits)
        self._own = self._picture.watch(self._limits)
        self._is_watching = not self._own

    async def set_limit(self, limit: Limit) -> None:
        """Store a limit, for every process on the file."""
        await self._store.write(partial(books.set_limit, limit=limit, at=self._wall(), today=self._today()))
        self._line.wake()

    async def reset_limit(self, scope: Scope, period: Period, subject: str = "") -> bool:
        """Do away with a stored limit; whether there was one."""
        which: Which = (scope, subject, period)
        gone = await self._store.write(partial(books.reset_limit, which=which, at=self._wall(), today=self._today()))
        self._line.wake()
        return gone

    @property
    def has_limits(self) -> bool:
        """Whether any limit is known, stored or the client's own."""
        return bool(self._own) or any(each.limit is not None for each in self._picture.look()[1])

    def standing(self) -> list[Standing]:
        """Every limit, the stored ones first."""
        day, accounts = self._picture.look()
        found = [
            self._standing(Limit(a.scope, a.period, a.limit, subject=a.subject, origin=a.origin), a, day, is_own=False)
            for a in accounts
            if a.limit is not None
        ]
        known = {(a.scope, a.subject, a.period): a for a in accounts}
        for limit in self._limits:
            which: Which = (limit.scope, limit.subject, limit.period)
            found.append(self._standing(limit, known[which], day, is_own=True))
        return found

    def spent(self, scope: Scope = "all", period: Period = "day", subject: str = "") -> int | None:
        """What is settled in the present window, in micro-USD; `None` where nobody counts that."""
        for each in self._picture.look()[1]:
            if (each.scope, each.subject, each.period) == (scope, subject, period):
                return each.settled
        return None

    def today(self) -> str:
        """The day (`2026-11-23`) that it is where the user lives."""
        return self._today()

    def rooms(
        self,
        model_ids: Iterable[str],
        tags: tuple[str, ...] = (),
        key: str = "",
        *,
        keys: Mapping[str, str] | None = None,
    ) -> dict[str, Room | None]:
        """Model → what its tightest budget leaves for it, `None` where it counts to none, or before `open`. Some µs.

        Args:
            key: The digest of the key of all of them; `keys` has those of each.
        """
        shared: tuple[Pair, ...] = (("all", ""), *(("tag", tag) for tag in tags))
        models = {
            model: (*shared, ("model", model), ("key", keys.get(model, "") if keys else key)) for model in model_ids
        }
        if not self._store.is_open:
            return dict.fromkeys(models)
        try:
            return self._picture.rooms(models)
        except failures() as error:
            self._trouble.is_here(error)
            return dict.fromkeys(models)

    # --- attempts ---

    async def open(self) -> None:
        """Learn from the books, charge what dead processes left in them, and have the client's own limits counted. Again is cheap."""
        if self._is_open and self._is_watching:
            return
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            await self._open()

    async def _open(self) -> None:
        if not self._is_open:
            lengths, holders = await self._store.read_aside(_learn)
            for model_id, tokens in lengths:
                self._history.note(model_id, tokens)
            await self._upkeep.begin(holders)
            self._is_open = True
        if not self._is_watching:
            limits, at = self._limits, self._wall()
            await self._store.write(partial(books.watch, limits=limits, at=at, today=self._today()))
            self._picture.forget()
            self._is_watching = limits is self._limits

    async def reserve(self, claim: Claim, *, until: float | None = None) -> Hold:
        """Reserve what the attempt will probably cost, in all budgets that it counts to, or in none.

        Args:
            until: Loop time up to which it waits for others to give back what they hold, as long as that could make room. By default not.

        Raises:
            AttemptFailed: `BUDGET`: one has no room, `.room` tells which; `LEDGER`: the books cannot be written, which refuses it.
        """
        call = _call_of(claim)
        tariff = Tariff(claim.price, claim.input_tokens)
        place = self._line.place(call.pairs, partial(self._may_try, claim, call, tariff))
        hold: Hold | None = None
        try:
            kept = self._line.barring(call.pairs)
            if kept is not None and until is not None and not await place.wait_turn(until):
                raise self._no_room(claim, kept, tariff)
            while hold is None:
                found = await self._reserve(claim, call, tariff)
                if isinstance(found, Taken):
                    hold = Hold(self, claim, call, tariff, found)
                else:
                    place.refused = found
                    self._upkeep.go_on()
                    if until is None or not found.short.may_change or not await place.wait_turn(until):
                        raise self._no_room(claim, found, tariff)
        except failures() as error:
            if self._refuses(call):
                raise self._no_books(claim, error) from None
            self._trouble.is_here(error)
            hold = Hold(self, claim, call, tariff, Taken(self._amounts(claim, tariff).likely, None, ""))
        finally:
            place.leave(is_served=hold is not None)
        self._holds[call.id] = hold
        self._upkeep.go_on()
        return hold

    def charge(self, claim: Claim, spent: Spent) -> None:
        """Charge what was never reserved, because its price became known while it went."""
        self._settle(_call_of(claim), spent)

    async def raise_hold(self, hold: Hold, wanted: int, enough: int, until: float | None) -> bool:
        """For `Hold.raise_to`."""
        place = self._line.place(hold.call.pairs)
        terms = Terms(self._own, hold.claim.approved)
        work = partial(books.raise_to, call=hold.call, wanted=wanted, enough=enough, terms=terms)
        try:
            while isinstance(found := await self._store.write(partial(work, at=self._wall())), Refused):
                place.refused = found
                if until is None or not found.short.may_change or not await place.wait_turn(until, first=True):
                    return False
        except failures() as error:
            self._trouble.is_here(error)
            found = None
        finally:
            place.leave()
        if found is None and self._refuses(hold.call):  # the books cannot be written, or a reaper took us for dead
            return False
        hold.micro_usd = wanted if found is None else found.micro_usd
        return True

    def settle_hold(self, hold: Hold, spent: Spent) -> None:
        """For `Hold.settle`."""
        self._holds.pop(hold.call.id, None)
        self.overrun += hold.overrun
        if spent.is_steady is not None:
            self._history.note_flow(hold.call.model_id, is_steady=spent.is_steady)
        if spent.outcome == "ok" and spent.certain and spent.output_tokens:
            self._history.note(hold.call.model_id, spent.output_tokens)
        self._settle(hold.call, spent)

    def answer(
        self,
        request_id: str,
        model_id: str,
        place: Place,
        spent: Spent,
        *,
        saved_micro_usd: int | None = None,
        tags: tuple[str, ...] = (),
        key: str = "",
    ) -> None:
        """Note how a request ended; written down beside the path, with others.

        Args:
            spent: All its attempts together; nothing that is not certain is a cost that is not known.
            saved_micro_usd: By the formula of `saved_usd`; `None` where there is nothing to compare with.
        """
        call = Call("", request_id, model_id, place, tags, key)
        self._notes.add(Answer(call, self._wall(), spent, saved_micro_usd))

    def flush(self) -> None:
        """Have the answers written down that are not yet."""
        self._notes.flush()

    def close(self) -> None:
        """Write down what is left. What is held stays in the books, until it is settled or its owner is dead."""
        self._notes.flush()
        self._owed.repay_all()
        self._line.close()
        self._upkeep.close()

    # --- inside ---

    def _amounts(self, claim: Claim, tariff: Tariff) -> Amounts:
        wanted = self._history.wanted(claim)
        likely, least, safe, most = map(tariff.cost, (wanted.likely, wanted.least, wanted.safe, wanted.most))
        return Amounts(likely, least, safe, most, wanted.grows)

    def _may_try(self, claim: Claim, call: Call, tariff: Tariff) -> bool:
        """Whether it would get something, or be refused for good, by the figures that were looked at last."""
        limits = [each for each in self._picture.limits() if each.pair in call.pairs]
        granted = balances.grant(limits, self._amounts(claim, tariff))
        return isinstance(granted, int) or not granted.may_change

    async def _reserve(self, claim: Claim, call: Call, tariff: Tariff) -> Taken | Refused:
        await self.open()
        if (lost := passing(self._store)) is not None and self._refuses(call):
            raise lost
        terms = Terms(self._own, claim.approved)
        wish = Wish(
            partial(
                books.reserve,
                call=call,
                amounts=self._amounts(claim, tariff),
                at=self._wall(),
                today=self._today(),
                lease=self._upkeep.lease(),
                terms=terms,
            )
        )
        try:
            found = await self._store.write(wish)
        except asyncio.CancelledError:
            # It may be in the writer's queue, or done already.
            wish.is_void = True
            self._store.post(partial(books.release, call=call, at=self._wall()), self._trouble.is_here)
            self._line.wake()
            raise
        self._trouble.is_over()
        assert found is not None
        return found

    def _settle(self, call: Call, spent: Spent) -> None:
        self._owed.settle((call, spent, self._wall()))
        self._line.wake()

    def _has_changed(self) -> bool:
        try:
            return self._picture.has_changed()
        except failures() as error:
            self._trouble.is_here(error)
            return False

    def _refresh(self) -> None:
        try:
            self._picture.look()
        except failures() as error:
            self._trouble.is_here(error)

    def _refuses(self, call: Call) -> bool:
        """Whether a call may not go on without the books."""
        if self._on_failure is not None:
            return self._on_failure == "refuse"
        if self._store.is_open:  # opening it takes milliseconds
            self._refresh()
        pairs = {each.pair for each in self._picture.limits()} | {(scope, subject) for scope, subject, _ in self._own}
        return not pairs.isdisjoint(call.pairs)

    def _today(self) -> str:
        return self._calendar.day(self._wall())

    def _standing(self, limit: Limit, account: balances.Account, day: str, *, is_own: bool) -> Standing:
        resets_at = self._calendar.resets_at(limit.period, day)
        return Standing(limit, account.settled, account.reserved, account.allowed, resets_at, is_own)

    def _no_room(self, claim: Claim, refused: Refused, tariff: Tariff) -> AttemptFailed:
        room, wanted = self._picture.room(refused.short.by, refused.day), self._amounts(claim, tariff).safe
        held = (
            f", {usd(room.held_usd)} are held by others, and an eighth of that is kept for them"
            if room.held_usd
            else ""
        )
        error = AttemptFailed(
            FailureKind.BUDGET,
            f"the budget {name_of(refused.short.by.account)!r} has no room for {claim.model_id}: "
            f"{usd(room.left_usd)} of {usd(room.limit_usd)} are left{held}; it will probably take {usd(wanted / 1e6)}",
            hint=advice(room, claim.model_id, wanted),
        )
        error.room = room
        return error

    def _no_books(self, claim: Claim, error: BaseException) -> AttemptFailed:
        why = error.message if isinstance(error, ConfigurationError) else str(error)
        return AttemptFailed(
            FailureKind.LEDGER,
            f"what {claim.model_id} costs cannot be written down: {why}",
            hint=f'{mending(error)} Or set `when_books_fail = "go-on"` below [budget].',
            cause=error,
        )


def _call_of(claim: Claim) -> Call:
    return Call(claim.id, claim.request_id, claim.model_id, claim.place, claim.tags, claim.key, claim.price.source)


def _learn(db: apsw.Connection) -> tuple[list[tuple[str, int]], list[Lease]]:
    """How long the models' answers were, and who holds something."""
    return answer_lengths(db), books.holders(db)
