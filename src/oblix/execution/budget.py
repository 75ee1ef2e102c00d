"""What retries and hedges may cost in all: a budget of the client, a throttle per model, and a quota of hedges. Pure."""

from __future__ import annotations

from dataclasses import dataclass

# Finagle's bucket (https://finagle.github.io/blog/2016/02/08/retry-budgets/): a share of the requests, and a floor for those who ask
# seldom. Counted in thousandths of a token: five fifths are one, exactly.
TOKEN = 1000
DEPOSIT = 200  # per request: at most one retry for five requests, so that an outage is amplified by 1.2 at most
FLOOR = 200  # per second: one token per 5 s; Finagle's 10/s is for servers, a program with a prompt a minute may retry as well
CAP = 10 * TOKEN  # quiet hours do not save up a storm
START = 2 * TOKEN  # the first request of a program may be retried twice, which is all that one request may

# gRPC proposal A6 (https://github.com/grpc/proposal/blob/master/A6-client-retries.md), its example values, in tenths of a token.
FULL = 100
FAILURE = 10
SUCCESS = 1
HALF = FULL // 2

HEDGE_EVERY = 20  # requests per hedge: 5 % (Dean and Barroso, "The Tail at Scale", 2013: hedging beyond the p95 adds about that load)


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """Thousandths of tokens, for further attempts on a target that was tried already, and for hedges.

    `at`: when they were counted, in seconds on any steady clock, `None` before the first time.
    """

    tokens: float = START
    at: float | None = None


def asked(state: RetryBudget, now: float) -> RetryBudget:
    """One request came."""
    return RetryBudget(min(CAP, _refilled(state, now) + DEPOSIT), now)


def withdraw(state: RetryBudget, now: float) -> tuple[RetryBudget, bool]:
    """Take one token, if there is one."""
    tokens = _refilled(state, now)
    return (RetryBudget(tokens - TOKEN, now), True) if tokens >= TOKEN else (RetryBudget(tokens, now), False)


def _refilled(state: RetryBudget, now: float) -> float:
    return state.tokens if state.at is None else min(CAP, state.tokens + FLOOR * max(0.0, now - state.at))


@dataclass(frozen=True, slots=True)
class Throttle:
    """How much a target may still be asked twice: at half or less it gets first attempts only."""

    tokens: int = FULL

    @property
    def is_shut(self) -> bool:
        """Whether retries and hedges have to wait for successes."""
        return self.tokens <= HALF


OPEN = Throttle()


def throttled(state: Throttle, *, ok: bool) -> Throttle:
    """One attempt on the target ended; what is neutral is not told."""
    if ok:
        return state if state.tokens == FULL else Throttle(min(FULL, state.tokens + SUCCESS))
    return Throttle(max(0, state.tokens - FAILURE))


@dataclass(frozen=True, slots=True)
class HedgeQuota:
    """Requests since the last hedge. It starts empty and holds one hedge, so that of the first n requests at most 5 % are hedged."""

    requests: int = 0

    @property
    def has_one(self) -> bool:
        """Whether a hedge may start."""
        return self.requests >= HEDGE_EVERY


def earned(state: HedgeQuota) -> HedgeQuota:
    """One request came."""
    return state if state.has_one else HedgeQuota(state.requests + 1)


def spent(state: HedgeQuota) -> HedgeQuota:
    """A hedge was started."""
    return HedgeQuota(state.requests - HEDGE_EVERY)
