"""A circuit breaker as a pure machine: closed, open for a while, one probe, and a gentle way back."""

from __future__ import annotations

from typing import Literal, NamedTuple

# An SDK may make five calls a minute: breakers that wait for a hundred (Polly) would never open. Three in a row, or half of at least five,
# is enough to know, and one probe repairs a wrong guess.
TRIP = 3  # weight of failures in a row
RATIO, LEAST = 0.5, 5  # share of failed outcomes, and the fewest outcomes that a share is taken of
HALF = 15.0  # seconds of one half of the window: two halves remember 15 to 30 s (OpenRouter's outage memory is 30 s)
FIRST_REST = 5.0  # seconds for which it opens the first time; each time after that is twice as long
LONGEST_REST = (
    250.0  # seconds; with the jitter 5 minutes, after which nobody should have to wait for a service that is back
)
JITTER = 0.2  # of the rest, to both sides (gRPC A6): clients that failed together do not come back together
LONGEST_COOLDOWN = 3600.0  # seconds; who asks for more is asked again after an hour
# Seconds after which a probe that nobody reported on is given up: as long as a cloud model of which little is known may be silent. Its
# owner may have been killed. Too early costs one more probe, too late keeps everybody away from a service that is back.
PROBE_PATIENCE = 60.0
RAMP = 10.0  # seconds of slow start
RAMP_FROM = 0.1  # the share let through at its beginning
SLACK = 0.001  # seconds by which a start that was computed backwards from a duration may be wrong
_FULL = 1.0 - 1e-9  # ten tenths are a little less than one

_NEVER = float("-inf")

Phase = Literal["closed", "open", "probing", "ramp"]


# Two of each are made at every answer: named tuples, because frozen dataclasses of this size take three times as long (0.6 and 1.2 µs).
class Window(NamedTuple):
    """Outcomes of the last 15 to 30 seconds, in two halves that rotate: it costs the same at any rate of requests."""

    since: float = 0.0
    ok: int = 0
    failed: int = 0
    ok_before: int = 0
    failed_before: int = 0

    @property
    def is_bad(self) -> bool:
        """Whether enough was seen, and half of it failed."""
        failures = self.failed + self.failed_before
        seen = failures + self.ok + self.ok_before
        return seen >= LEAST and failures >= RATIO * seen


class Breaker(NamedTuple):
    """The state. Times are seconds on any steady clock, always the same one.

    Attributes:
        phase: `open` past `until` is what others call half-open, with the probe free; `probing` is half-open with it under way.
        since: When the phase began. News of an attempt that began earlier is old, and changes nothing.
        until: End of the rest, when open.
        trips: How often it has opened since it last was well; each time doubles the rest.
        streak: Weight of failures in a row.
        credit: Slow start: what has been saved up for the next one to be let through.
    """

    phase: Phase = "closed"
    since: float = _NEVER
    until: float = _NEVER
    trips: int = 0
    streak: int = 0
    credit: float = 0.0
    window: Window = Window()


CLOSED = Breaker()


def is_open(state: Breaker, now: float) -> bool:
    """Whether it keeps everybody away: it rests, or somebody else probes."""
    if state.phase == "open":
        return now < state.until
    return state.phase == "probing" and now - state.since < PROBE_PATIENCE


def is_calm(state: Breaker, now: float) -> bool:
    """Whether it is closed, or its slow start is over."""
    return state.phase == "closed" or (state.phase == "ramp" and now - state.since >= RAMP)


def admit(state: Breaker, now: float) -> tuple[Breaker, bool]:
    """Whether one attempt may go now. It has gone when this says so: the probe is taken."""
    if state.phase == "closed":
        return state, True
    if state.phase == "ramp":
        return _ramped(state, now)
    if is_open(state, now):
        return state, False
    return Breaker("probing", since=now, trips=state.trips), True


def succeeded(state: Breaker, now: float, *, started: float | None = None) -> Breaker:
    """An attempt proved its completion. `started`: when it began; without it, it counts as news."""
    if _is_old(state, started):
        return state
    if is_calm(state, now):
        return Breaker("closed", state.since, _NEVER, 0, 0, 0.0, _counted(state.window, now, True))
    if state.phase == "ramp":
        return state._replace(streak=0, window=_counted(state.window, now, True))
    return Breaker("ramp", since=now, trips=state.trips)


def failed(
    state: Breaker,
    now: float,
    *,
    weight: int = 1,
    cooldown: float = 0.0,
    chance: float = 0.5,
    started: float | None = None,
) -> Breaker:
    """An attempt failed, and it was the fault of what this breaker stands for.

    Args:
        weight: Towards the 3 that open it.
        cooldown: Seconds for which it stays open at least, as the provider asked or the kind of failure says; at most an hour counts.
        chance: In [0, 1), drawn by the caller: places the rest within its jitter.
        started: When the attempt began. Of an old one only the cooldown counts: it speaks of the future.
    """
    cooldown = max(0.0, min(cooldown, LONGEST_COOLDOWN))
    if (state.phase == "open" and now < state.until) or _is_old(state, started):
        return _held(state, now, cooldown)
    window = _counted(state.window, now, False)
    if state.phase in ("open", "probing") or state.streak + weight >= TRIP or window.is_bad:
        return _tripped(state, now, cooldown, chance)
    state = state._replace(streak=state.streak + weight, window=window)
    return _held(state, now, cooldown)._replace(trips=state.trips + 1) if cooldown else state


def left(state: Breaker, now: float, *, started: float | None = None) -> Breaker:
    """An attempt ended without a word on health (cancelled, or its request was at fault): a probe is given back, nothing else changes."""
    if state.phase != "probing" or _is_old(state, started):
        return state
    return Breaker("open", since=state.since, until=now, trips=state.trips)


def _is_old(state: Breaker, started: float | None) -> bool:
    return started is not None and started + SLACK < state.since


def _held(state: Breaker, now: float, cooldown: float) -> Breaker:
    """Open for the cooldown, if it is not open for longer."""
    until = now + cooldown
    if not cooldown or (state.phase == "open" and state.until >= until):
        return state
    return Breaker("open", since=now, until=until, trips=state.trips, streak=state.streak, window=state.window)


def _tripped(state: Breaker, now: float, cooldown: float, chance: float) -> Breaker:
    rest = min(FIRST_REST * 2.0 ** min(state.trips, 16), LONGEST_REST) * (1.0 + JITTER * (2.0 * chance - 1.0))
    return Breaker("open", since=now, until=now + max(rest, cooldown), trips=state.trips + 1)


def _ramped(state: Breaker, now: float) -> tuple[Breaker, bool]:
    """Slow start without chance: the growing share is saved up, and a whole one lets one through."""
    if is_calm(state, now):
        return state._replace(phase="closed", credit=0.0), True
    share = RAMP_FROM + (1.0 - RAMP_FROM) * max(0.0, now - state.since) / RAMP
    credit = state.credit + share
    if credit < _FULL:
        return state._replace(credit=credit), False
    return state._replace(credit=max(0.0, credit - 1.0)), True


def _counted(window: Window, now: float, ok: bool) -> Window:
    since, passed, failed, passed_before, failed_before = window
    age = now - since
    if age >= HALF:
        passed_before, failed_before = (passed, failed) if age < 2 * HALF else (0, 0)
        since, passed, failed = (since + HALF if age < 2 * HALF else now), 0, 0
    if ok:
        return Window(since, passed + 1, failed, passed_before, failed_before)
    return Window(since, passed, failed + 1, passed_before, failed_before)
