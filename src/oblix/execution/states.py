"""The states of a request, and what leads from one to the next: a table, walked by everything that happens to the request. Pure."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a request stands."""

    NEW = "new"
    ADMITTED = "admitted"  # decided and written down; between two attempts it comes back here
    DISPATCHED = "dispatched"  # an attempt is under way, nothing has come
    ANSWERED = "answered"  # a sign of work has come, nothing that the caller may see
    STREAMING = "streaming"  # the commit point is passed: the caller may have seen text
    BROKEN = "broken"  # it failed after the commit point; what comes next needs a Reset, or goes on exactly there
    PROVED = "proved"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    SETTLED = "settled"  # the outcome is written down; nothing can happen any more


class Event(StrEnum):
    """What happens to a request."""

    ADMIT = "admit"
    REJECT = "reject"  # no candidate may answer, or an error before any attempt
    SEND = "send"
    WORK = "work"  # thinking, prompt reading
    TOKEN = "token"  # noqa: S105  the first visible piece of text
    PROOF = "proof"
    FAIL = "fail"  # the attempt failed
    RESET = "reset"  # the text so far is void
    RESUME = "resume"  # the text so far stands, and is gone on from
    GIVE_UP = "give_up"  # nothing is left to try, or nothing may be
    LEAVE = "leave"  # the caller left
    SETTLE = "settle"


S, E = State, Event
TRANSITIONS: dict[State, dict[Event, State]] = {
    S.NEW: {E.ADMIT: S.ADMITTED, E.REJECT: S.REJECTED, E.LEAVE: S.CANCELLED},
    S.ADMITTED: {E.SEND: S.DISPATCHED, E.REJECT: S.REJECTED, E.GIVE_UP: S.FAILED, E.LEAVE: S.CANCELLED},
    S.DISPATCHED: {
        E.WORK: S.ANSWERED,
        E.TOKEN: S.STREAMING,
        E.PROOF: S.PROVED,
        E.FAIL: S.ADMITTED,
        E.LEAVE: S.CANCELLED,
    },
    S.ANSWERED: {E.TOKEN: S.STREAMING, E.PROOF: S.PROVED, E.FAIL: S.ADMITTED, E.LEAVE: S.CANCELLED},
    S.STREAMING: {E.PROOF: S.PROVED, E.FAIL: S.BROKEN, E.LEAVE: S.CANCELLED},
    S.BROKEN: {E.RESET: S.ADMITTED, E.RESUME: S.ADMITTED, E.GIVE_UP: S.FAILED, E.LEAVE: S.CANCELLED},
    # Proved, and the caller left before it was told; or a slip of ours after the proof.
    S.PROVED: {E.SETTLE: S.SETTLED, E.LEAVE: S.CANCELLED, E.GIVE_UP: S.FAILED},
    S.FAILED: {E.SETTLE: S.SETTLED},
    S.CANCELLED: {E.SETTLE: S.SETTLED},
    S.REJECTED: {E.SETTLE: S.SETTLED},
    S.SETTLED: {},
}
OUTCOMES = frozenset({S.PROVED, S.FAILED, S.CANCELLED, S.REJECTED})


def next_state(state: State, event: Event) -> State | None:
    """Where `event` leads from `state`; `None` where it cannot happen, which is a bug of ours."""
    return TRANSITIONS[state].get(event)
