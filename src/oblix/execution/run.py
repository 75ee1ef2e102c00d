"""Walk the plan: one attempt after another, until one proves completion. The only loop of its kind in the house."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Literal

from oblix.errors import AttemptFailed, DeadlineExceeded, FailureKind, StreamBroken
from oblix.execution import backoff
from oblix.execution.attempt import Try
from oblix.execution.hands import Hands
from oblix.execution.hedge import Race
from oblix.execution.journey import Journey
from oblix.execution.loading import StillLoading, is_cold, patience
from oblix.execution.route import Route
from oblix.execution.states import Event, State
from oblix.models.base import Model
from oblix.types.attempt import Attempt
from oblix.types.chunk import Chunk, Delta, End, Reset
from oblix.types.failure import treatment
from oblix.types.request import OnBreak, unfit_to_continue

Break = OnBreak | Literal["unseen"]
# More tries on models that have failed already, for one request: Google's SRE book allows 3 attempts in all.
MAX_RETRIES = 2
MAX_WAIT = 60.0  # seconds before such a try; who must wait longer would rather know
# Seconds of the deadline that are kept for the next candidate (at most half of what is left): most answers of cloud models take less.
RESERVE = 15.0
SILENCE = 3  # the part of the time left that one silence in mid-answer may take, while another model could take over
_RATE_BASE = 1.0  # seconds; a rate limit counts in seconds or minutes, so that tenths of one are no pause
K = FailureKind
_ALL_TRIED = "Every model that may answer was tried; .attempts tells the whole story."
_NOBODY_CAN = (
    "No model that is left can go on from half an answer (embedded models, Ollama's and those with prefill=True can); "
    "on_break='restart' begins again."
)


class Walk:
    """The way of one request through its plan.

    Args:
        plan: The candidates, in order.
        on_break: What follows a failure after the first token: `error`, `restart` (after a `Reset`), `continue` (a model goes on from
            the text so far), or `unseen`: nobody has seen the text, begin again.
    """

    def __init__(self, plan: Sequence[Model], journey: Journey, hands: Hands, *, on_break: Break) -> None:
        self._route = Route(plan)
        self._journey = journey
        self._hands = hands
        self._on_break = on_break
        self._failures: dict[str, tuple[Model, AttemptFailed]] = {}
        self._refused: list[Model] = []  # a budget had no room for it, but what others hold may make some
        self._retries = 0
        # Who failed after the commit point: what was said waits for a reset, or to be gone on from.
        self._broken: tuple[str, AttemptFailed] | None = None

    async def pieces(self) -> AsyncGenerator[Chunk | Reset]:
        """Yield the answer's pieces, its `End` last; when nothing is left to try, end without one.

        Raises:
            StreamBroken: After the first token, as `on_break` says.
            DeadlineExceeded: The deadline of the whole call passed.
        """
        try:
            while (attempt := await self._next()) is not None:
                if (reset := self._begin(attempt)) is not None:
                    try:
                        yield reset
                    except (asyncio.CancelledError, GeneratorExit):
                        attempt.abandon()  # it may hold the only probe
                        raise
                try:
                    async with aclosing(attempt.chunks()) as chunks:
                        async for chunk in chunks:
                            self._heard(chunk, attempt)
                            yield chunk
                    return
                except StillLoading:
                    self._journey.on(Event.FAIL)
                    self._route.put_off(attempt.model)
                except AttemptFailed as failure:
                    for model, lost in attempt.lost if isinstance(attempt, Race) else ():
                        self._failed(model, lost)
                    self._judge(attempt.model, failure, has_waited=isinstance(attempt, Try) and attempt.waits_for_room)
            self._give_up()
        except (asyncio.CancelledError, GeneratorExit):
            if self._journey.end is None:
                self._journey.on(Event.LEAVE)
            raise

    # --- who is next ---

    async def _next(self) -> Try | Race | None:
        health = self._hands.health
        while self._route:
            model, may_wait = self._route.next(self._journey.bridges)
            if (why := self._bar(model)) is not None:
                self._pass_by(model, why)
                continue
            admitted = health.admit(model.spec, _now())
            if admitted or not may_wait:
                return self._try(model, others_left=may_wait, admitted=admitted)
            self._route.put_off(model)
            self._pass_by(model, "it failed a moment ago, and is tried by one request at a time")
        while self._refused:
            refused = self._refused.pop(0)
            if self._may_follow(refused):
                return self._try(refused, others_left=False, admitted=health.admit(refused.spec, _now()))
        again = await self._retry()
        if again is None or self._bar(again) is not None:  # it may have come up during the pause
            return None
        return self._try(again, others_left=False, admitted=health.admit(again.spec, _now()))

    def _try(self, model: Model, *, others_left: bool, admitted: bool) -> Try | Race:
        journey, now = self._journey, _now()
        said = "".join(journey.text) if self._on_break == "continue" else ""
        first = Try(model, journey, self._hands, said, admitted=admitted)
        first.waits_for_room = not (others_left and journey.home_steps_in)
        if not others_left:
            return first
        first.patience = patience(model, self._route.others(), journey, self._hands.health, now)
        if journey.deadline is not None:
            first.share_until = journey.deadline - min(RESERVE, (journey.deadline - now) / 2)
            if (
                self._on_break != "error"
            ):  # what falls silent in the middle may be begun again, or gone on from, by another one
                first.longest_silence = (journey.deadline - now) / SILENCE
        if journey.request.hedge and not journey.request.tools and not is_cold(model):
            return Race(first, self._route, self._hands)
        return first

    def _bar(self, model: Model) -> str | None:
        """Why this request may not be sent to the model; it may have come up since the decision was taken."""
        hands, now = self._hands, _now()
        health = hands.health.of(model.spec, now, hands.fingerprint(self._journey.request, now))
        return health.quarantined or health.resting

    def _pass_by(self, model: Model, why: str) -> None:
        why = f"{model.spec.id} was passed by: {why}"
        self._journey.add(Attempt(model.spec.id, model.spec.place, "postponed", why=why, certainty="not_sent"), None)

    async def _retry(self) -> Model | None:
        """A model that failed in a way that may pass, after a pause; `None` when there is none, or no budget, or no time."""
        if self._retries >= MAX_RETRIES:
            return None
        waits = sorted(
            (
                (self._pause(failure), number, model)
                for number, (model, failure) in enumerate(self._failures.values())
                if treatment(failure.kind).retries_here and self._may_follow(model)
            ),
            key=lambda row: row[:2],
        )
        now = _now()
        left = MAX_WAIT if self._journey.deadline is None else min(MAX_WAIT, self._journey.deadline - now)
        for pause, _, model in waits:
            if pause < left and self._hands.health.may_retry(model.spec, now):
                self._retries += 1
                await asyncio.sleep(pause)
                return model
        return None

    def _pause(self, failure: AttemptFailed) -> float:
        """Seconds; what the peer asks for comes on top of ours, so that those whom it told the same do not come back together."""
        base = _RATE_BASE if failure.kind is K.RATE_LIMITED and failure.retry_after is None else backoff.BASE
        return (failure.retry_after or 0.0) + backoff.delay(self._retries + 1, base=base, share=self._hands.chance())

    # --- what came ---

    def _begin(self, attempt: Try | Race) -> Reset | None:
        """An attempt begins; what must be told of the text so far before it."""
        journey, broken = self._journey, self._broken
        self._broken = None
        reset = None
        if self._on_break == "continue" and journey.text:
            journey.is_spliced = True
            if journey.state is State.BROKEN:
                journey.on(Event.RESUME)
        elif broken is not None:
            reset = Reset(attempt.model.spec.id, f"{broken[0]} failed: {broken[1].message}")
            journey.void()
        journey.on(Event.SEND)
        return reset

    def _heard(self, chunk: Chunk, attempt: Try | Race) -> None:
        journey = self._journey
        if type(chunk) is Delta:
            if chunk.text:
                if journey.first_token_at is None:
                    journey.first_token_at = _now()
                if not journey.is_visible:
                    journey.is_visible = True
                    journey.on(Event.TOKEN)
                journey.text.append(chunk.text)
        elif type(chunk) is End:
            journey.end, journey.answered_by, journey.ended_at = chunk, attempt.model.spec.id, _now()
            journey.on(Event.PROOF)
        elif not (journey.is_at_work or journey.is_visible):
            journey.is_at_work = True
            journey.on(Event.WORK)

    # --- what failed ---

    def _judge(self, model: Model, failure: AttemptFailed, *, has_waited: bool) -> None:
        """Decide what may follow a failure.

        Args:
            has_waited: Until others might have given back what they hold.

        Raises:
            StreamBroken: Nothing may, after the first token.
            DeadlineExceeded: There is no time for anything.
        """
        journey, kind = self._journey, failure.kind
        journey.on(Event.FAIL)
        self._failed(model, failure, has_waited=has_waited)
        if kind is K.TIMEOUT_TOTAL:
            journey.on(Event.GIVE_UP)
            raise too_late(journey, model, failure) from None
        if journey.text:
            self._broken = (model.spec.id, failure)
            if self._on_break == "error":
                raise self._stop(
                    "on_break='restart' begins again on the next model, 'continue' goes on where it broke off."
                )
            if self._on_break == "continue":
                if failure.is_void:
                    raise self._stop(
                        "The model had not read the whole prompt, so that its text is no beginning of an answer."
                    )
                self._go_on_with(model, failure)
        if not treatment(kind).moves_on or (kind is K.BUDGET and not journey.home_steps_in):
            self._route.keep(lambda model: False)
            self._failures.clear()
            self._refused.clear()
        elif kind is K.CONTEXT_OVERFLOW and failure.tokens is not None:
            tokens = max(failure.tokens, (failure.window or 0) + 1)
            for narrow in self._route.keep(lambda model: model.spec.window is None or model.spec.window >= tokens):
                self._pass_by(narrow, f"the prompt's {tokens:,} tokens do not fit its window of {narrow.spec.window:,}")

    def _failed(self, model: Model, failure: AttemptFailed, *, has_waited: bool = False) -> None:
        """Remember who failed. Whom a budget refused at once is asked again after all others, if room may come."""
        has_waited = has_waited or model.spec.id in self._failures
        self._failures[model.spec.id] = (model, failure)
        if failure.kind is K.BUDGET and failure.room is not None and failure.room.held_usd and not has_waited:
            self._refused.append(model)

    def _go_on_with(self, model: Model, failure: AttemptFailed) -> None:
        """Keep only who can go on from the text so far; the same model first, where it may be well again."""
        why = unfit_to_continue(self._journey.request)
        if why is not None:
            raise self._stop(f"{why}, so that nothing can go on from here; on_break='restart' begins again.")
        for other in self._route.keep(can_continue):
            self._pass_by(other, "it cannot go on from half an answer")
        if not self._route and not (can_continue(model) and treatment(failure.kind).retries_here):
            raise self._stop(_NOBODY_CAN)

    def _may_follow(self, model: Model) -> bool:
        """Whether another try on this model makes sense."""
        can = self._broken is None or self._on_break != "continue" or can_continue(model)
        return can and self._bar(model) is None

    def _give_up(self) -> None:
        """Nothing is left. A stream that has shown text ends in an error of its own; the rest is the caller's to tell."""
        if self._broken is not None and self._on_break != "unseen":
            raise self._stop(_NOBODY_CAN if self._on_break == "continue" else _ALL_TRIED)
        self._journey.on(Event.GIVE_UP)

    def _stop(self, hint: str) -> StreamBroken:
        assert self._broken is not None
        model_id, failure = self._broken
        self._journey.on(Event.GIVE_UP)
        error = StreamBroken(f"The stream of {model_id} broke off: {failure.message}.", hint=hint, cause=failure)
        error.text, error.kind = "".join(self._journey.text), failure.kind
        return error


def can_continue(model: Model) -> bool:
    """Whether a model goes on from the beginning of an answer."""
    return "prefill" in model.spec.capabilities


def too_late(journey: Journey, model: Model | None = None, failure: AttemptFailed | None = None) -> DeadlineExceeded:
    """The error for a call that ran into its deadline, with the text so far; `failure` is that of the `model` that was at work."""
    at_work = ""
    if model is not None and failure is not None:
        what = failure.message.partition("; it ")[2]
        at_work = f"; {model.spec.id} {what or 'was at work'}"
    error = DeadlineExceeded(
        f"No whole answer within the deadline of {journey.request.deadline:g} s{at_work}.",
        hint="Raise deadline=, or ask for less with max_tokens=." if journey.text else "Raise deadline=.",
        cause=failure,
    )
    error.text = "".join(journey.text)
    return error


def _now() -> float:
    return asyncio.get_running_loop().time()
