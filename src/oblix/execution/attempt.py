"""One attempt on one model: under its timers, to its proof, and written down once, however it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, cast

from oblix.decision.privacy.texts import without_quotations
from oblix.decision.tokens import estimate, estimate_messages
from oblix.errors import AttemptFailed, FailureKind
from oblix.execution.hands import Hands
from oblix.execution.journey import Journey
from oblix.execution.latency import Limits, Timing
from oblix.execution.loading import StillLoading, is_cold
from oblix.execution.patience import within
from oblix.execution.proof import whole
from oblix.execution.timers import Watchdog
from oblix.models.base import Call, Loadable, Model
from oblix.types.attempt import Attempt, Outcome
from oblix.types.chunk import Chunk, Delta, End, Usage
from oblix.types.failure import Certainty, treatment

LONGEST_QUEUE = 300.0  # seconds that an edge model's first token may take, however many are before us
NOTICEABLE = 0.05  # seconds; asking a server whether a model is loaded is no load
NEWSWORTHY = 1.0  # seconds of waiting for a load, after which it is said
_log = logging.getLogger("oblix.execution")


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
        pieces: The texts that it gave.
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
    pieces: list[str] = field(default_factory=list)
    first_token_at: float | None = None
    _started: float = 0.0
    _heard_at: float | None = None  # the first sign of work
    _gap: float = 0.0
    _works: int = 0  # signs of work without text; a thought is billed as a token
    _is_hurried: bool = False  # its idle limit is the caller's deadline in disguise
    _is_loading: bool = False
    _is_told: bool = False

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
        dog = Watchdog(limits, journey.deadline, share_until=self.share_until)
        stream: AsyncIterator[Chunk] | None = None
        turn: asyncio.Lock | None = None
        ended = False
        try:
            turn = await self._turn()
            if is_cold(self.model):
                await self._load(dog, clock)
            stream = self.model.stream(journey.request, Call(dog, limits.connect, self.said))
            while not ended:
                chunk = await dog.watch(anext(stream, None))
                ended = self._take(chunk, dog, clock())
                yield chunk  # type: ignore[misc]  # `_take` raises where there is none
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
        try:
            await within(turn.acquire(), self.journey.deadline)
        except TimeoutError:
            kind, why = FailureKind.TIMEOUT_TOTAL, "the deadline of the whole call has passed"
            raise AttemptFailed(kind, why) from None
        if hands.health.of(self.model.spec, now(), hands.fingerprint(request, now())).quarantined:
            turn.release()
            raise AttemptFailed(FailureKind.POLICY, f"{self.model.spec.id}: this very request crashed its engine twice")
        return turn

    async def _load(self, dog: Watchdog, clock: Callable[[], float]) -> None:
        """Wait until the model is in memory; its load is its own affair, and goes on when we leave.

        Raises:
            StillLoading: Our patience is over.
        """
        model = cast("Loadable", self.model)
        dog.reached("load")
        self._is_loading = True
        teller = asyncio.get_running_loop().call_later(NEWSWORTHY, self._tell_of_load)
        try:
            until = None if self.patience is None else self._started + self.patience
            await dog.watch(within(model.load(self.journey.request), until))
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
        self._is_loading = False

    def _tell_of_load(self) -> None:
        usual = self.hands.health.usual_load(self.model.spec)
        _log.info("%s is being loaded%s", self.model.spec.id, f"; it usually takes {usual:.0f} s" if usual else "")

    def _take(self, chunk: Chunk | None, dog: Watchdog, now: float) -> bool:
        """Note a piece down; whether it was the last one."""
        if self._heard_at is None:
            self._heard_at = now
            dog.heard()
        elif dog.silence(now) > self._gap:
            self._gap = dog.silence(now)
        if type(chunk) is Delta:
            if chunk.text:
                self.pieces.append(chunk.text)
                if self.first_token_at is None:
                    self.first_token_at = now
            dog.reached("idle")
            return False
        if type(chunk) is End:
            self._ok(whole(chunk, self.model.spec.id), now)
            return True
        self._works += 1
        if chunk is None:
            why = f"the answer of {self.model.spec.id} ended without the proof of completion"
            raise AttemptFailed(FailureKind.TRUNCATED, why)
        return False

    def _ok(self, end: End, now: float) -> None:
        began = self._started + (self.load or 0.0)
        first = None if self._heard_at is None else self._heard_at - began
        used = end.usage
        written = used.output_tokens or len(self.pieces)  # a piece is a token, mostly
        timing = Timing(now - began, first, self._gap, self.load, self.journey.prompt_tokens, written)
        self.hands.health.succeeded(self.model.spec, now, timing, self._fingerprint(now))
        self._add("ok", now, None, certainty="response_started", cost_usd=self._cost(used),
                  input_tokens=used.input_tokens, output_tokens=used.output_tokens)  # fmt: skip

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
        cost = self._cost(Usage(error.tokens)) if may_cost and certainty != "not_sent" else 0.0
        self._add("failed", now, error, certainty=certainty, cost_usd=cost, input_tokens=error.tokens,
                  kind=error.kind.value, why=_told(error), hint=error.hint, window=error.window)  # fmt: skip

    def _fingerprint(self, now: float, kind: FailureKind | None = None) -> bytes | None:
        return self.hands.fingerprint(self.journey.request, now, always=kind is FailureKind.ENGINE_CRASH)

    def write_off(self, now: float, why: str) -> None:
        """It came to no end of its own: its caller left, or another one answered first. Written down once, whichever comes first."""
        if self._is_told:
            return
        self.hands.health.left(self.model.spec, now, started=self._since)
        certainty: Certainty = "not_sent" if self._is_loading else self._certainty("possibly_accepted")
        cost = 0.0 if certainty == "not_sent" else self._cost(Usage())
        self._add("cancelled", now, None, certainty=certainty, cost_usd=cost, kind=FailureKind.CANCELLED.value, why=why)

    @property
    def _since(self) -> float:
        """What a breaker counts the news of this attempt from; those of one that was not admitted are old to it."""
        return self._started if self.admitted else -inf

    def _certainty(self, otherwise: Certainty) -> Certainty:
        return otherwise if self._heard_at is None else "response_started"

    def _cost(self, used: Usage) -> float | None:
        """USD that was certainly or possibly billed; where nothing was told, the tokens are estimated."""
        price = self.hands.price_of(self.model)
        if price is None:
            return None
        input_tokens, output_tokens = used.input_tokens, used.output_tokens
        if input_tokens is None:
            input_tokens = self.journey.prompt_tokens or estimate_messages(self.journey.request.messages)
            input_tokens += estimate(self.said)
        if output_tokens is None:
            output_tokens = max(estimate("".join(self.pieces)), len(self.pieces)) + self._works
        return price.cost(input_tokens, output_tokens, *used.cache)

    def _add(self, outcome: Outcome, now: float, error: AttemptFailed | None, **told: Any) -> None:
        self._is_told = True
        spec = self.model.spec
        first = None if self.first_token_at is None else self.first_token_at - self._started
        total = now - self._started
        attempt = Attempt(
            spec.id, spec.place, outcome, first_token=first, total=total, hedged=self.is_hedge, load=self.load, **told
        )
        self.journey.add(attempt, error)


def _told(error: AttemptFailed) -> str:
    """The failure in words, with the pause that the peer asked for: a longer one than a call waits ends the call."""
    if not error.retry_after:
        return error.message
    return f"{error.message} (it asks for a pause of {error.retry_after:,.0f} s)"


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
