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
        most_tokens: Tokens that may be written from here on, whatever the request says: what a budget can pay. `None` for no bound.
    """

    watch: Watch
    connect_timeout: float = 5.0
    said: str = ""
    most_tokens: int | None = None


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


@runtime_checkable
class Hiding(Protocol):
    """A model that can write tokens which are billed and not seen while they are written. What has no `hides_tokens` shows all of them."""

    def hides_tokens(self, request: Request) -> bool:
        """Whether it may for this request: by its name, by what is asked, and by what its answers have cost so far."""


def hides_tokens(model: Model, request: Request) -> bool:
    """Whether a model may write tokens for this request that are billed and not seen while they are written."""
    asked = getattr(model, "hides_tokens", None)  # 20 times as quick as asking the protocol
    return asked is not None and asked(request)


def bound_of(model: Model, request: Request) -> int | None:
    """Tokens that an answer to this request can have at most, `None` where nothing bounds it.

    A provider may have a default of its own, and the caller's `provider_options` can say another limit than the request does.
    """
    asked = getattr(model, "bound", None)
    return request.max_tokens if asked is None else asked(request)


__all__ = ["AttemptFailed", "Call", "Hiding", "Loadable", "Model", "ModelState", "Watch", "bound_of", "hides_tokens"]
