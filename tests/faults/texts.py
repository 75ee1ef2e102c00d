"""Of which texts an answer may consist: pure functions of what was delivered and what the upstreams sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from oblix.errors import DeadlineExceeded, StreamBroken
from oblix.testing.faults import Received

from .findings import Finding, short
from .play import Outcome
from .world import World


def the_answer_is_whole(outcome: Outcome, world: World) -> Iterator[Finding]:
    """I2: success means proof, and the whole text of the upstream that answered; after a break with `continue` the whole rest of it."""
    reply, ask = outcome.reply, outcome.ask
    if reply is None:
        return
    upstream, rows = world.upstreams.get(reply.model_id), outcome.seen.get(reply.model_id)
    if upstream is None or not rows:
        yield "truncated", f"{reply.model_id} is said to have answered, and was not asked"
        return
    said = said_before(rows[-1])
    expected = said + upstream.answer_for(ask.marker)[len(said) :]
    if reply.response != expected:
        yield "truncated", f"{reply.model_id} answered {short(reply.response)} instead of {short(expected)}"
    elif reply.model_id == outcome.first and outcome.met_its_fault and not (ask.kind.harmless or ask.kind.may_answer):
        yield "truncated", "the first model's answer was taken without proof of completion"
    if said and not (ask.on_break == "continue" and consists_of(said, outcome.asked)):
        yield "duplicated", f"{reply.model_id} was to go on from {short(said)}, which nobody had sent"
    if ask.streams and outcome.text != reply.response:
        yield "duplicated", f"the stream delivered {short(outcome.text)}, the reply says {short(reply.response)}"


def nothing_is_spliced(outcome: Outcome, world: World) -> Iterator[Finding]:
    """I3: what was delivered is the beginning of exactly one attempt's text, anew after each `Reset`.

    With `continue` it may be the beginnings of several, one behind the other.
    """
    error, ask, rows = outcome.error, outcome.ask, outcome.asked
    parts = [*outcome.voided, outcome.text]
    if isinstance(error, StreamBroken | DeadlineExceeded):
        parts.append(error.text)
        if ask.streams and error.text != outcome.text:
            yield "duplicated", f"the error tells of {short(error.text)}, delivered was {short(outcome.text)}"
    for part in parts:
        whole = consists_of(part, rows) if ask.on_break == "continue" else is_beginning(part, rows)
        if not whole:
            yield "duplicated", f"delivered {short(part)}, which no attempt sent: {[short(row.text) for row in rows]}"


def is_beginning(text: str, rows: Sequence[Received]) -> bool:
    """Whether one of these answers begins so; no text is the beginning of any."""
    return not text or any(row.text.startswith(text) for row in rows)


def consists_of(text: str, rows: Sequence[Received]) -> bool:
    """Whether a text is made of beginnings of these answers, in their order, without a gap."""
    ends = {0}
    for row in rows:
        ends |= {end + more for end in ends for more in range(_alike(text[end:], row.text) + 1)}
    return len(text) in ends


def _alike(one: str, other: str) -> int:
    """Characters that two texts have in common at their beginning."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def said_before(asked: Received) -> str:
    """The beginning of an answer that a request wants to be continued; empty where it wants a new one."""
    last = asked.json["messages"][-1]
    return str(last["content"]) if last["role"] == "assistant" else ""
