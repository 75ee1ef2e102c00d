"""The timers of an attempt, as one: how long the present phase may be silent, and when the whole call must end."""

from __future__ import annotations

import asyncio
from types import TracebackType

from oblix.errors import AttemptFailed, FailureKind
from oblix.execution.latency import Limits

AGAIN = 0.1  # seconds that a model may take to clean up when its time is over


class Watchdog:
    """Guards the waits of one attempt: `with watchdog: await next_chunk`.

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
        self._seconds = {"load": limits.load, "first_token": limits.first_token, "idle": limits.idle}
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

    def reached(self, phase: str) -> None:
        """Enter a phase; its silence is counted from now."""
        if phase == self._phase:
            return
        self._phase = phase
        self._since = self._time()

    def silence(self, now: float) -> float:
        """Seconds that the present wait took, or the last one."""
        return now - self._since

    @property
    def phase(self) -> str:
        """The present phase."""
        return self._phase

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        assert self._task is not None
        self._cancellations = self._task.cancelling()  # above 0 in a task that was cancelled and went on
        self._since = self._time()
        if self._timer is None:
            self._set()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._expired is None:
            return
        expired, self._expired = self._expired, None
        assert task is not None
        self.stop()  # the next wait sets the timer anew
        left = task.cancelling()
        for _ in range(self._barks):
            left = task.uncancel()
        self._barks = 0
        # Our own cancellations become an error; somebody else's, arriving at the same moment, goes on.
        if left <= self._cancellations and kind is asyncio.CancelledError:
            raise AttemptFailed(expired, self._words(expired))

    def stop(self) -> None:
        """No more waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self) -> None:
        self._timer = self._loop.call_at(min(self._due(), self._time() + self._shortest), self._fire)

    def _due(self) -> float:
        due = self._since + self._seconds[self._phase]
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
        if self._deadline is not None and now >= self._deadline:
            self._expired = FailureKind.TIMEOUT_TOTAL
        else:
            self._expired = _KINDS[self._phase]
            self.gave_way = now < self._since + self._seconds[self._phase]
        self._bark()

    def _bark(self) -> None:
        """Cancel the wait, and again for as long as its clean-up hangs."""
        if self._task is not None and self._expired is not None:
            self._barks += 1
            self._task.cancel()
            self._timer = self._loop.call_later(AGAIN, self._bark)

    def _words(self, kind: FailureKind) -> str:
        if kind is FailureKind.TIMEOUT_TOTAL:
            return "the deadline of the whole call has passed" + (
                " while the model was being loaded" if self._phase == "load" else ""
            )
        what, after = _SILENT[self._phase], f"within {self._seconds[self._phase]:g} s"
        return f"{what} {'in its share of the time that is left' if self.gave_way else after}"


_KINDS = {
    "load": FailureKind.TIMEOUT_LOAD,
    "first_token": FailureKind.TIMEOUT_FIRST_TOKEN,
    "idle": FailureKind.TIMEOUT_IDLE,
}
_SILENT = {"load": "the model was not loaded", "first_token": "no first token came", "idle": "no further token came"}
