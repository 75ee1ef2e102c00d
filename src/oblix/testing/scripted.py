"""A model that answers as its script says: for tests of everything around a model, on a real or a virtual clock."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.base import Call, ModelState
from oblix.models.registry import PROVIDERS
from oblix.types.chunk import Chunk, Delta, End, Progress, Usage
from oblix.types.failure import Certainty
from oblix.types.ids import split_model_id
from oblix.types.request import Request
from oblix.types.spec import ModelSpec, Price

_FREE = Price(0.0, 0.0, "scripted")  # a price that is known keeps the catalogue out of a test


@dataclass(frozen=True, slots=True)
class Wait:
    """Say nothing for so many seconds of the loop's clock."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Enter:
    """Tell the timers of the attempt that a phase begins: `load` or `first_token`."""

    phase: str


@dataclass(frozen=True, slots=True)
class Fail:
    """Fail, in the way that `kind` names."""

    kind: FailureKind | str
    why: str = "so says its script"
    hint: str | None = None
    retry_after: float | None = None
    tokens: int | None = None
    window: int | None = None
    certainty: Certainty | None = None
    is_void: bool = False

    def __post_init__(self) -> None:
        FailureKind(self.kind)  # a word that is no kind is an error here, not a failure of the model later


@dataclass(frozen=True, slots=True)
class Cut:
    """End without the proof of completion."""


@dataclass(frozen=True, slots=True)
class Block:
    """Never go on; only a timer or the caller's leaving ends it."""


Step = str | Wait | Enter | Progress | End | Fail | Cut | Block | BaseException | Callable[[Request], object]


class ScriptedModel:
    """A `models.base.Model` with a script for each request; the last one serves for all that follow.

    A script is a text, or a sequence of steps: text to say, `Wait`, `Enter`, `Progress`, a function that is called with the request
    (and awaited, if it can be), and one of `End`, `Fail`, `Cut`, `Block` or an exception as its last. Without one of these it ends well,
    with one input token for each word of the prompt and one output token for each text. Hook it with `client.hook(model)`.

    Args:
        model_id: `provider:name`; a provider of the registry brings its place, any other is at the edge.
        load_seconds: What bringing it into memory takes; above 0 it begins cold.
        known: Fields of `ModelSpec`, e.g. `place="cloud"`, `price=Price(1.0, 2.0, "caller")`, `window=4096`,
            `capabilities=frozenset({"prefill"})` for one that goes on from the beginning of an answer.

    Attributes:
        requests: What was asked, in order.
        asked_at: When, on the loop's clock.
        said: The beginnings of answers that it was given to go on from, in order; empty texts for answers from their start.
        loads: How often it was brought into memory.
        open: Answers that are under way.
        left: Answers that the caller left before their end.
        is_closed: Whether `close` was called.
    """

    def __init__(self, model_id: str, *scripts: str | Sequence[Step], load_seconds: float = 0.0, **known: Any) -> None:
        provider, name = split_model_id(model_id)
        row = PROVIDERS.get(provider)
        usual: dict[str, Any] = {"place": row.place if row else "edge", "price": _FREE}
        if row is not None:
            usual["capabilities"] = row.capabilities
        self.spec = ModelSpec(model_id, provider, name, **{**usual, **known})
        self.requests: list[Request] = []
        self.asked_at: list[float] = []
        self.said: list[str] = []
        self.loads = 0
        self.open = 0
        self.left = 0
        self.is_closed = False
        self._load_seconds = load_seconds
        self._is_loaded = not load_seconds
        self._loading: asyncio.Task[None] | None = None
        self._scripts = [(script,) if isinstance(script, str) else tuple(script) for script in scripts or ("ok",)]

    async def stream(self, request: Request, call: Call) -> AsyncGenerator[Chunk]:
        """Answer as the script says; see `models.base.Model`."""
        script = self._scripts[min(len(self.requests), len(self._scripts) - 1)]
        self.requests.append(request)
        self.said.append(call.said)
        self.asked_at.append(asyncio.get_running_loop().time())
        self.open += 1
        over = False
        try:
            for step in script:
                over = isinstance(step, End | Fail | Cut | BaseException)
                if isinstance(step, str):
                    yield Delta(step)
                elif isinstance(step, Progress | End):
                    yield step
                else:
                    await self._do(step, request, call)
                if over:
                    return
            over = True
            yield End("stop", Usage(len(request.prompt.split()), sum(isinstance(step, str) for step in script)))
        finally:
            self.open -= 1
            self.left += not over

    async def _do(self, step: Step, request: Request, call: Call) -> None:
        if isinstance(step, Wait):
            await asyncio.sleep(step.seconds)
        elif isinstance(step, Enter):
            call.watch.reached(step.phase)
        elif isinstance(step, Block):
            await asyncio.get_running_loop().create_future()
        elif isinstance(step, BaseException):
            raise step
        elif isinstance(step, Fail):
            failed = AttemptFailed(
                FailureKind(step.kind),
                f"{self.spec.id}: {step.why}",
                hint=step.hint,
                retry_after=step.retry_after,
            )
            failed.tokens, failed.window = step.tokens, step.window
            failed.certainty, failed.is_void = step.certainty, step.is_void
            raise failed
        elif callable(step):
            found = step(request)
            if inspect.isawaitable(found):
                await found

    async def load(self, request: Request) -> None:
        """As `models.base.Loadable` says: one load for all, whoever leaves."""
        if self._is_loaded:
            return
        if self._loading is None or self._loading.done():
            self._loading = asyncio.create_task(self._load())
        await asyncio.shield(self._loading)

    async def _load(self) -> None:
        self.loads += 1
        await asyncio.sleep(self._load_seconds)
        self._is_loaded = True

    def state(self) -> ModelState:
        """Loaded or not, without a process of its own."""
        loading = self._loading is not None and not self._loading.done()
        return ModelState(loaded=self._is_loaded, loading=loading, window=self.spec.window)

    async def close(self) -> None:
        """Remember it."""
        self.is_closed = True
        if self._loading is not None:
            self._loading.cancel()
