"""A provider's whole reading path without a socket or a loop: bytes in, chunks or the promised failure out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeVar, cast

from oblix.errors import AttemptFailed
from oblix.models.base import Call, Model
from oblix.models.claude import ClaudeModel
from oblix.models.ollama import OllamaModel
from oblix.models.openai import OpenAIModel
from oblix.models.transport import Answer, Transport
from oblix.types.chunk import Chunk, Delta
from oblix.types.messages import Message
from oblix.types.request import Request
from oblix.types.spec import ModelSpec

T = TypeVar("T")
Wire = Literal["openai", "claude", "ollama"]
WIRES: tuple[Wire, ...] = ("openai", "claude", "ollama")
CONTENT_TYPE: dict[Wire, str] = {
    "openai": "text/event-stream",
    "claude": "text/event-stream",
    "ollama": "application/x-ndjson",
}
_MAKE: dict[Wire, Callable[..., Model]] = {"openai": OpenAIModel, "claude": ClaudeModel, "ollama": OllamaModel}
_REQUEST = Request("fuzz", (Message("user", "?"),))


class Read(NamedTuple):
    """What a reader made of an answer: its text, the chunks that are no text, and how it failed, if it did."""

    text: str
    others: list[Chunk]
    failure: AttemptFailed | None

    @property
    def outcome(self) -> tuple[object, ...]:
        """What must not depend on how the bytes were cut."""
        failure = self.failure
        return self.text, self.others, None if failure is None else (failure.kind, failure.message)


class _Still:
    """Stands where the loop stands, for models that look at its clock: always the same time, and nothing can be scheduled."""

    def time(self) -> float:
        return 0.0


class _Watch:
    """Timers that never fire."""

    def reached(self, phase: str) -> None:
        """Nothing to do."""


class _Answer:
    """An HTTP answer whose body is in memory."""

    def __init__(self, pieces: Iterable[bytes], content_type: str, status: int, headers: Mapping[str, str]) -> None:
        self._pieces: Iterator[bytes] = filter(None, pieces)  # an empty piece would be the end of the body
        self.content_type = content_type
        self.status = status
        self.headers = headers

    async def next(self) -> bytes:
        return next(self._pieces, b"")

    async def read(self, cap: int = 1 << 20) -> bytes:
        return b"".join(self._pieces)[:cap]

    async def finish(self) -> None:
        for _ in self._pieces:
            pass

    def close(self) -> None:
        pass


class _Lane(Transport):
    """A transport without connections: whatever is posted, this is the answer."""

    def __init__(self, answer: _Answer) -> None:
        super().__init__()
        self._answer = answer

    async def post(self, url: str, **how: Any) -> Answer:
        return cast("Answer", self._answer)


_CALL = Call(_Watch(), 1.0)


def read(
    wire: Wire, pieces: Iterable[bytes], *, content_type: str | None = None, status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Read:  # fmt: skip
    """Let the provider's model read an answer that arrives in these pieces.

    Raises:
        Exception: anything but `AttemptFailed` is a bug.
    """
    answer = _Answer(pieces, content_type or CONTENT_TYPE[wire], status, headers or {})
    spec = ModelSpec(f"{wire}:fuzzed", wire, "fuzzed", "edge", endpoint="http://127.0.0.1:9")
    model = _MAKE[wire](spec, _Lane(answer))
    chunks: list[Chunk] = []
    failure: AttemptFailed | None = None
    stream = model.stream(_REQUEST, _CALL)
    try:
        while (chunk := _run(_next(stream))) is not None:
            chunks.append(chunk)
    except AttemptFailed as error:
        failure = error
    text = "".join(chunk.text for chunk in chunks if isinstance(chunk, Delta))
    return Read(text, [chunk for chunk in chunks if not isinstance(chunk, Delta)], failure)


async def _next(stream: AsyncIterator[Chunk]) -> Chunk | None:
    return await anext(stream, None)


_LOOP = cast("asyncio.AbstractEventLoop", _Still())


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end what never has to wait: a loop would cost more than all the rest."""
    asyncio._set_running_loop(_LOOP)
    try:
        work.send(None)
    except StopIteration as done:
        return cast("T", done.value)
    finally:
        asyncio._set_running_loop(None)
    raise AssertionError("the reader waited for something that is not there")
