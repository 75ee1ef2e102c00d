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
from oblix.models.embedded import obituary, pipe, reload
from oblix.models.embedded.child import Answer, Calls, Child
from oblix.models.embedded.weights import Weights, resolve

_LOAD_LIMIT = 900.0  # seconds; a 40 GB file read at 50 MB/s
# A question that the process did not take before it ended is asked of the next one. Should the very sight of it end a process, that stops.
_ASKS = 3
_DEFAULT_WINDOW = 4096  # tokens; a window costs memory when it is loaded, not when it is used


@dataclass(frozen=True, slots=True)
class Settings:
    """How the engine is run.

    Attributes:
        threads: `None`: as many as cores are free when it loads.
        window: Tokens per slot; `None`: what the weights were trained with, at most 4096.
        slots: Questions answered at the same time.
        idle_unload: Seconds without a question after which the memory is given back; `None`: never.
        hung_after: Seconds without a sign of life, asked for when an answer is left, after which the process is replaced.
    """

    _: KW_ONLY
    threads: int | None = None
    window: int | None = None
    slots: int = 2
    idle_unload: float | None = 300.0
    hung_after: float = (
        5.0  # a process that moves at all answers within milliseconds, on a crowded machine within a second
    )


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
        self._deaths = reload.Deaths()
        self.window: int | None = None
        self.continues = False  # known when it is loaded: whether an answer can be gone on from exactly

    @property
    def pid(self) -> int | None:
        """The process that computes, if the weights are loaded or loading."""
        return self._child.pid if self._child and not self._child.gone else None

    @property
    def loaded(self) -> bool:
        """Whether the weights are in memory and ready."""
        return self._child is not None and self._child.is_ready

    @property
    def loading(self) -> bool:
        """Whether the weights are on their way into memory."""
        return self._loading is not None and not self._loading.done()

    async def load(self) -> None:
        """Have the weights in memory; one load serves all who wait, and goes on when they leave.

        Raises:
            AttemptFailed: They are missing or cannot be loaded, or the engine was killed too often.
        """
        await self._ready()

    async def ask(self, body: dict[str, Any], *, on_phase: Callable[[str], None]) -> Answer:
        """Begin an answer, after loading and after waiting for a free slot.

        When it is returned, the engine has taken the question. A process that ends before that, ends for somebody else's question (or for
        none); the next one is asked.

        Args:
            body: A chat completion request in OpenAI's form.
            on_phase: Told of `load` before waiting for the weights, a slot or a sign of life; of `first_token` when the question is put.

        Raises:
            AttemptFailed: The weights are missing or cannot be loaded, or `body` holds what cannot be said.
        """
        question, closings = _clean(body), self._closings
        failure = _closed()
        for _ in range(_ASKS):
            child = await self._free_child(on_phase, closings)
            answer = child.ask(question)
            on_phase("first_token")
            try:
                ended = await answer.begun()
            except BaseException:  # cancelled: whatever it is, nobody is left who would close the answer
                answer.close()
                raise
            if ended is None:
                return answer
            failure = ended
            if ended.kind is FailureKind.CANCELLED:
                break
        raise failure

    async def _free_child(self, on_phase: Callable[[str], None], closings: int) -> Child:
        """A loaded process, with one of its slots held for the caller."""
        while True:
            if self._closings != closings:
                raise _closed()
            if not self.loaded or not self._is_free():
                on_phase("load")
            child = await self._ready()
            await child.pulse.wait_steady()  # it may be found to stand still
            await child.slots.acquire()
            if not child.gone:
                return child
            child.slots.release()  # wakes the next who waited for the same dead process

    def _is_free(self) -> bool:
        return self._child is not None and self._child.pulse.is_steady and not self._child.slots.locked()

    async def count(self, body: dict[str, Any]) -> int:
        """Exactly how many tokens the prompt of `body` has, its chat template included. Loads if need be."""
        child = await self._ready()
        return await child.count(_clean(body))

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
        assert self._loop is not None
        if pause := reload.pause(self._deaths, self._loop.time()):
            raise obituary.killed_too_often(self._name, len(self._deaths.times), pause)
        weights = await asyncio.to_thread(resolve, self._name)
        home = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="oblix-engine-"))
        wish = pipe.Open(str(weights.path), self._wished(weights), self._settings.slots, self._settings.threads)
        calls = Calls(self._changed, self._ended)
        self._child = child = await Child.spawn(wish, home, calls, hung_after=self._settings.hung_after)
        try:
            async with asyncio.timeout(_LOAD_LIMIT):
                ready = await asyncio.shield(child.ready)
        except TimeoutError as exc:
            await child.stop()
            raise AttemptFailed(
                FailureKind.MODEL_UNLOADABLE, f"{self._name!r} was not loaded within {_LOAD_LIMIT:.0f} s.", cause=exc
            ) from exc
        except (AttemptFailed, asyncio.CancelledError):
            await child.stop()
            raise
        self.window, self.continues = ready.window, ready.continues
        self._changed()
        return child

    def _wished(self, weights: Weights) -> int:
        if self._settings.window is not None:
            return self._settings.window
        return min(weights.window or _DEFAULT_WINDOW, _DEFAULT_WINDOW)

    def _ended(self, ending: obituary.Ending) -> None:
        assert self._loop is not None
        self._deaths = reload.died(self._deaths, self._loop.time(), repeats=ending.repeats)

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


def _clean(body: dict[str, Any]) -> dict[str, Any]:
    try:
        found: dict[str, Any] = pipe.clean(body)
    except RecursionError as exc:
        raise AttemptFailed(FailureKind.BAD_REQUEST, "The request is nested too deeply.") from exc
    return found


def _closed() -> AttemptFailed:
    return AttemptFailed(FailureKind.CANCELLED, "The embedded model was closed.")


def _seen(task: asyncio.Task[Child]) -> None:
    """Whoever started a load may have left; then nobody else looks at how it ended."""
    with contextlib.suppress(asyncio.CancelledError):
        task.exception()
