"""The real engine with real weights, for everything in this folder."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from oblix.errors import AttemptFailed
from oblix.models.base import Call
from oblix.models.embedded import EmbeddedModel, weights
from oblix.types.chunk import Chunk, Delta, End, Progress
from oblix.types.messages import Message
from oblix.types.request import Request
from oblix.types.spec import ModelSpec

_numbers = itertools.count(1)

# Stands before the real engine on the child's path, and makes room for it between its first and its last lines.
_ENGINE_STAND_IN = """
import os, sys
{first}
sys.path.remove(os.path.dirname(__file__))
del sys.modules["xllamacpp"]
import xllamacpp
{last}
"""


@dataclass
class Phases:
    """A watch that remembers."""

    seen: list[str] = field(default_factory=list)

    def reached(self, phase: str) -> None:
        self.seen.append(phase)


@dataclass
class Told:
    """A whole answer."""

    chunks: list[Chunk]
    phases: list[str]

    @property
    def text(self) -> str:
        return "".join(chunk.text for chunk in self.chunks if isinstance(chunk, Delta))

    @property
    def end(self) -> End:
        (end,) = (chunk for chunk in self.chunks if isinstance(chunk, End))
        assert chunk_is_last(self.chunks, end)
        return end

    @property
    def progress(self) -> list[str]:
        return [chunk.what for chunk in self.chunks if isinstance(chunk, Progress)]


def chunk_is_last(chunks: list[Chunk], end: End) -> bool:
    return chunks[-1] is end


@dataclass
class Bench:
    """Makes models and requests, and gathers answers."""

    weights: str

    def model(self, name: str | Path | None = None, **settings: Any) -> EmbeddedModel:
        settings = {"threads": 1, "window": 1024, "slots": 1, **settings}
        spec = ModelSpec("embedded:tried", "embedded", str(name or self.weights), "edge")
        return EmbeddedModel(spec, **settings)

    def request(self, prompt: str = "Say hello.", **wishes: Any) -> Request:
        messages = wishes.pop("messages", (Message("user", prompt),))
        return Request(f"r{next(_numbers)}", messages, **{"max_tokens": 8, **wishes})

    def endless(self, tokens: int = 1900) -> Request:
        """An answer that ends at its limit, and not before."""
        return self.request("Write a long story.", max_tokens=tokens, provider_options={"ignore_eos": True})

    async def answer(
        self, model: EmbeddedModel, request: Request | None = None, *, said: str = "", phases: Phases | None = None
    ) -> Told:
        phases = phases or Phases()
        async with asyncio.timeout(120):
            call = Call(phases, said=said)
            chunks = [chunk async for chunk in model.stream(request or self.request(), call)]
        return Told(chunks, phases.seen)

    async def failure(self, model: EmbeddedModel, request: Request | None = None, *, said: str = "") -> AttemptFailed:
        """What an attempt failed with."""
        with pytest.raises(AttemptFailed) as failed:
            await self.answer(model, request, said=said)
        return failed.value

    def failure_of(self, path: str | Path) -> AttemptFailed:
        """What a fresh model of these weights fails with."""

        async def run() -> AttemptFailed:
            async with self.open(path) as model:
                return await self.failure(model)

        return asyncio.run(run())

    @asynccontextmanager
    async def open(self, name: str | Path | None = None, **settings: Any) -> AsyncIterator[EmbeddedModel]:
        """A model that is closed whatever happens."""
        model = self.model(name, **settings)
        try:
            yield model
        finally:
            await model.close()

    def call(self) -> Call:
        return Call(Phases())

    def pid(self, model: EmbeddedModel) -> int:
        (pid,) = model.state().processes
        return pid


def is_gone(pid: int) -> bool:
    """Whether a process ended; in a container nobody may collect an orphan's status, so a zombie counts."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


async def wait_gone(pid: int) -> None:
    async with asyncio.timeout(20):
        while not is_gone(pid):
            await asyncio.sleep(0.02)


@pytest.fixture(scope="session")
def gone() -> Callable[[int], Any]:
    """An awaitable that ends when a process does."""
    return wait_gone


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have the child run some lines when it imports the engine, before it gets the real one and after."""

    def put(first: str = "", last: str = "") -> None:
        folder = tmp_path / "stand_in"
        folder.mkdir(exist_ok=True)
        (folder / "xllamacpp.py").write_text(_ENGINE_STAND_IN.format(first=first, last=last))
        monkeypatch.setenv("PYTHONPATH", str(folder))

    return put


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The real weights, through our own fetch; they are in the cache after the first time."""
    return weights.fetch("smollm2").path


@pytest.fixture(scope="session")
def bench(smollm2: Path) -> Bench:
    return Bench(str(smollm2))
