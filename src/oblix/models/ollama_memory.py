"""What an Ollama server has in memory of one model, and the one load that brings it there for all who wait.

Source: docs/api.md, "Load a model" and "List Running Models", and server/sched.go of the Ollama project (2026-08): a model that is loaded
with another window than the one asked for is loaded anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping
from math import ceil, inf, isfinite
from typing import Any
from weakref import WeakSet

import msgspec

from oblix.errors import AttemptFailed, ConfigurationError, FailureKind
from oblix.models.endpoint import Endpoint
from oblix.models.transport import Permit
from oblix.types.spec import ModelSpec

LOAD_LIMIT = 900.0  # seconds; a 40 GB file read at 50 MB/s
LEAST_KEPT = 60.0  # seconds that a model which was loaded ahead of its prompt is kept, though it be unloaded right after an answer
# Seconds until a server that knows nothing of loading is asked again: it may have been replaced by an Ollama meanwhile.
UNKNOWN_FOR = 300.0
CONNECT = 5.0  # seconds to reach the server

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SECONDS = re.compile(r"-?[0-9]{1,9}")
_SPAN = re.compile(r"-?(?:[0-9]+(?:\.[0-9]*)?(?:ns|us|µs|ms|s|m|h))+")
_PIECE = re.compile(r"([0-9]+(?:\.[0-9]*)?)(ns|us|µs|ms|s|m|h)")


def keep_seconds(keep_alive: str | float) -> float:
    """How long Ollama keeps a model in memory after an answer: `5m`, `1h30m`, whole seconds; below 0 for ever.

    Raises:
        ConfigurationError: It is none of these, which Ollama would refuse.
    """
    text = str(int(keep_alive) if isinstance(keep_alive, float) and isfinite(keep_alive) else keep_alive).strip()
    if _SECONDS.fullmatch(text):
        return inf if text.startswith("-") else float(text)
    if not _SPAN.fullmatch(text):
        raise ConfigurationError(f"keep_alive={keep_alive!r} is no span of time.", hint="e.g. '5m', '1h30m', 0 or -1.")
    if text.startswith("-"):
        return inf
    return sum(float(number) * _UNITS[unit] for number, unit in _PIECE.findall(text))


class _Running(msgspec.Struct):
    name: str = ""
    model: str = ""
    context_length: int | None = None


class _Ps(msgspec.Struct):
    models: list[_Running]


class _Loaded(msgspec.Struct):
    done: bool = False
    error: Any = None


class OllamaMemory:
    """Knows whether one model is loaded, as far as that can be known without asking; belongs to the loop that first awaits it.

    Attributes:
        window: The window that it is loaded with, in tokens, once it is known.
    """

    def __init__(
        self, spec: ModelSpec, endpoint: Endpoint, *, keep: float, neighbours: WeakSet[OllamaMemory] | None = None
    ) -> None:
        """`keep` is in seconds, as `keep_seconds` gives it; `neighbours` are the models of the same server."""
        self._neighbours = WeakSet[OllamaMemory]() if neighbours is None else neighbours
        self._neighbours.add(self)
        self._spec = spec
        self._endpoint = endpoint
        self._keep = keep
        self._knows = True  # False for a server that speaks the protocol in part: it is taken to be ready
        self._loop: asyncio.AbstractEventLoop | None = None
        self._until: float | None = None  # on the loop's clock
        self._is_absent = False
        self._loading: asyncio.Task[None] | None = None
        self.window: int | None = None

    @property
    def loaded(self) -> bool | None:
        """Whether it is in memory; `None` when it is not known. May be asked on any thread."""
        if self._until is not None and self._loop is not None and self._loop.time() < self._until:
            return True
        return False if self._is_absent else None

    @property
    def loading(self) -> bool:
        """Whether a load of ours is under way."""
        return self._loading is not None and not self._loading.done()

    def answered(self, window: int | None, keep: float | None = None) -> None:
        """It spoke: from now on it is kept for its time, or for `keep` seconds where the request had a wish of its own."""
        self._stays((self._keep if keep is None else keep) if self._knows else UNKNOWN_FOR, window)

    def lost(self) -> None:
        """It failed: whether it is still in memory is not known."""
        self._until, self.window = None, None

    async def load(self, window: int, *, exact: bool) -> None:
        """Bring it into memory, and wait until it is there.

        One load serves all who wait, and goes on when they leave.

        Args:
            window: Tokens that it has to have room for.
            exact: No wider one will do, because it will be asked for with just this window.

        Raises:
            AttemptFailed: It cannot be loaded, or the server cannot be reached.
        """
        self._meet()
        while not self._has(window, exact=exact):
            if self._loading is not None and not self._loading.done():
                await self._wait(self._loading)
                continue  # it may have been a load with another window
            self._loading = asyncio.create_task(self._bring(window, exact=exact), name=f"oblix-load-{self._spec.name}")
            self._loading.add_done_callback(_seen)
            await self._wait(self._loading)
            return

    async def close(self) -> None:
        """Stop waiting for the server; what it has begun to load, it goes on loading."""
        loading, self._loading = self._loading, None
        if loading is not None and self._loop is asyncio.get_running_loop() and not loading.done():
            loading.cancel()
            await asyncio.wait({loading})

    def _meet(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._loading, self._until = loop, None, None

    def _has(self, window: int, *, exact: bool) -> bool:
        if self.loaded is not True:
            return False
        return self.window is None or self.window == window or (not exact and self.window > window)

    async def _wait(self, loading: asyncio.Task[None]) -> None:
        try:
            await asyncio.shield(loading)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if loading.cancelled() and task is not None and not task.cancelling():
                # It was the load that was cancelled, not the caller.
                raise AttemptFailed(FailureKind.CANCELLED, f"{self._spec.id} was closed while it was loading") from None
            raise

    async def _bring(self, window: int, *, exact: bool) -> None:
        try:
            async with asyncio.timeout(LOAD_LIMIT):
                await self._ask(window, exact=exact)
        except TimeoutError as error:
            raise AttemptFailed(
                FailureKind.TIMEOUT_LOAD, f"{self._spec.id} was not loaded within {LOAD_LIMIT:.0f} s", cause=error
            ) from error
        finally:
            self._is_absent = False

    async def _ask(self, window: int, *, exact: bool) -> None:
        url, permit = self._spec.endpoint or "", Permit(self._spec, private=False)  # no prompt goes with it
        status, body, _ = await self._endpoint.fetch(f"{url}/api/ps", None, permit, connect_timeout=CONNECT)
        running = _decoded(body, _Ps) if status == 200 else None
        self._knows = running is not None
        if running is None:
            self._stays(UNKNOWN_FOR, None)
            return
        found = next((one for one in running.models if _same(self._spec.name, one.name or one.model)), None)
        if found is not None and not exact:
            window = max(window, found.context_length or 0)  # what is there is used; a narrower wish would load it anew
        self._is_absent = found is None
        # Asked for even if it is listed: the list names what is still loading as well. The answer comes when it is ready.
        keep = -1 if self._keep == inf else ceil(max(self._keep, LEAST_KEPT))
        wish = {"model": self._spec.name, "keep_alive": keep, "stream": False, "options": {"num_ctx": window}}
        status, body, headers = await self._endpoint.fetch(f"{url}/api/generate", wish, permit, connect_timeout=CONNECT)
        self._understand(status, body, headers, window)

    def _understand(self, status: int, body: bytes, headers: Mapping[str, str], window: int) -> None:
        loaded = _decoded(body, _Loaded) if status == 200 else None
        if loaded is not None and loaded.done:
            if self._is_absent:
                for other in self._neighbours - {self}:
                    other.lost()  # where memory is short, one of them had to go
            self._stays(max(self._keep, LEAST_KEPT), window)
            return
        if status != 200 or (loaded is not None and loaded.error is not None):
            failure = self._endpoint.refused(self._spec, status, body, headers)
            if failure.kind not in (FailureKind.PROTOCOL, FailureKind.BAD_REQUEST):
                raise failure
        self._knows = False
        self._stays(UNKNOWN_FOR, None)

    def _stays(self, seconds: float, window: int | None) -> None:
        self._meet()
        assert self._loop is not None
        self._until, self.window, self._is_absent = self._loop.time() + seconds, window, seconds == 0


def _decoded(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _same(name: str, other: str) -> bool:
    """Whether two names are one model: `phi` is `phi:latest`."""
    return _full(name) == _full(other)


def _full(name: str) -> str:
    return (name if ":" in name.rpartition("/")[2] else f"{name}:latest").lower()


def _seen(task: asyncio.Task[None]) -> None:
    """Whoever started a load may have left; then nobody else looks at how it ended."""
    with contextlib.suppress(asyncio.CancelledError):
        task.exception()
