"""The invariants, as pure functions of what one request met: each breach is a counter and a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from oblix.errors import (
    AllModelsFailed,
    ContextOverflow,
    DeadlineExceeded,
    FailureKind,
    KeyMissing,
    NoRoute,
    OblixError,
    StreamBroken,
)
from oblix.testing.faults import Received, Upstream
from oblix.types.failure import TREATMENTS

from .findings import Finding, short
from .play import NeverEnded, Outcome
from .texts import nothing_is_spliced, the_answer_is_whole
from .world import KEY, World

# A timer of half a second fires, and should, when the process gets no processor for as long: that says nothing of the client. What
# happened to text, secrets, log and bill is judged in any case.
OF_TIME = frozenset({"late", "harmed", "unclassified", "lost"})
STARVED = 0.1  # seconds
GRACE = 0.25  # seconds past the deadline (resilience, I1)
# Of a deadline that is near each model has a share, which is shorter than its timers.
OUT_OF_TIME = frozenset({"timeout_total", "timeout_load", "timeout_first_token", "timeout_idle"})
SILENT_ENDS = frozenset({"reset", "close", "half_close"})
UNTOLD = 0.85  # of a bill, where the provider had not told its counts yet: our estimate may be that much lower
MOST = 4  # attempts of one request: two models and two retries; in a long life there are more models
# Where all attempts failed in the same way, the error is named for it.
_NAMED: dict[str, type[OblixError]] = {"context_overflow": ContextOverflow, "auth": KeyMissing}


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a request ended, and what was wrong with that.

    Attributes:
        ending: `here` (the first model answered), `elsewhere`, `error` (typed), `broken` (a stream, after its commit point). Or the request
            proves nothing and is repeated: `unmet`, its fault was not played; `starved`, the machine stood still meanwhile.
    """

    ending: Literal["here", "elsewhere", "error", "broken", "unmet", "starved"]
    findings: tuple[Finding, ...]


def judge(outcome: Outcome, world: World) -> Verdict:
    """Every invariant, on one request."""
    findings = [finding for check in CHECKS for finding in check(outcome, world)]
    if outcome.starved > STARVED and any(breach in OF_TIME for breach, _ in findings):
        return Verdict("starved", tuple(finding for finding in findings if finding[0] not in OF_TIME))
    if not outcome.met_its_fault:
        return Verdict("unmet", tuple(findings))
    if outcome.reply is not None:
        return Verdict("here" if outcome.reply.model_id == outcome.first else "elsewhere", tuple(findings))
    return Verdict("broken" if isinstance(outcome.error, StreamBroken) else "error", tuple(findings))


def alternatives(outcome: Outcome, world: World) -> list[str]:
    """The other models that may answer this request."""
    if outcome.other is None:
        return []
    others = [model_id for model_id in world.upstreams if model_id != outcome.first]
    return [model_id for model_id in others if not outcome.ask.is_private or world.is_edge(model_id)]


def nobody_is_asked_twice(outcome: Outcome, world: World) -> Iterator[Finding]:
    """I5: an upstream got as many requests as there are attempts, and those are few."""
    made = [attempt.model_id for attempt in outcome.attempts if attempt.outcome != "postponed"]
    for model_id, rows in outcome.seen.items():
        if len(rows) - resent(rows, world.upstreams[model_id]) > made.count(model_id):
            yield "duplicated", f"{model_id} was asked {len(rows)} times in {made.count(model_id)} attempts"
    if len(made) > MOST + max(0, len(world.upstreams) - 2):
        yield "duplicated", f"{len(made)} attempts: {made}"


def resent(rows: Sequence[Received], upstream: Upstream) -> int:
    """How many of these requests met a kept connection that ended without a byte: such a one may be sent again, on a new connection.

    Every HTTP client does it, because a server may close a kept connection at any time (RFC 9112, section 9.5).
    """
    return sum(
        row.fault is not None
        and row.fault.moment == "before_headers"
        and row.fault.kind in SILENT_ENDS
        and any(other.connection == row.connection and other.time < row.time for other in upstream.requests)
        for row in rows
    )


def it_ends_in_time(outcome: Outcome, world: World) -> Iterator[Finding]:
    """I1, the time: never more than 250 ms past the deadline."""
    if outcome.took > outcome.deadline + GRACE:
        yield "late", f"took {outcome.took:.3f} s of {outcome.deadline:g} s"


def an_answer_comes(outcome: Outcome, world: World) -> Iterator[Finding]:
    """I1, the answer: where another model may answer, one does."""
    ask, error = outcome.ask, outcome.error
    if isinstance(error, NeverEnded):
        yield "lost", "it never ended"
    elif outcome.reply is None and error is None:
        yield "lost", "it ended without answer and error"
    elif error is not None and (others := alternatives(outcome, world)) and not _may_fail(outcome, others, world):
        yield "lost", f"another model was allowed: {_named(error)}"
    if (
        ask.kind.harmless
        and outcome.met_its_fault
        and (outcome.reply is None or outcome.reply.model_id != outcome.first)
    ):
        yield "harmed", f"{_told(outcome)}"


def _may_fail(outcome: Outcome, others: Sequence[str], world: World) -> bool:
    """Whether an error is right although other models are there."""
    ask, error = outcome.ask, outcome.error
    if isinstance(error, DeadlineExceeded):
        return ask.is_hurried
    if isinstance(error, StreamBroken) and outcome.pieces:
        able = ask.on_break == "restart" or (ask.on_break == "continue" and any(map(world.can_continue, others)))
        if not able:
            return True
    # What is final asks nobody else, such as a content filter.
    return any(attempt.kind and not TREATMENTS[FailureKind(attempt.kind)].moves_on for attempt in outcome.attempts)


def errors_are_the_right_ones(outcome: Outcome, world: World) -> Iterator[Finding]:
    """Every error is of our tree and of the right name; every failed attempt on the faulty model is of a kind that the fault has."""
    error, ask = outcome.error, outcome.ask
    if error is not None and not isinstance(error, NeverEnded):
        if not isinstance(error, OblixError):
            yield "unclassified", f"not of our tree: {_named(error)}"
        elif wrong := _wrong(error, outcome):
            yield "unclassified", f"{wrong}: {_named(error)}"
    expected = {kind.value for kind in ask.kind.expects(ask.fault.moment, ask.seat.wire)}
    if ask.is_hurried or ask.kind.family == "bomb":  # what notices a bomb first, a cap or a timer, is up to the machine
        expected |= OUT_OF_TIME
    for attempt in outcome.attempts:
        if attempt.outcome in ("ok", "postponed") or (attempt.outcome == "cancelled" and ask.hedges):
            continue
        if attempt.model_id != outcome.first:
            if not (ask.is_hurried and attempt.kind in OUT_OF_TIME):
                yield "unclassified", f"healthy {attempt.model_id}: {attempt.outcome} {attempt.kind} ({attempt.why})"
        elif outcome.met_its_fault and attempt.kind not in expected:
            yield "unclassified", f"{attempt.kind} is not among {sorted(expected)}: {attempt.why}"


def _wrong(error: OblixError, outcome: Outcome) -> str | None:
    """What is wrong with a typed error, in words."""
    ask, attempts = outcome.ask, outcome.attempts
    if error.request_id != outcome.request_id:
        return "it lacks its request id"
    if isinstance(error, DeadlineExceeded):
        return None if ask.is_hurried else "the deadline was far"
    if error.decision is None:
        return "it lacks its decision"
    if isinstance(error, StreamBroken):
        return None if ask.streams and outcome.pieces else "nothing had been delivered"
    if isinstance(error, NoRoute) and not attempts:
        return "the first model was not asked" if outcome.met_its_fault else None
    if outcome.pieces:
        return "text had been delivered, and the error does not hold it"
    kinds = {attempt.kind for attempt in attempts}
    right = _NAMED.get(str(next(iter(kinds))), AllModelsFailed) if len(kinds) == 1 else AllModelsFailed
    return None if type(error) is right else f"expected {right.__name__} for {sorted(map(str, kinds))}"


def secrets_stay(outcome: Outcome, world: World) -> Iterator[Finding]:
    """I6 and I7: private prompts at no cloud socket, keys in no error, nothing behind a redirect."""
    secret = outcome.ask.secret.encode()
    for model_id, upstream in world.upstreams.items():
        if outcome.ask.is_private and not world.is_edge(model_id) and secret in upstream.received:
            yield "leaked", f"a private prompt reached {model_id}"
    told = f"{outcome.error!r} {outcome.error} {outcome.attempts!r} {outcome.reply!r}"
    if KEY in told:
        yield "leaked", "the key stands in an error, an attempt or the reply"
    if world.server.trapped:
        yield "leaked", f"a redirect was followed: {world.server.trapped[0].head[:80]!r}"


def the_log_comes_first(outcome: Outcome, world: World) -> Iterator[Finding]:
    """I9: the decision is written before anything leaves, its end exactly once."""
    written = world.witness.written.get(outcome.request_id)
    for model_id, rows in outcome.seen.items():
        if written is None or rows[0].time < written:
            yield "unlogged", f"{model_id} was asked before the decision was written"
    endings = world.witness.endings[outcome.request_id]
    if endings != 1 and written is not None:
        yield "unlogged", f"{endings} endings were written"


def the_bill_is_covered(outcome: Outcome, world: World) -> Iterator[Finding]:
    """I4, as far as it can be known without a reservation: what is billed is never free, and what was delivered is accounted for."""
    for model_id, upstream in world.upstreams.items():
        bills = [row for row in upstream.bill if row.marker == outcome.ask.marker]
        costs = [attempt.cost_usd or 0.0 for attempt in outcome.attempts if attempt.model_id == model_id]
        if world.is_edge(model_id) or not bills:
            continue
        sent = outcome.seen[model_id][0].text
        delivered = len(outcome.pieces) if len(bills) == 1 and sent.startswith(outcome.text) else 0
        known = sum(row.price.cost(row.input_tokens, min(row.output_tokens, delivered)) for row in bills)
        if sum(costs) < UNTOLD * known:
            billed = sum(row.usd for row in bills)
            yield (
                "unbilled",
                f"{model_id} bills {billed:.6f} USD ({known:.6f} could be known), accounted are {sum(costs):.6f}",
            )


Check = Callable[[Outcome, World], Iterator[Finding]]
CHECKS: tuple[Check, ...] = (
    the_answer_is_whole,
    nothing_is_spliced,
    nobody_is_asked_twice,
    it_ends_in_time,
    an_answer_comes,
    errors_are_the_right_ones,
    secrets_stay,
    the_log_comes_first,
    the_bill_is_covered,
)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {short(str(error), 300)}"


def _told(outcome: Outcome) -> str:
    return "; ".join(f"{attempt.model_id} {attempt.kind} ({attempt.why})" for attempt in outcome.attempts)
