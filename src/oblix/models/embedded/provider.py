"""The embedded model: keeps the provider's contract with an engine on this machine, without a server."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator
from typing import Any

from oblix.errors import AttemptFailed, ConfigurationError, FailureKind
from oblix.models.base import Call, ModelState
from oblix.models.embedded import pipe, prefill
from oblix.models.embedded.engine import Engine, Settings
from oblix.models.embedded.prefill import Beginning, Repetition
from oblix.models.embedded.wire import Reader, body, must_call
from oblix.models.wire_tools import bounded, least_limit
from oblix.types.chunk import Chunk, End
from oblix.types.request import Request
from oblix.types.spec import ModelSpec


class EmbeddedModel:
    """A model in a process of our own. Constructing it touches nothing outside; the first prompt loads the weights.

    Args:
        spec: Its `name` says which weights (see `weights`).
        threads: `None`: as many as cores are free when it loads.
        window: Tokens per request; `None`: what the weights were trained with, at most 4096.
        slots: Requests answered at the same time; more wait.
        idle_unload: Seconds without a request after which the memory is given back; `None`: never.
        hung_after: Seconds without a sign of life, asked for when an answer is left before its end, after which the process is replaced.

    Raises:
        ConfigurationError: One of the numbers is not positive.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        threads: int | None = None,
        window: int | None = None,
        slots: int = 2,
        idle_unload: float | None = 300.0,
        hung_after: float = 5.0,
    ) -> None:
        settings = Settings(threads=threads, window=window, slots=slots, idle_unload=idle_unload, hung_after=hung_after)
        for name, value in dataclasses.asdict(settings).items():
            if value is not None and value <= 0:
                raise ConfigurationError(f"{name!r} is {value!r}, expected a number above 0.")
        self.spec = spec
        self._engine = Engine(spec.name, settings)

    async def load(self, request: Request) -> None:
        """Have the weights in memory, whatever the `request`: the window is fixed. One load serves all, and goes on when they leave.

        Raises:
            AttemptFailed: They are missing or cannot be loaded, or the engine was killed too often.
        """
        await self._engine.load()

    async def stream(self, request: Request, call: Call) -> AsyncGenerator[Chunk, None]:
        """Answer `request`, piece by piece. Closing early stops the engine within one batch.

        With `call.said` it goes on from there: at temperature 0 both together are the answer that would have come in one piece.
        """
        wish, repetition = self._body(request), Repetition("")
        if call.said:
            beginning = prefill.split(pipe.clean(call.said))
            if not self._engine.loaded:
                call.watch.reached("load")
            rest = await self._rest(request, wish, beginning)
            if rest is None:
                yield End("length")
                return
            wish, repetition = rest, Repetition(beginning.again)
        wish = bounded(wish, prefill.LIMITS, call.most_tokens)
        answer = await self._engine.ask(wish, on_phase=call.watch.reached)
        try:
            reader = Reader(bool(must_call(request)), f"call_{request.id}")
            async for piece in answer:
                for chunk in reader.read(piece):
                    yield repetition.read(chunk)
            end = reader.end()
            repetition.end(end.finish_reason)
            yield end
        finally:
            answer.close()

    async def _rest(self, request: Request, wish: dict[str, Any], beginning: Beginning) -> dict[str, Any] | None:
        """`wish` for the rest of an answer; `None` when its length is used up."""
        await self._engine.load()
        prefill.check(request, continues=self._engine.continues)
        begun = prefill.given(wish, beginning)
        if beginning.given and prefill.limits_of(wish):
            said = await self._engine.count(begun) - await self._engine.count(wish)
            lowered = prefill.lowered(begun, said)
            if lowered is None:
                return None
            begun = lowered
        return prefill.again(begun, beginning)

    def bound(self, request: Request) -> int | None:
        """See `models.base.bound_of`."""
        return least_limit({"max_tokens": request.max_tokens} | request.provider_options, prefill.LIMITS)

    async def count_tokens(self, request: Request) -> int:
        """Exactly how many tokens the prompt has, the chat template included. Loads the weights if need be."""
        return await self._engine.count(self._body(request))

    def state(self) -> ModelState:
        """What is known without asking."""
        pid = self._engine.pid
        processes = frozenset[int]() if pid is None else frozenset({pid})
        engine = self._engine
        return ModelState(loaded=engine.loaded, loading=engine.loading, window=engine.window, processes=processes)

    async def close(self) -> None:
        """End the process. Waits milliseconds, at most a few seconds; a later request would start it anew."""
        await self._engine.close()

    def _body(self, request: Request) -> dict[str, Any]:
        if request.asks_about_images:
            raise AttemptFailed(
                FailureKind.BAD_REQUEST,
                f"{self.spec.id!r} reads no images.",
                hint="hook a model that does, such as a cloud model",
            )
        return body(request, self.spec)
