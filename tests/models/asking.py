"""Asking one model behind a scripted upstream, and hearing what came of it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from oblix.errors import AttemptFailed
from oblix.models.base import Call, Model
from oblix.models.claude import ClaudeModel
from oblix.models.ollama import OllamaModel
from oblix.models.openai import OpenAIModel
from oblix.models.transport import Transport
from oblix.types.chunk import Chunk, Delta, End, Progress
from oblix.types.messages import Message
from oblix.types.request import Request
from oblix.types.secret import SecretStr
from oblix.types.spec import ModelSpec, Place

from .upstream import Asked, Script, Upstream

T = TypeVar("T")
Wire = Literal["openai", "claude", "ollama"]
WIRES: tuple[Wire, ...] = ("openai", "claude", "ollama")
KEY = "sk-proj-9fJk2LxQwErTyUiOpAsDfGhJkLzXcVbNm0123456789"
_numbers = itertools.count(1)
_MAKE: dict[Wire, Callable[..., Model]] = {"openai": OpenAIModel, "claude": ClaudeModel, "ollama": OllamaModel}
_PATH: dict[Wire, str] = {"openai": "/v1", "claude": "", "ollama": ""}


class Phases:
    """A watch that does not mind."""

    def reached(self, phase: str) -> None:
        """Nothing to do: no clock runs here."""


@dataclass
class Heard:
    """What one attempt gave: chunks, or a failure after them."""

    chunks: list[Chunk] = field(default_factory=list)
    failure: AttemptFailed | None = None
    asked: list[Asked] = field(default_factory=list)
    received: bytes = b""
    connections: int = 0

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.chunks if isinstance(piece, Delta))

    @property
    def progress(self) -> int:
        return sum(isinstance(piece, Progress) for piece in self.chunks)

    @property
    def end(self) -> End:
        """The proof, which must be one and last."""
        if self.failure is not None:
            raise AssertionError(f"failed: {self.failure!r}") from self.failure
        (end,) = (piece for piece in self.chunks if isinstance(piece, End))
        assert self.chunks[-1] is end
        return end

    @property
    def failed(self) -> AttemptFailed:
        """The failure, which must have come instead of the proof."""
        assert self.failure is not None, f"no failure, but {self.chunks}"
        assert not any(isinstance(piece, End) for piece in self.chunks)
        return self.failure


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end; half a minute only guards against hanging."""
    return asyncio.run(asyncio.wait_for(main, 30))


def ask(prompt: str = "Say hello.", **wishes: Any) -> Request:
    """A request for one prompt."""
    return Request(f"r{next(_numbers)}", wishes.pop("messages", (Message("user", prompt),)), **wishes)


def spec_of(wire: Wire, base: str, *, place: Place | None = None, **facts: Any) -> ModelSpec:
    """The spec of a model at a base address."""
    place = place or ("edge" if wire == "ollama" else "cloud")
    name, provider = facts.pop("name", "tried"), facts.pop("provider", wire)
    return ModelSpec(f"{provider}:{name}", provider, name, place, endpoint=base + _PATH[wire], **facts)


def model_of(wire: Wire, spec: ModelSpec, transport: Transport, **settings: Any) -> Model:
    """The provider's model."""
    key = settings.pop("key", KEY)
    return _MAKE[wire](spec, transport, key=None if key is None else SecretStr(key), **settings)


def call(said: str = "") -> Call:
    """An attempt whose timers do not matter; `said` is the beginning to go on from."""
    return Call(Phases(), 5.0, said)


@asynccontextmanager
async def lanes() -> AsyncIterator[Transport]:
    """A transport that is closed whatever happens."""
    transport = Transport()
    try:
        yield transport
    finally:
        await transport.close()


async def gather(model: Model, request: Request, said: str = "") -> Heard:
    """Everything that the model says, after what it has `said`."""
    heard = Heard()
    try:
        async for piece in model.stream(request, call(said)):
            heard.chunks.append(piece)
    except AttemptFailed as failure:
        heard.failure = failure
    return heard


def hear(
    wire: Wire,
    *scripts: Script,
    request: Request | None = None,
    before: Callable[[Upstream], Awaitable[None]] | None = None,
    settings: dict[str, Any] | None = None,
    said: str = "",
    **facts: Any,
) -> Heard:
    """One attempt against an upstream that plays `scripts`."""

    async def main() -> Heard:
        async with Upstream(*scripts) as upstream, lanes() as transport:
            if before is not None:
                await before(upstream)
            model = model_of(wire, spec_of(wire, upstream.url, **facts), transport, **(settings or {}))
            heard = await gather(model, request or ask(), said)
            heard.asked, heard.received = upstream.requests, upstream.received
            heard.connections = len(upstream.connections)
            return heard

    return run(main())
