"""The embedded model: keeps the provider's contract with an engine on this machine, without a server."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from oblix.errors import AttemptFailed, ConfigurationError, FailureKind
from oblix.models.base import Call, ModelState
from oblix.models.embedded.engine import Engine, Settings
from oblix.models.embedded.wire import Reader, body, must_call
from oblix.types.chunk import Chunk
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
    ) -> None:
        for name, value in (("threads", threads), ("window", window), ("slots", slots), ("idle_unload", idle_unload)):
            if value is not None and value <= 0:
                raise ConfigurationError(f"{name!r} is {value!r}, expected a number above 0.")
        self.spec = spec
        self._engine = Engine(spec.name, Settings(threads=threads, window=window, slots=slots, idle_unload=idle_unload))

    async def stream(self, request: Request, call: Call) -> AsyncGenerator[Chunk, None]:
        """Answer `request`, piece by piece. Closing early stops the engine within one batch."""
        wish = self._body(request)
        answer = await self._engine.ask(wish, on_wait=lambda: call.watch.reached("load"))
        try:
            call.watch.reached("first_token")
            reader = Reader(bool(must_call(request)), f"call_{request.id}")
            async for piece in answer:
                for chunk in reader.read(piece):
                    yield chunk
            yield reader.end()
        finally:
            answer.close()

    async def count_tokens(self, request: Request) -> int:
        """Exactly how many tokens the prompt has, the chat template included. Loads the weights if need be."""
        return await self._engine.count(self._body(request))

    def state(self) -> ModelState:
        """What is known without asking."""
        pid = self._engine.pid
        processes = frozenset[int]() if pid is None else frozenset({pid})
        return ModelState(loaded=self._engine.loaded, window=self._engine.window, processes=processes)

    async def close(self) -> None:
        """End the process. Waits milliseconds, at most a few seconds; a later request would start it anew."""
        await self._engine.close()

    def _body(self, request: Request) -> dict[str, object]:
        if request.has_images:
            raise AttemptFailed(
                FailureKind.BAD_REQUEST,
                f"{self.spec.id!r} reads no images.",
                hint="hook a model that does, such as a cloud model",
            )
        return body(request)
