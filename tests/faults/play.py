"""One request through the real client: what it was told, what its upstreams saw, how long it took."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from oblix.errors import OblixError
from oblix.testing.faults import Received
from oblix.types.attempt import Attempt
from oblix.types.chunk import Reset
from oblix.types.reply import Reply

from .cells import Ask
from .pulse import starved_so_far
from .world import World

PATIENT = 8.0  # seconds: every timer of both attempts fits, with room for a machine that others use as well
HURRIED = 0.2  # seconds: with 250 ms of grace it still ends before the timers of `world.TIMERS`
HANGS = 3.0  # seconds beyond its deadline after which a request counts as one that never ends
CHATS = ("/api/chat", "/chat/completions", "/v1/messages")


class NeverEnded(Exception):
    """A request did not end, long after its deadline."""


@dataclass(slots=True)
class Outcome:
    """What became of one request.

    Attributes:
        reply: The answer, where one came.
        error: What was raised instead.
        pieces: Text that a stream delivered, since the last `Reset`.
        voided: Text that was delivered before each `Reset`.
        took: Seconds until the terminal state.
        starved: Seconds of them in which the machine did not let this process run.
        seen: Model id → the chats with this marker that its upstream got, in order.
        failover: Seconds between the end of the failed attempt and the moment at which the next upstream had read its request.
    """

    ask: Ask
    first: str
    other: str | None
    deadline: float
    request_id: str
    reply: Reply | None = None
    error: BaseException | None = None
    pieces: list[str] = field(default_factory=list)
    voided: list[str] = field(default_factory=list)
    took: float = 0.0
    starved: float = 0.0
    seen: dict[str, list[Received]] = field(default_factory=dict)
    failover: float | None = None

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        if self.reply is not None:
            return self.reply.attempts
        return self.error.attempts if isinstance(self.error, OblixError) else ()

    @property
    def text(self) -> str:
        """What a stream delivered since the last `Reset`."""
        return "".join(self.pieces)

    @property
    def asked(self) -> list[Received]:
        """All chats with this marker, at whatever upstream, in order."""
        return sorted((row for rows in self.seen.values() for row in rows), key=lambda row: row.time)

    @property
    def met_its_fault(self) -> bool:
        """Whether the fault was played to this request."""
        if self.ask.kind.of_upstream:  # no request may have arrived: the attempt is the witness
            return any(attempt.model_id == self.first for attempt in self.attempts)
        return any(received.fault == self.ask.fault for received in self.seen.get(self.first, ()))


async def play(ask: Ask, world: World, first: str, other: str | None) -> Outcome:
    """Ask `first` while it plays its fault, with `other` as the alternative."""
    upstream = world.upstreams[first]
    if ask.kind.of_upstream:
        upstream.default = ask.fault
    else:
        upstream.play(ask.marker, ask.fault)
    deadline = HURRIED if ask.is_hurried else PATIENT
    outcome = Outcome(ask, first, other, deadline, f"faults-{ask.number}")
    loop = asyncio.get_running_loop()
    started, starved = loop.time(), starved_so_far()
    try:
        async with asyncio.timeout(deadline + HANGS):
            await _ask(outcome, world)
    except TimeoutError as error:
        outcome.error = error if isinstance(error, OblixError) else NeverEnded()
    except Exception as error:  # noqa: BLE001  whatever leaves the client is judged
        outcome.error = error
    outcome.took = loop.time() - started
    outcome.starved = starved_so_far() - starved
    for model_id, each in world.upstreams.items():
        found = [r for r in each.requests if r.marker == ask.marker and r.path.endswith(CHATS)]
        if found:
            outcome.seen[model_id] = found
    outcome.failover = _failover(outcome, world)
    return outcome


async def _ask(outcome: Outcome, world: World) -> None:
    ask = outcome.ask
    wishes: dict[str, Any] = {"fallback": True} if outcome.other else {}
    if ask.is_private:
        wishes["private"] = True
    if ask.hedges:
        wishes["hedge"] = True
    prompt = f"Please write down what comes to your mind about {ask.marker} and {ask.secret}."
    if not ask.streams:
        outcome.reply = await world.client.execute(
            prompt, outcome.first, request_id=outcome.request_id, deadline=outcome.deadline, **wishes
        )
        return
    wishes["on_break"] = ask.on_break
    async with world.client.stream(
        prompt, outcome.first, request_id=outcome.request_id, deadline=outcome.deadline, **wishes
    ) as stream:
        async for piece in stream:
            if isinstance(piece, Reset):
                outcome.voided.append(outcome.text)
                outcome.pieces.clear()
            else:
                outcome.pieces.append(piece)
        outcome.reply = await stream.reply()


def _failover(outcome: Outcome, world: World) -> float | None:
    if outcome.ask.life == "long" or outcome.other is None:
        return None
    failed, next_ = world.failed_at.get(outcome.first), outcome.seen.get(outcome.other)
    return next_[0].time - failed[-1] if failed and next_ else None
