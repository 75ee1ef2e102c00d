"""Walk the plan: one attempt per candidate, until one proves completion. The only loop of its kind in the house."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from oblix.errors import AttemptFailed, DeadlineExceeded, FailureKind, StreamBroken
from oblix.execution.patience import within
from oblix.execution.timers import Watchdog, limits_for
from oblix.models.base import Call, Model
from oblix.types.attempt import Attempt
from oblix.types.chunk import Chunk, Delta, End, Reset
from oblix.types.request import Request

CLEAN_UP = 5.0  # seconds; a connection is dropped at once, an engine stops within one batch
_log = logging.getLogger("oblix.execution")
# A filter is no fault of the model's, asking elsewhere would evade it; and who shuts the client down wants no other answer.
_FINAL = {FailureKind.CONTENT_FILTER, FailureKind.CANCELLED}


@dataclass(slots=True)
class Journey:
    """What became of a plan, written down while it is walked. Times are on the loop's clock, in seconds.

    Attributes:
        on_attempt: Told of each attempt when it is over, with its error if it failed.
    """

    on_attempt: Callable[[Attempt, AttemptFailed | None], None] = lambda attempt, error: None
    attempts: list[Attempt] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    end: End | None = None
    answered_by: str | None = None
    sent_at: float = 0.0
    first_token_at: float | None = None
    ended_at: float = 0.0

    def heard(self, text: str, clock: Callable[[], float]) -> None:
        """A piece of the answer came; an empty one commits to nothing."""
        if self.first_token_at is None and text:
            self.first_token_at = clock()
        if text:
            self.text.append(text)


async def walk(
    plan: Sequence[Model], request: Request, journey: Journey, *, restart: bool, deadline: float | None
) -> AsyncGenerator[Chunk | Reset]:
    """Yield the answer's pieces, its `End` last; when nothing is left to try, end without one.

    Args:
        plan: The candidates, in order.
        restart: After the first token, begin again on the next model (after a `Reset`) instead of ending in an error.
        deadline: On the loop's clock.

    Raises:
        StreamBroken: After the first token, unless `restart`.
        DeadlineExceeded: The deadline of the whole call passed.
    """
    for number, model in enumerate(plan):
        failure: AttemptFailed | None = None
        try:
            async with aclosing(_attempt(model, request, journey, deadline)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except AttemptFailed as error:
            failure = error
        if failure is None:
            return
        if failure.kind is FailureKind.TIMEOUT_TOTAL:
            raise too_late(request, journey, failure) from None
        if journey.text and not restart:
            raise _broken(model, journey, failure)
        if failure.kind in _FINAL:
            return
        if journey.text and number + 1 < len(plan):
            journey.text.clear()
            journey.first_token_at = None
            yield Reset(plan[number + 1].spec.id, f"{model.spec.id} failed: {failure.message}")


async def _attempt(model: Model, request: Request, journey: Journey, deadline: float | None) -> AsyncGenerator[Chunk]:
    """One try; whatever happens, it is written down."""
    clock = asyncio.get_running_loop().time
    limits = limits_for(model.spec)
    dog = Watchdog(limits, deadline)
    started = clock()
    journey.sent_at = journey.sent_at or started
    record = _Record(model, journey, started)
    stream: AsyncIterator[Chunk] | None = None
    try:
        stream = model.stream(request, Call(dog, limits.connect))
        while True:
            with dog:
                chunk = await anext(stream, None)
            if chunk is None:
                raise AttemptFailed(
                    FailureKind.TRUNCATED, f"the answer of {model.spec.id} ended without the proof of completion"
                )
            if type(chunk) is Delta:
                journey.heard(chunk.text, clock)
                dog.reached("idle")
            elif type(chunk) is End:
                journey.end, journey.answered_by, journey.ended_at = chunk, model.spec.id, clock()
                record.ok(chunk, clock())
            yield chunk
            if journey.end is not None:
                return
    except AttemptFailed as error:
        record.failed(error, clock())
        raise
    except (asyncio.CancelledError, GeneratorExit):
        if journey.end is None:
            record.cancelled(clock())
        raise
    except Exception as error:
        # A provider promises AttemptFailed only. A slip of ours must not cost the user the answer that another model can give.
        failure = AttemptFailed(FailureKind.INTERNAL, f"{model.spec.id}: {type(error).__name__}: {error}", cause=error)
        record.failed(failure, clock())
        raise failure from error
    finally:
        dog.stop()
        await _let_go(stream)


async def _let_go(stream: AsyncIterator[Chunk] | None) -> None:
    """Free the model. What goes wrong here costs no answer, and no more than `CLEAN_UP` seconds."""
    close = getattr(stream, "aclose", None)
    if close is None:
        return
    try:
        await within(close(), asyncio.get_running_loop().time() + CLEAN_UP)
    except Exception as error:  # noqa: BLE001  a slip in a provider's clean-up
        _log.warning("a model was not freed as it should be: %r", error, exc_info=error)


class _Record:
    """Writes an attempt down, once."""

    def __init__(self, model: Model, journey: Journey, started: float) -> None:
        self._model, self._journey, self._started = model, journey, started

    def ok(self, end: End, now: float) -> None:
        usage = end.usage
        self._add(Attempt(
            self._model.spec.id, self._model.spec.place, "ok", first_token=self._first(), total=now - self._started,
            input_tokens=usage.input_tokens, output_tokens=usage.output_tokens,
        ), None)  # fmt: skip

    def failed(self, error: AttemptFailed, now: float) -> None:
        self._add(Attempt(
            self._model.spec.id, self._model.spec.place, "failed", kind=error.kind.value, why=error.message, hint=error.hint,
            first_token=self._first(), total=now - self._started, input_tokens=error.tokens, window=error.window,
        ), error)  # fmt: skip

    def cancelled(self, now: float) -> None:
        self._add(Attempt(
            self._model.spec.id, self._model.spec.place, "cancelled", kind="cancelled", why="the caller left",
            first_token=self._first(), total=now - self._started,
        ), None)  # fmt: skip

    def _first(self) -> float | None:
        at = self._journey.first_token_at
        return None if at is None else at - self._started

    def _add(self, attempt: Attempt, error: AttemptFailed | None) -> None:
        self._journey.attempts.append(attempt)
        self._journey.on_attempt(attempt, error)


def too_late(request: Request, journey: Journey, failure: AttemptFailed | None = None) -> DeadlineExceeded:
    """The error for a call that ran into its deadline, with the text so far."""
    error = DeadlineExceeded(
        f"No whole answer within the deadline of {request.deadline:g} s.",
        hint="Raise deadline=, or ask for less with max_tokens=.",
        cause=failure,
    )
    error.text = "".join(journey.text)
    return error


def _broken(model: Model, journey: Journey, failure: AttemptFailed) -> StreamBroken:
    error = StreamBroken(
        f"The stream of {model.spec.id} broke off: {failure.message}.",
        hint="on_break='restart' begins again on the next model.",
        cause=failure,
    )
    error.text, error.kind = "".join(journey.text), failure.kind
    return error
