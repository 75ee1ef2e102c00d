"""Walking a plan of scripted models on a virtual clock, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from oblix.errors import AttemptFailed, OblixError
from oblix.execution.run import Journey, walk
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


def start(
    plan: Sequence[Model], journey: Journey, *, restart: bool = False, deadline: float | None = None
) -> AsyncGenerator[Chunk | Reset]:
    """The walk, not yet begun."""
    return walk(plan, ASKED, journey, restart=restart, deadline=deadline)


async def go(
    *plan: Model, restart: bool = False, deadline: float | None = None, pause: float = 0.0, leave_after: int = 10**9
) -> Walked:
    """Walk to the end, with a consumer that takes `pause` seconds for each piece."""
    walked = Walked(Journey())
    walked.journey.on_attempt = lambda attempt, error: walked.failures.append(error)
    try:
        async with aclosing(start(plan, walked.journey, restart=restart, deadline=deadline)) as pieces:
            async for piece in pieces:
                walked.pieces.append(piece)
                if len(walked.pieces) >= leave_after:
                    break
                await asyncio.sleep(pause)
    except OblixError as error:
        walked.error = error
    walked.at = asyncio.get_running_loop().time()
    return walked
