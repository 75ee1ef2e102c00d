"""What the execution layer takes on the happy path: a plan of two walked to its proof, over the same answer without it (µs)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from statistics import median

from oblix.execution.hands import Hands
from oblix.execution.journey import Journey
from oblix.execution.run import Walk
from oblix.execution.states import Event
from oblix.models.base import Call, ModelState
from oblix.types.chunk import Chunk, Delta, End, Usage
from oblix.types.messages import Message
from oblix.types.request import Request
from oblix.types.spec import ModelSpec, Price

ROUNDS = 4000
WARM = 1000
_REQUEST = Request("bench", (Message("user", "Say hello in two words."),))


class _Instant:
    """A model that answers as soon as the loop has gone round once, as a socket's answer would wake it."""

    def __init__(self, name: str) -> None:
        self.spec = ModelSpec(f"openai:{name}", "openai", name, "cloud", price=Price(1.0, 2.0, "bench"))

    async def stream(self, request: Request, call: Call) -> AsyncGenerator[Chunk]:
        await asyncio.sleep(0)
        yield Delta("Hello")
        yield Delta(" there.")
        yield End("stop", Usage(9, 2))

    def state(self) -> ModelState:
        return ModelState(loaded=True)

    async def close(self) -> None:
        """Nothing is open."""


class _Deaf:
    def reached(self, phase: str) -> None:
        """Nobody watches."""


def measure() -> float:
    """Median µs that a request spends in the hands."""
    return asyncio.run(_measure())


async def _measure() -> float:
    plan, hands = [_Instant("first"), _Instant("second")], Hands()
    clock = time.perf_counter
    took: list[float] = []
    for number in range(WARM + ROUNDS):
        start = clock()
        await _alone(plan[0])
        between = clock()
        await _walked(plan, hands)
        if number >= WARM:
            took.append((clock() - between) - (between - start))
    return 1e6 * median(took)


async def _alone(model: _Instant) -> None:
    async with aclosing(model.stream(_REQUEST, Call(_Deaf()))) as chunks:
        async for _ in chunks:
            pass


async def _walked(plan: list[_Instant], hands: Hands) -> None:
    now = asyncio.get_running_loop().time()
    journey = Journey(_REQUEST, now + 600.0, prompt_tokens=9)
    journey.on(Event.ADMIT)
    hands.health.asked(now)
    async with aclosing(Walk(plan, journey, hands, on_break="unseen").pieces()) as chunks:
        async for _ in chunks:
            pass
    journey.on(Event.SETTLE)
