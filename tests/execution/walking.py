"""Walking a plan of scripted models on a virtual clock, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from oblix.errors import AttemptFailed, OblixError
from oblix.execution.hands import Hands
from oblix.execution.journey import Journey
from oblix.execution.run import Break, Walk
from oblix.execution.states import Event
from oblix.models.base import Model
from oblix.types.chunk import Chunk, Delta, Reset
from oblix.types.messages import Message
from oblix.types.request import Request

ASKED = Request("r1", (Message("user", "What is it?"),))


@dataclass
class Walked:
    """The pieces that came out, how it ended, and when."""

    journey: Journey
    pieces: list[Chunk | Reset] = field(default_factory=list)
    error: OblixError | None = None
    at: float = 0.0
    failures: list[AttemptFailed | None] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces if isinstance(piece, Delta))

    @property
    def outcomes(self) -> list[tuple[str, str, str | None]]:
        return [(attempt.model_id, attempt.outcome, attempt.kind) for attempt in self.journey.attempts]


def journey(request: Request = ASKED, deadline: float | None = None) -> Journey:
    """A request that has just been decided upon."""
    made = Journey(replace(request, deadline=deadline), deadline)
    made.on(Event.ADMIT)
    return made


def start(
    plan: Sequence[Model], to: Journey, *, on_break: Break = "error", hands: Hands | None = None
) -> AsyncGenerator[Chunk | Reset]:
    """The walk, not yet begun."""
    return Walk(plan, to, hands or Hands(chance=lambda: 0.5), on_break=on_break).pieces()


async def go(
    *plan: Model,
    on_break: Break = "error",
    deadline: float | None = None,
    pause: float = 0.0,
    leave_after: int = 10**9,
    hands: Hands | None = None,
    request: Request = ASKED,
) -> Walked:
    """Walk to the end, with a consumer that takes `pause` seconds for each piece."""
    walked = Walked(journey(request, deadline))
    walked.journey.on_attempt = lambda attempt, error: walked.failures.append(error)
    try:
        async with aclosing(start(plan, walked.journey, on_break=on_break, hands=hands)) as pieces:
            async for piece in pieces:
                walked.pieces.append(piece)
                if len(walked.pieces) >= leave_after:
                    break
                await asyncio.sleep(pause)
    except OblixError as error:
        walked.error = error
    walked.at = asyncio.get_running_loop().time()
    assert not walked.journey.impossible
    return walked
