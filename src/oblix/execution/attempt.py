"""One attempt on one model: under its timers, to its proof, and written down once, however it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from typing import Any, TypeVar, cast

from oblix.decision.privacy.texts import without_quotations
from oblix.decision.tokens import estimate, estimate_request
from oblix.errors import AttemptFailed, FailureKind
from oblix.execution.charge import Charge
from oblix.execution.hands import Hands
from oblix.execution.journey import Journey
from oblix.execution.latency import Limits, Timing
from oblix.execution.loading import StillLoading, is_cold
from oblix.execution.patience import within
from oblix.execution.proof import whole
from oblix.execution.timers import Watchdog
from oblix.models.base import Call, Loadable, Model, bound_of, hides_tokens
from oblix.types.attempt import Attempt, Outcome
from oblix.types.chunk import Chunk, Delta, End, Usage
from oblix.types.failure import Certainty, treatment
from oblix.types.money import Claim
from oblix.types.request import Request

LONGEST_QUEUE = 300.0  # seconds that an edge model's first token may take, however many are before us
NOTICEABLE = 0.05  # seconds; asking a server whether a model is loaded is no load
ARRIVED = 0.05  # seconds for reading what has come already of an answer that is stopped: it is billed, and its usage may stand there
ROOM_WAIT = 30.0  # seconds that the last candidate waits until others give back what they have reserved
QUIET = 0.01  # seconds without a piece, after which what comes may have been written a while ago; less is the pace of a quick model
NEWSWORTHY = 1.0  # seconds of waiting for a load, after which it is said
_log = logging.getLogger("oblix.execution")
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Try:
    """An attempt and what it has come to. Times are on the loop's clock, in seconds.

    Attributes:
        said: The text that it goes on from.
        patience: Seconds to wait for a model that has to be loaded, because another one could answer meanwhile.
        share_until: When its first token must have come.
        longest_silence: Seconds that it may be silent after its first token, whatever its limits say.
        load: Seconds that it waited for the model to be loaded.
        admitted: It was let through to the model; else it goes there because nobody else is left, and has no probe to give back.
        is_hedge: It was started beside another one.
        waits_for_room: Where a budget has none, it waits for others to give back what they hold; nobody else could answer.
        pieces: The texts that it gave.
        request: As it goes to this model.
        cut: Messages of the conversation that were left out, because they did not fit.
    """

    model: Model
    journey: Journey
    hands: Hands
    said: str = ""
    patience: float | None = None
    share_until: float | None = None
    longest_silence: float = inf
    load: float | None = None
    admitted: bool = True
    is_hedge: bool = False
    waits_for_room: bool = False
    charge: Charge = field(init=False)
    pieces: list[str] = field(default_factory=list)
    request: Request = field(init=False)
    cut: int = 0
    first_token_at: float | None = None
    _started: float = 0.0
    _heard_at: float | None = None  # the first sign of work
    _gap: float = 0.0
    _quiet_since: float = 0.0
    _dog: Watchdog | None = None
    _is_hurried: bool = False  # its idle limit is the caller's deadline in disguise
    _is_sent: bool = False
    _is_told: bool = False

    def __post_init__(self) -> None:
        self._fit()
        is_hiding = hides_tokens(self.model, self.request)
        hands, model_id = self.hands, self.model.spec.id
        self.charge = Charge(
            hands.price_of(self.model),
            self._count_input,
            scale=hands.scales[model_id],
            prompts=hands.prompts[model_id],
            price_now=partial(hands.price_of, self.model),
            is_hiding=is_hiding,
        )

    def _fit(self) -> None:
        fitted = self.journey.fitted
        self.request, self.cut = (self.journey.request, 0) if fitted is None else fitted(self.model.spec)

    async def chunks(self) -> AsyncGenerator[Chunk]:
        """The answer's pieces, its `End` last.

        Raises:
            AttemptFailed: It failed. That, like every other end, has been written down by then.
        """
        clock = asyncio.get_running_loop().time
        self._started = clock()
        journey = self.journey
        journey.sent_at = journey.sent_at or self._started
        limits = self._join()
        dog = self._dog = Watchdog(limits, journey.deadline, share_until=self.share_until)
        stream: AsyncIterator[Chunk] | None = None
        turn: asyncio.Lock | None = None
        ended = False
        try:
            turn = await self._turn()
            await self._load(dog, clock)
            most = await self._reserve()
            self._is_sent = True
            self._quiet_since = clock()
            stream = self.model.stream(self.request, Call(dog, limits.connect, self.said, most))
            while not ended:
                assert stream is not None
                chunk = self._take(await dog.watch(anext(stream, None)), dog, clock())
                ended = type(chunk) is End
                yield chunk
                if not (ended or self.charge.is_covered or await self._in_time(self.charge.pays_on())):
                    last, stream = stream, None
                    for chunk in await self._stop(last, dog, clock):
                        yield chunk
                    ended = True
        except AttemptFailed as error:
            hurried = dog.gave_way or (self._is_hurried and error.kind is FailureKind.TIMEOUT_IDLE)
            self._failed(error, clock(), blame=not hurried)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            if not ended:
                self.write_off(clock(), "the caller left")
            raise
        except StillLoading:
            raise
        except Exception as error:
            # A provider promises AttemptFailed only. A slip of ours must not cost the user the answer that another model can give.
            kind, name = FailureKind.INTERNAL, self.model.spec.id
            failure = AttemptFailed(kind, f"{name}: {type(error).__name__}: {error}", cause=error)
            failure.is_told_by_peer = True  # it may quote the prompt just as well
            self._failed(failure, clock())
            raise failure from error
        finally:
            try:
                await _let_go(stream, dog)
            finally:  # also when the caller leaves just then
                dog.stop()
                if turn is not None:
                    turn.release()
                self.hands.busy[self.model.spec.id] -= 1

    def _join(self) -> Limits:
        """The limits of this attempt. At home many queue for one engine, and wait for those before them (Ollama: one at a time)."""
        spec, busy = self.model.spec, self.hands.busy
        before = busy.get(spec.id, 0)
        busy[spec.id] = before + 1
        limits = self.hands.health.limits(spec, self.journey.prompt_tokens)
        if self.longest_silence < limits.idle:
            self._is_hurried = True
            limits = replace(limits, idle=self.longest_silence)
        if before and spec.is_edge and spec.timeouts.first_token is None:
            return replace(limits, first_token=min(LONGEST_QUEUE, limits.first_token * (1 + before)))
        return limits

    def _count_input(self) -> int:
        """The prompt's tokens, estimated."""
        known = 0 if self.cut else self.journey.prompt_tokens
        return (known or estimate_request(self.request)) + estimate(self.said)

    async def _reserve(self) -> int | None:
        """Reserve what it may cost, if anything; gives the tokens that the budgets pay at most."""
        if not self.charge.is_paid:
            return None
        journey, until = self.journey, None
        if self.waits_for_room and journey.ask is None:
            until = asyncio.get_running_loop().time() + ROOM_WAIT
            until = until if journey.deadline is None else min(until, journey.deadline)
        try:
            return await self._claim(until)
        except AttemptFailed as refused:
            if refused.kind is not FailureKind.BUDGET or not await self._is_let_pass(refused):
                raise
        journey.is_approved = True
        return await self._claim(None)

    async def _is_let_pass(self, refused: AttemptFailed) -> bool:
        """Ask the user, who may take until the deadline."""
        journey = self.journey
        if journey.ask is None:
            return False
        return await self._in_time(journey.ask(refused))

    async def _in_time(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` gives; it may take until the deadline of the whole call."""
        try:
            return await within(work, self.journey.deadline)
        except TimeoutError:
            raise AttemptFailed(FailureKind.TIMEOUT_TOTAL, "the deadline of the whole call has passed") from None

    async def _claim(self, until: float | None) -> int | None:
        return await self._in_time(self.charge.reserve(self.hands.accounts, self._claimed(), until=until))

    def _claimed(self) -> Claim:
        hands, journey = self.hands, self.journey
        return self.charge.claim(
            hands.claim_id(journey.request),
            self.model.spec,
            self.request,
            bound=bound_of(self.model, self.request),
            key=hands.key_of(self.model),
            is_approved=journey.is_approved,
        )

    def abandon(self) -> None:
        """It is stopped; if it had not even begun, nobody else gives its probe back."""
        if not self._started and self.admitted:
            self.hands.health.left(self.model.spec, asyncio.get_running_loop().time())

    async def _turn(self) -> asyncio.Lock | None:
        """Wait for our turn, where this request was in the engine when it crashed: such requests are in it one at a time."""
        hands, request, now = self.hands, self.journey.request, asyncio.get_running_loop().time
        turn = hands.turn(self.model, request, now())
        if turn is None:
            return None
        await self._in_time(turn.acquire())
        if hands.health.of(self.model.spec, now(), hands.fingerprint(request, now())).quarantined:
            turn.release()
            raise AttemptFailed(FailureKind.POLICY, f"{self.model.spec.id}: this very request crashed its engine twice")
        return turn

    async def _load(self, dog: Watchdog, clock: Callable[[], float]) -> None:
        """Wait until the model is in memory, if it has to be brought there; its load is its own affair, and goes on when we leave.

        Raises:
            StillLoading: Our patience is over.
        """
        if not is_cold(self.model):
            return
        model = cast("Loadable", self.model)
        dog.reached("load")
        teller = asyncio.get_running_loop().call_later(NEWSWORTHY, self._tell_of_load)
        try:
            until = None if self.patience is None else self._started + self.patience
            await dog.watch(within(model.load(self.request), until))
        except TimeoutError:
            why = f"{self.model.spec.id} is being loaded; another model answers meanwhile"
            self.hands.health.left(self.model.spec, clock(), started=self._since)
            self._add("postponed", clock(), None, why=why, certainty="not_sent")
            raise StillLoading from None
        finally:
            teller.cancel()
        if (waited := clock() - self._started) > NOTICEABLE:
            self.load = waited
        dog.reached("first_token")
        self._fit()  # its window is known by now

    async def _stop(self, stream: AsyncIterator[Chunk], dog: Watchdog, clock: Callable[[], float]) -> list[Chunk]:
        """The last pieces of an answer that a budget stops, which have arrived already, and its `End`: its own, if that is among them."""
        until, pieces = clock() + ARRIVED, list[Chunk]()
        try:
            while not pieces or type(pieces[-1]) is not End:
                pieces.append(self._take(await dog.watch(within(_next(stream), until)), dog, clock()))
        except (TimeoutError, AttemptFailed):
            pieces.append(self._ok(End("budget"), clock()))
        finally:
            await _let_go(stream, dog)
        return pieces

    def _tell_of_load(self) -> None:
        usual = self.hands.health.usual_load(self.model.spec)
        _log.info("%s is being loaded%s", self.model.spec.id, f"; it usually takes {usual:.0f} s" if usual else "")

    def _take(self, chunk: Chunk | None, dog: Watchdog, now: float) -> Chunk:
        """Note a piece down, and hand it on.

        Raises:
            AttemptFailed: There is none, and no end came.
        """
        silence = dog.silence(now)
        if silence > QUIET:
            self._quiet_since = now - silence
            self.charge.was_quiet()
        if self._heard_at is None:
            self._heard_at = now
            dog.heard()
        elif silence > self._gap:
            self._gap = silence
        if type(chunk) is Delta:
            if chunk.text:
                self.pieces.append(chunk.text)
                self.charge.wrote(chunk.text, now)
                if self.first_token_at is None:
                    self.first_token_at = now
            dog.reached("idle")
            return chunk
        if type(chunk) is End:
            return self._ok(whole(chunk, self.model.spec.id), now)
        if chunk is None:
            why = f"the answer of {self.model.spec.id} ended without the proof of completion"
            raise AttemptFailed(FailureKind.TRUNCATED, why)
        self.charge.worked(chunk.tokens, now)
        return chunk

    def _ok(self, end: End, now: float) -> End:
        if self.charge.was_bounded(end.finish_reason):
            end = replace(end, finish_reason="budget")
        began = self._started + (self.load or 0.0)
        first = None if self._heard_at is None else self._heard_at - began
        used = end.usage
        written = used.output_tokens or len(self.pieces)  # a piece is a token, mostly
        timing = Timing(now - began, first, self._gap, self.load, self.journey.prompt_tokens, written)
        self.hands.health.succeeded(self.model.spec, now, timing, self._fingerprint(now))
        self.charge.learn(used, is_text=not end.tool_calls)
        cost = self.charge.cost(used, is_whole=end.finish_reason != "budget")
        self._add("ok", now, None, cost, used, certainty="response_started")
        return end

    def _failed(self, error: AttemptFailed, now: float, *, blame: bool = True) -> None:
        if self._is_told:
            return
        spec, health, started = self.model.spec, self.hands.health, self._since
        if error.is_told_by_peer:
            # What a peer says may quote the prompt, and is kept, and told to others as the model's health.
            known = (spec.id, spec.endpoint or "")
            error.message = without_quotations(error.message, self.journey.request, known=known)
            error.args = (error.message,)
        if not blame:  # short deadlines say little of a model; three in a row say something
            health.failed(spec, FailureKind.OVERLOADED, error.message, now, started=started)
        else:
            # An engine that died before it saw the prompt did not die of it.
            suspect = None if error.certainty == "not_sent" else self._fingerprint(now, error.kind)
            health.failed(spec, error.kind, error.message, now, error.retry_after, suspect, started=started)
        meant = treatment(error.kind)
        certainty = self._certainty(error.certainty or meant.certainty)
        may_cost = meant.is_billable or self.pieces or error.certainty == "possibly_accepted"
        used, is_begun = Usage(error.tokens), self._heard_at is not None or certainty == "possibly_accepted"
        charged = may_cost and certainty != "not_sent"
        cost = self._owed(now, used, is_whole=not is_begun) if charged else 0
        self._add("failed", now, error, cost, used, certainty=certainty, kind=error.kind.value, why=_told(error),
                  hint=error.hint, window=error.window)  # fmt: skip

    def _fingerprint(self, now: float, kind: FailureKind | None = None) -> bytes | None:
        return self.hands.fingerprint(self.journey.request, now, always=kind is FailureKind.ENGINE_CRASH)

    def write_off(self, now: float, why: str) -> None:
        """It came to no end of its own: its caller left, or another one answered first. Written down once, whichever comes first."""
        if self._is_told:
            return
        self.hands.health.left(self.model.spec, now, started=self._since)
        certainty = self._certainty("possibly_accepted")
        cost = 0 if certainty == "not_sent" else self._owed(now, Usage(), is_whole=False)
        self._add("cancelled", now, None, cost, certainty=certainty, kind=FailureKind.CANCELLED.value, why=why)

    def _owed(self, now: float, used: Usage, *, is_whole: bool) -> int | None:
        """What was certainly or possibly billed by now, in micro-USD."""
        unread = 0.0 if self._dog is None else self._dog.silence(now)
        return self.charge.cost(used, is_whole=is_whole, unread=unread, quiet=now - self._quiet_since)

    @property
    def _since(self) -> float:
        """What a breaker counts the news of this attempt from; those of one that was not admitted are old to it."""
        return self._started if self.admitted else -inf

    def _certainty(self, otherwise: Certainty) -> Certainty:
        if not self._is_sent:
            return "not_sent"
        return otherwise if self._heard_at is None else "response_started"

    def _add(
        self,
        outcome: Outcome,
        now: float,
        error: AttemptFailed | None,
        cost: int | None = None,
        used: Usage = Usage(),  # noqa: B008  frozen
        **told: Any,
    ) -> None:
        """It is over: settled and written down, once.

        Args:
            cost: In micro-USD, `None` where the price is not known.
        """
        self._is_told = True
        unreserved = self.charge.settle(outcome, cost, used)
        if unreserved is not None:
            self.hands.accounts.charge(self._claimed(), unreserved)
        spec = self.model.spec
        first = None if self.first_token_at is None else self.first_token_at - self._started
        total = now - self._started
        attempt = Attempt(
            spec.id,
            spec.place,
            outcome,
            first_token=first,
            total=total,
            hedged=self.is_hedge,
            load=self.load,
            cut=self.cut,
            cost_usd=None if cost is None else cost / 1e6,
            input_tokens=used.input_tokens,
            output_tokens=used.output_tokens,
            **told,
        )
        self.journey.add(attempt, error)


def _told(error: AttemptFailed) -> str:
    """The failure in words, with the pause that the peer asked for: a longer one than a call waits ends the call."""
    if not error.retry_after:
        return error.message
    return f"{error.message} (it asks for a pause of {error.retry_after:,.0f} s)"


async def _next(stream: AsyncIterator[Chunk]) -> Chunk | None:
    return await anext(stream, None)


async def _let_go(stream: AsyncIterator[Chunk] | None, dog: Watchdog) -> None:
    """Free the model. What goes wrong here costs no answer, and hardly any time."""
    close = getattr(stream, "aclose", None)
    if close is None:
        return
    dog.reached("closing")
    try:
        await dog.watch(close())
    except Exception as error:  # noqa: BLE001  a slip in a provider's clean-up
        _log.warning("a model was not freed as it should be: %r", error, exc_info=error)
