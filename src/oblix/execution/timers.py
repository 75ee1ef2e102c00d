"""The timers of an attempt, as one: how long the present phase may be silent, and when the whole call must end."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Generator
from typing import Any, TypeVar

from oblix.errors import AttemptFailed, FailureKind
from oblix.execution.latency import Limits

T = TypeVar("T")
# Seconds that a model may take to clean up when its time is over, or when it is let go; then it is cancelled, and again and again until it
# ends. A connection is dropped and an engine is told in microseconds. A call may be late by this, so that it lies well below the 250 ms
# that we allow ourselves.
CLEAN_UP = 0.1
AGAIN = 0.01


class Watchdog:
    """Guards the waits of one attempt: `await watchdog.watch(next_chunk)`.

    Only the wait is guarded, never what the consumer does between two chunks. One timer serves all waits and phases: it never waits
    longer than the shortest phase, and when it fires too early it is set anew, so that neither a wait nor a phase costs a timer.
    """

    def __init__(self, limits: Limits, deadline: float | None, *, share_until: float | None = None) -> None:
        """Both times are on the loop's clock, `None` for no limit.

        Args:
            deadline: When the whole call must end.
            share_until: When the first token must have come, so that time is left for the next candidate.
        """
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._seconds = {
            "connect": limits.connect,
            "load": limits.load,
            "first_token": limits.first_token,
            "idle": limits.idle,
            "closing": CLEAN_UP,
        }
        self._shortest = min(limits.load, limits.first_token, limits.idle)
        self._deadline = deadline
        self._share_until = share_until
        self.gave_way = False  # it was ended for the next candidate's sake, which says nothing of the model
        self._phase = "first_token"
        self._since = 0.0
        self._task: asyncio.Task[object] | None = None
        self._cancellations = 0
        self._timer: asyncio.TimerHandle | None = None
        self._expired: FailureKind | None = None
        self._barks = 0
        self._is_insisting = False

    def reached(self, phase: str) -> None:
        """Enter a phase; its silence is counted from now.

        Raises:
            ValueError: There is no such phase.
        """
        if phase == self._phase:
            return
        if phase not in self._seconds:
            raise ValueError(f"{phase!r} is no phase of an attempt: {', '.join(self._seconds)}")
        self._phase = phase
        self._since = self._time()
        if phase == "closing":
            self.stop()  # the next wait sets the timer by this limit

    def heard(self) -> None:
        """A sign of work came: from now on no time is kept for the next candidate."""
        self._share_until = None

    def silence(self, now: float) -> float:
        """Seconds that the present wait took, or the last one."""
        return now - self._since

    @property
    def phase(self) -> str:
        """The present phase."""
        return self._phase

    @types.coroutine
    def watch(self, work: Awaitable[T]) -> Generator[Any, Any, T]:
        """What `work` gives, if it is not silent for too long. Only this wait is timed, not what the caller does between two.

        A cancelled wait whose clean-up waits in turn is cancelled again after `CLEAN_UP` seconds, whoever cancelled it: `work` is a
        provider's, maybe a user's own, and a deadline or a Ctrl-C must not depend on its manners.

        Raises:
            AttemptFailed: It was silent for too long, or ended itself with a cancellation that nobody had asked for.
        """
        self._task = asyncio.current_task()
        assert self._task is not None
        self._cancellations = self._task.cancelling()  # above 0 in a task that was cancelled and went on
        self._since = self._time()
        if self._timer is None:
            self._set()
        steps: Any = work.__await__()
        try:
            waits_for = steps.send(None)
            while True:
                try:
                    got = yield waits_for
                except GeneratorExit:
                    steps.close()
                    raise
                except BaseException as error:  # noqa: BLE001  handed on to where it is awaited
                    waits_for = steps.throw(error)
                    if self._is_cancelled():  # a time-out of its own has taken its cancellation back by now
                        self._insist()
                else:
                    waits_for = steps.send(got)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            failure = self._explain()
            if failure is None:
                raise
            raise failure from None
        finally:
            self._settle()
            self._task = self._expired = None

    def _explain(self) -> AttemptFailed | None:
        """Whose the cancellation is that has just ended a wait; `None` when it is the caller's, and goes on."""
        assert self._task is not None
        expired, left = self._expired, self._settle()
        if expired is not None:
            return AttemptFailed(expired, self._words(expired)) if left <= self._cancellations else None
        if left == 0:
            return AttemptFailed(FailureKind.INTERNAL, "the model ended its answer with a cancellation of its own")
        return None

    def _settle(self) -> int:
        """Take our own cancellations back; gives how many others' there are."""
        assert self._task is not None
        left = self._task.cancelling()
        if self._barks or self._is_insisting:
            self.stop()  # the next wait sets the timer anew
            self._is_insisting = False
        for _ in range(self._barks):
            left = self._task.uncancel()
        self._barks = 0
        return left

    def stop(self) -> None:
        """No more waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self) -> None:
        self._timer = self._loop.call_at(min(self._due(), self._time() + self._shortest), self._fire)

    def _due(self) -> float:
        due = self._since + self._seconds[self._phase]
        if self._phase == "closing":  # also when the deadline is what ended the attempt
            return due
        if self._share_until is not None and self._phase != "idle":
            due = min(due, self._share_until)
        return due if self._deadline is None else min(due, self._deadline)

    def _fire(self) -> None:
        self._timer = None
        if self._task is None:
            return  # nobody waits; the next wait sets the timer
        now = self._time()
        if now < self._due():
            self._set()
            return
        if self._phase != "closing" and self._deadline is not None and now >= self._deadline:
            self._expired = FailureKind.TIMEOUT_TOTAL
        else:
            self._expired = _KINDS[self._phase]
            self.gave_way = now < self._since + self._seconds[self._phase]
        self._bark()

    def _bark(self) -> None:
        assert self._task is not None
        self._barks += 1
        self._task.cancel()

    def _insist(self) -> None:
        """What was cancelled waits for something else instead of ending."""
        self.stop()
        self._is_insisting = True
        self._timer = self._loop.call_later(CLEAN_UP if not self._barks else AGAIN, self._bark_again)

    def _bark_again(self) -> None:
        self._timer = None
        if self._is_cancelled():
            self._bark()
        else:  # it was taken back meanwhile
            self._set()

    def _is_cancelled(self) -> bool:
        return self._task is not None and self._task.cancelling() > self._cancellations

    def _words(self, kind: FailureKind) -> str:
        if kind is FailureKind.TIMEOUT_TOTAL:
            return f"the deadline of the whole call has passed; it {_AT[self._phase]}"
        what, after = _SILENT[self._phase], f"within {self._seconds[self._phase]:g} s"
        return f"{what} {'in its share of the time that is left' if self.gave_way else after}"


_KINDS = {
    "connect": FailureKind.TIMEOUT_CONNECT,
    "closing": FailureKind.INTERNAL,
    "load": FailureKind.TIMEOUT_LOAD,
    "first_token": FailureKind.TIMEOUT_FIRST_TOKEN,
    "idle": FailureKind.TIMEOUT_IDLE,
}
_SILENT = {
    "connect": "no connection was made",
    "load": "the model was not loaded",
    "first_token": "no first token came",
    "idle": "no further token came",
    "closing": "the model did not let go",
}
_AT = {
    "connect": "was not reached yet",
    "load": "was still being loaded",
    "first_token": "had not begun to answer",
    "idle": "was still answering",
    "closing": "was being let go",
}
