"""What a provider keeps: the one contract between the hands and a model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from oblix.errors import AttemptFailed
from oblix.types.chunk import Chunk
from oblix.types.request import Request
from oblix.types.spec import ModelSpec


class Watch(Protocol):
    """The timers of one attempt, as a provider sees them; the hands own the clock."""

    def reached(self, phase: str) -> None:
        """The attempt entered `phase`: `connect`, `load` or `first_token`; its timer starts anew."""


@dataclass(frozen=True, slots=True)
class Call:
    """What goes with a request on one attempt.

    Attributes:
        watch: The timers; a provider tells when it passes from one phase to the next.
        connect_timeout: Seconds for name look-up and connection.
        said: The beginning of the answer, which the model goes on from without repeating it. Given only to a model whose `spec` has the
            capability `prefill`; empty for an answer from its start.
    """

    watch: Watch
    connect_timeout: float = 5.0
    said: str = ""


@dataclass(frozen=True, slots=True)
class ModelState:
    """What a provider knows of a model at this moment, without asking it for an answer.

    Attributes:
        loaded: In memory and ready; `None` when it is not known.
        loading: A load is under way.
        window: The window it is loaded with, in tokens.
        processes: Process ids whose CPU time is our own inference.
    """

    loaded: bool | None = None
    loading: bool = False
    window: int | None = None
    processes: frozenset[int] = frozenset()


class Model(Protocol):
    """One hooked model. Constructing it touches nothing outside.

    `stream` yields `Delta` and `Progress`, then exactly one `End`, the proof of completion. Everything else that can happen is
    an `AttemptFailed` of a named kind (or `CancelledError`): no foreign exception leaves a provider. Closing the iterator early
    frees the model: a connection is dropped, an engine is told to stop. That waits for nothing: whoever cancels a call waits for it, and
    after 0.1 s beyond a deadline it is cut off.
    """

    spec: ModelSpec

    def stream(self, request: Request, call: Call) -> AsyncIterator[Chunk]:
        """Answer `request`, piece by piece."""

    def state(self) -> ModelState:
        """What is known without asking."""

    async def close(self) -> None:
        """Give back everything that is held open."""


@runtime_checkable
class Loadable(Protocol):
    """A model that has to be brought into memory before it answers. What has no `load` is taken to be ready at any time."""

    async def load(self, request: Request) -> None:
        """Bring it into memory, and wait until it is there; nothing happens where it is there already.

        One load serves all who wait for it, and goes on when one of them (or all) leave. Of the request only its size counts, where the
        window has to be chosen with the load; no word of it is sent.

        Raises:
            AttemptFailed: It cannot be loaded, or its server cannot be reached.
        """


__all__ = ["AttemptFailed", "Call", "Loadable", "Model", "ModelState", "Watch"]
