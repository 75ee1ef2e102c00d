"""The taxonomy of failures as data: what each kind means for the next step, for health, for the bill and for the reader."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from oblix.errors import FailureKind

# What the peer can know of an attempt: gRPC's "commit certainty" (proposal A6).
Certainty = Literal["not_sent", "possibly_accepted", "response_started"]
Scope = Literal["model", "endpoint", "none"]
K = FailureKind


@dataclass(frozen=True, slots=True)
class Treatment:
    """What one kind of failure means.

    Attributes:
        says: What a person reads.
        scope: Whose breaker it weighs on: the model's, that of everything at the endpoint, or nobody's (it is the request's own fault, or
            the caller's wish).
        weight: How much it counts towards the 3 that open a breaker: a failure that made somebody wait opens it at once.
        moves_on: The next candidate is tried.
        retries_here: Worth another try on the same model after a pause, when no other candidate is left.
        is_local: It arose on our side of the wire, before a peer took part: it feeds the connectivity scope as well.
        cooldown: Seconds for which the model stands back, whatever the breaker says; `None` leaves it to the breaker.
        certainty: What the peer can know of the attempt, unless the attempt itself knew better.
        is_billable: A provider may charge for it.
    """

    says: str
    scope: Scope
    _: KW_ONLY
    weight: int = 1
    moves_on: bool = True
    retries_here: bool = False
    is_local: bool = False
    cooldown: float | None = None
    certainty: Certainty = "possibly_accepted"
    is_billable: bool = True


def _unsent(
    says: str,
    *,
    weight: int = 1,
    is_local: bool = False,
    retries_here: bool = False,
    cooldown: float | None = None,
) -> Treatment:
    """Nothing reached the peer."""
    return Treatment(
        says,
        "endpoint",
        weight=weight,
        is_local=is_local,
        retries_here=retries_here,
        cooldown=cooldown,
        certainty="not_sent",
        is_billable=False,
    )


def _refused(
    says: str,
    scope: Scope = "none",
    *,
    moves_on: bool = True,
    retries_here: bool = False,
    cooldown: float | None = None,
) -> Treatment:
    """The peer answered, and did not begin to work."""
    return Treatment(
        says,
        scope,
        moves_on=moves_on,
        retries_here=retries_here,
        cooldown=cooldown,
        certainty="response_started",
        is_billable=False,
    )


# Billable is what may have made tokens before it failed: OpenAI and Anthropic charge for a stream that was cut off, and for one that we
# gave up on (their pricing pages, 2026-11). Cooldowns: an account, a certificate or a missing model does not mend itself in seconds; the
# contract says ten minutes for a refused key.
TREATMENTS: dict[FailureKind, Treatment] = {
    K.LOCAL_NETWORK: _unsent("no network here", is_local=True, retries_here=True),
    K.DNS: _unsent("its name cannot be looked up", is_local=True),
    K.TLS: _unsent("no trusted connection", cooldown=60.0),
    K.CONNECT: _unsent("it refuses connections"),
    K.TIMEOUT_CONNECT: _unsent("no connection in time", weight=3, is_local=True),
    K.TIMEOUT_LOAD: Treatment("it was not loaded in time", "model", weight=3, is_billable=False),
    K.TIMEOUT_FIRST_TOKEN: Treatment("no first token in time", "model", weight=3),
    K.TIMEOUT_IDLE: Treatment("it fell silent in the middle", "model", weight=3, certainty="response_started"),
    K.TIMEOUT_TOTAL: Treatment("the deadline passed", "none", moves_on=False),
    K.OVERLOADED: _refused("it is overloaded", "model", retries_here=True),
    K.SERVER_ERROR: Treatment("it had an error of its own", "model", retries_here=True, certainty="response_started"),
    K.RATE_LIMITED: _refused("it asked us to slow down", "model", retries_here=True, cooldown=10.0),
    K.QUOTA_EXHAUSTED: _refused("its account is out of credit", "model", cooldown=600.0),
    K.AUTH: _refused("it refuses our key", "none", cooldown=600.0),
    K.MODEL_MISSING: _refused("it does not have the model", "none", cooldown=30.0),
    K.MODEL_UNLOADABLE: Treatment("it cannot load the model", "none", cooldown=60.0, is_billable=False),
    K.CONTEXT_OVERFLOW: _refused("the prompt does not fit"),
    K.CONTENT_FILTER: Treatment("its filter stopped the answer", "none", moves_on=False, certainty="response_started"),
    K.BAD_REQUEST: _refused("it does not take this request"),
    K.PROTOCOL: Treatment("it does not speak its protocol", "model", certainty="response_started"),
    K.TRUNCATED: Treatment("its answer broke off", "model", retries_here=True, certainty="response_started"),
    K.ENGINE_CRASH: Treatment("its engine crashed", "model", retries_here=True, certainty="response_started"),
    K.CANCELLED: Treatment("it was stopped", "none", moves_on=False),
    K.POLICY: Treatment("it may not have this prompt", "none", certainty="not_sent", is_billable=False),
    K.BUDGET: Treatment("a budget has no room for it", "none", certainty="not_sent", is_billable=False),
    K.LEDGER: Treatment("what it costs cannot be written down", "none", certainty="not_sent", is_billable=False),
    K.INTERNAL: Treatment("an error of ours", "model"),
}


def treatment(kind: FailureKind) -> Treatment:
    """What `kind` means; every kind has a row (a test shows it)."""
    return TREATMENTS[kind]
