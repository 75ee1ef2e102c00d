"""Keeps the engine's process: loads it once for all who wait, unloads it when idle, starts it anew after a crash."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.embedded import pipe
from oblix.models.embedded.child import Answer, Child
from oblix.models.embedded.weights import Weights, resolve

_LOAD_LIMIT = 900.0  # seconds; a 40 GB file read at 50 MB/s
_DEFAULT_WINDOW = 4096  # tokens; a window costs memory when it is loaded, not when it is used


@dataclass(frozen=True, slots=True)
class Settings:
    """How the engine is run.

    Attributes:
        threads: `None`: as many as cores are free when it loads.
        window: Tokens per slot; `None`: what the weights were trained with, at most 4096.
        slots: Questions answered at the same time.
        idle_unload: Seconds without a question after which the memory is given back; `None`: never.
    """

    _: KW_ONLY
    threads: int | None = None
    window: int | None = None
    slots: int = 2
    idle_unload: float | None = 300.0


class Engine:
    """The engine for one set of weights. Constructing it touches nothing; it belongs to the event loop that first awaits it."""

    def __init__(self, name: str, settings: Settings) -> None:
        self._name = name
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._child: Child | None = None
        self._loading: asyncio.Task[Child] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._closings = 0
        self.window: int | None = None

    @property
    def pid(self) -> int | None:
        """The process that computes, if the weights are loaded or loading."""
        return self._child.pid if self._child and not self._child.gone else None

    @property
    def loaded(self) -> bool:
        """Whether the weights are in memory and ready."""
        return self._child is not None and self._child.is_ready

    async def ask(self, body: dict[str, Any], *, on_wait: Callable[[], None]) -> Answer:
        """Begin an answer, after loading and after waiting for a free slot.

        Args:
            body: A chat completion request in OpenAI's form.
            on_wait: Called before waiting for either.

        Raises:
            AttemptFailed: The weights are missing or cannot be loaded, or `body` holds what cannot be said.
        """
        closings = self._closings
        while True:
            if self._closings != closings:
                raise _closed()
            if not self.loaded or (self._child and self._child.slots.locked()):
                on_wait()
            child = await self._ready()
            await child.slots.acquire()
            if not child.gone:
                break
            child.slots.release()  # wakes the next who waited for the same dead process
        try:
            return child.ask(pipe.clean(body))
        except RecursionError as exc:
            child.slots.release()
            raise AttemptFailed(FailureKind.BAD_REQUEST, "The request is nested too deeply.") from exc

    async def count(self, body: dict[str, Any]) -> int:
        """Exactly how many tokens the prompt of `body` has, its chat template included. Loads if need be."""
        child = await self._ready()
        return await child.count(pipe.clean(body))

    async def close(self) -> None:
        """Give the memory back; a later question loads anew. Takes milliseconds, at most a few seconds."""
        self._closings += 1
        if self._loop is not asyncio.get_running_loop():
            return  # its own loop ended, and took the process with it
        if self._loading is not None and not self._loading.done():
            self._loading.cancel()
            await asyncio.wait({self._loading})
        self._unload()
        if self._ending:
            await asyncio.wait(set(self._ending))

    async def _ready(self) -> Child:
        """The process, loaded; one load serves all who wait, and goes on when one of them leaves."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._child, self._loading, self._timer, self._ending = loop, None, None, None, set()
        if self._child is not None and self.loaded:
            return self._child
        if self._loading is None or self._loading.done():
            self._loading = asyncio.create_task(self._load(), name=f"oblix-load-{self._name}")
            self._loading.add_done_callback(_seen)
        loading = self._loading
        try:
            return await asyncio.shield(loading)
        except asyncio.CancelledError as exc:
            task = asyncio.current_task()
            if loading.cancelled() and task is not None and not task.cancelling():
                raise _closed() from exc  # it was the load that was cancelled, not the caller
            raise

    async def _load(self) -> Child:
        weights = await asyncio.to_thread(resolve, self._name)
        home = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="oblix-engine-"))
        wish = pipe.Open(str(weights.path), self._wished(weights), self._settings.slots, self._settings.threads)
        self._child = child = await Child.spawn(wish, home, self._changed)
        try:
            async with asyncio.timeout(_LOAD_LIMIT):
                self.window = (await asyncio.shield(child.ready)).window
        except TimeoutError as exc:
            await child.stop()
            raise AttemptFailed(
                FailureKind.MODEL_UNLOADABLE, f"{self._name!r} was not loaded within {_LOAD_LIMIT:.0f} s.", cause=exc
            ) from exc
        except (AttemptFailed, asyncio.CancelledError):
            await child.stop()
            raise
        self._changed()
        return child

    def _wished(self, weights: Weights) -> int:
        if self._settings.window is not None:
            return self._settings.window
        return min(weights.window or _DEFAULT_WINDOW, _DEFAULT_WINDOW)

    def _changed(self) -> None:
        """A question began or ended, or the process is gone: set the clock for unloading anew."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (
            self._settings.idle_unload is not None
            and self._loop
            and self.loaded
            and self._child
            and not self._child.busy
        ):
            self._timer = self._loop.call_later(self._settings.idle_unload, self._unload)

    def _unload(self) -> None:
        child, self._child = self._child, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if child is not None and self._loop is not None:
            task = self._loop.create_task(child.stop())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)


def _closed() -> AttemptFailed:
    return AttemptFailed(FailureKind.CANCELLED, "The embedded model was closed.")


def _seen(task: asyncio.Task[Child]) -> None:
    """Whoever started a load may have left; then nobody else looks at how it ended."""
    with contextlib.suppress(asyncio.CancelledError):
        task.exception()
