"""An embedded model whose process is hit by a signal at a chosen token, and that measures how soon it is noticed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.base import Call
from oblix.models.embedded import EmbeddedModel
from oblix.types.chunk import Chunk, Delta
from oblix.types.request import Request
from oblix.types.spec import FREE, ModelSpec, Timeouts

# Silence that is taken for a stop, in seconds: a token takes 10 to 100 ms on two crowded cores.
IDLE = 1.0
HUNG_AFTER = 0.5


def spec_of(name: str, weights: Path, *, idle: float | None = None) -> ModelSpec:
    return ModelSpec(
        f"embedded:{name}",
        "embedded",
        str(weights),
        "edge",
        price=FREE,
        capabilities=frozenset({"prefill"}),
        timeouts=Timeouts(idle=idle),
    )


class Victim(EmbeddedModel):
    """Hit once after each `arm`."""

    def __init__(self, name: str, weights: Path) -> None:
        spec = spec_of(name, weights, idle=IDLE)
        super().__init__(spec, threads=1, window=512, slots=2, hung_after=HUNG_AFTER)
        self.detections: list[float] = []  # seconds from a deadly signal to the failure of an open answer
        self.hit_at: float | None = None
        self._signal = signal.SIGKILL
        self._tokens_left = 0

    def arm(self, number: signal.Signals, token: int) -> None:
        """Send `number` when so many tokens have come, of all answers together."""
        self._signal, self._tokens_left, self.hit_at = number, token, None

    async def stream(self, request: Request, call: Call) -> AsyncGenerator[Chunk, None]:
        try:
            async with aclosing(super().stream(request, call)) as chunks:
                async for chunk in chunks:
                    if type(chunk) is Delta:
                        self._hit_in_time()
                    yield chunk
        except AttemptFailed as failed:
            if failed.kind is FailureKind.ENGINE_CRASH and self.hit_at is not None and self._signal != signal.SIGSTOP:
                self.detections.append(asyncio.get_running_loop().time() - self.hit_at)
            raise

    def _hit_in_time(self) -> None:
        self._tokens_left -= 1
        if self._tokens_left == 0:
            (pid,) = self.state().processes
            self.hit_at = asyncio.get_running_loop().time()
            os.kill(pid, self._signal)
