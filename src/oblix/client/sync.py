"""The blocking twin of the client: the same methods, run on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from oblix.agents.base import BaseAgent
from oblix.client.books import Approve
from oblix.client.client import OblixClient as AsyncClient
from oblix.client.hall import Thought
from oblix.client.hooks import concealed, without_strays
from oblix.client.stream import Stream as AsyncStream
from oblix.client.sync_conversation import Conversations, soon
from oblix.client.wishes import Wishes
from oblix.decision.policy import Policy
from oblix.errors import ConfigurationError, OblixError
from oblix.models.base import Model
from oblix.settings import Settings
from oblix.types.chunk import Reset
from oblix.types.decision import Decision
from oblix.types.ids import ModelType
from oblix.types.privacy import Screening
from oblix.types.reply import Reply
from oblix.types.secret import SecretStr
from oblix.types.spec import ModelSpec

if TYPE_CHECKING:
    from datetime import date

    from oblix.client.discovery import ClientArguments, Discovered
    from oblix.ledger.report import By, Spend

T = TypeVar("T")
GRACE = 2.0  # seconds that the end of a program waits for what is still open


class _Loop:
    """An event loop on a daemon thread, from the first call on."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leave = asyncio.Event()
        self._process = 0
        self._lock = threading.Lock()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end and give the result; Ctrl-C cancels the work.

        Raises:
            ConfigurationError: Called on an event loop, which it would block, or after a fork.
        """
        try:
            loop = self._start()
        except ConfigurationError:
            work.close()
            raise
        future = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def _start(self) -> asyncio.AbstractEventLoop:
        if asyncio._get_running_loop() is not None:
            raise ConfigurationError(
                "oblix.sync blocks, and this is an event loop.", hint="Use `oblix.OblixClient` with `await` here."
            )
        if self._thread is not None and self._process != os.getpid():
            raise ConfigurationError(
                "This client was made before a fork, and belongs to the parent process.",
                hint="Make a client in each process.",
            )
        with self._lock:
            if self._loop is None:
                self._process = os.getpid()
                started = threading.Event()
                self._thread = threading.Thread(target=self._serve, args=(started,), name="oblix-sync", daemon=True)
                self._thread.start()
                started.wait()
            assert self._loop is not None
            return self._loop

    def _serve(self, started: threading.Event) -> None:
        asyncio.run(self._live(started))

    async def _live(self, started: threading.Event) -> None:
        self._loop, self._leave = asyncio.get_running_loop(), asyncio.Event()
        started.set()
        await self._leave.wait()

    def stop(self) -> None:
        """Let the thread end after what is still open has been closed; that is waited for, though not for long, nor on an event loop."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is None or self._process != os.getpid():
            return
        loop.call_soon_threadsafe(self._leave.set)
        if self._thread is not None and asyncio._get_running_loop() is None:
            self._thread.join(GRACE)


class Stream:
    """A blocking stream: `with client.stream(prompt) as s: for text in s: …`, then `s.reply()`."""

    def __init__(self, loop: _Loop, inner: AsyncStream) -> None:
        self._loop = loop
        self._inner = inner

    def __enter__(self) -> Self:
        self._loop.run(self._inner.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.run(self._inner.__aexit__(kind, error, trace))

    def __iter__(self) -> Iterator[str | Reset]:
        while True:
            try:
                piece = self._loop.run(self._inner.__anext__())
            except StopAsyncIteration:
                return
            yield piece

    def reply(self) -> Reply:
        """The whole reply; reads what is left of the stream."""
        return self._loop.run(self._inner.reply())


class OblixClient(Conversations):
    """As `oblix.OblixClient`, without `await`. Safe to use from several threads."""

    def __init__(
        self,
        oblix_api_key: str | None = None,
        host: str = "localhost",
        port: int = 4321,
        config_path: str | Path | None = None,
        policy: str | Policy = "balanced",
        store: str | Path | None = None,
    ) -> None:
        del oblix_api_key  # a local variable would show in a traceback
        self._client = AsyncClient(None, host, port, config_path, policy, store)
        self._loop = _Loop()
        weakref.finalize(self, self._loop.stop)

    @classmethod
    def auto(cls, *, cloud: bool = False, **arguments: Unpack[ClientArguments]) -> Self:
        """See `oblix.OblixClient.auto`."""
        client = cls(**arguments)
        client.discover(cloud=cloud)
        return client

    def discover(self, *, cloud: bool = False, agents: bool = True) -> Discovered:
        """See `oblix.OblixClient.discover`."""
        return self._run(self._client.discover(cloud=cloud, agents=agents))

    @property
    def discovered(self) -> Discovered | None:
        """What `auto` or `discover` found and hooked; `None` before."""
        return self._client.discovered

    def hook_model(
        self,
        model_type: ModelType | str,
        model_name: str,
        endpoint: str | None = None,
        api_key: str | SecretStr | None = None,
        **options: Any,
    ) -> bool:
        """See `oblix.OblixClient.hook_model`."""
        api_key, options = concealed(api_key), without_strays(options)
        return self._run(self._client.hook_model(model_type, model_name, endpoint, api_key, **options))

    def hook_settings(self, row: Mapping[str, Any]) -> None:
        """See `oblix.OblixClient.hook_settings`."""
        self._client.hook_settings(row)

    def settle(self, settings: Settings) -> None:
        """See `oblix.OblixClient.settle`."""
        self._client.settle(settings)

    def hook_agent(self, agent: BaseAgent) -> bool:
        """See `oblix.OblixClient.hook_agent`."""
        return self._run(soon(lambda: self._client.hook_agent(agent)))

    def hook(self, model: Model) -> None:
        """See `oblix.OblixClient.hook`."""
        self._run(soon(lambda: self._client.hook(model)))

    def execute(  # noqa: PLR0913  the signature is settled (contract.md)
        self,
        prompt: str | None = None,
        model_id: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        request_id: str | None = None,
        display_metrics: bool = False,
        session_id: str | None = None,
        stream: bool = False,
        chat: bool = False,
        deadline: float | None = 600.0,
        **wishes: Unpack[Wishes],
    ) -> Reply:
        """See `oblix.OblixClient.execute`."""
        return self._run(
            self._client.execute(
                prompt,
                model_id,
                temperature,
                max_tokens,
                request_id,
                display_metrics,
                session_id,
                stream,
                chat,
                deadline,
                **wishes,
            )
        )

    def stream(
        self,
        prompt: str | None = None,
        model_id: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        request_id: str | None = None,
        session_id: str | None = None,
        deadline: float | None = 600.0,
        **wishes: Unpack[Wishes],
    ) -> Stream:
        """See `oblix.OblixClient.stream`."""
        inner = self._client.stream(
            prompt, model_id, temperature, max_tokens, request_id, session_id, deadline, **wishes
        )
        return Stream(self._loop, inner)

    def route(
        self,
        prompt: str | None = None,
        model_id: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        session_id: str | None = None,
        deadline: float | None = None,
        **wishes: Unpack[Wishes],
    ) -> Decision:
        """See `oblix.OblixClient.route`."""
        return self._run(self._client.route(prompt, model_id, temperature, max_tokens, session_id, deadline, **wishes))

    def consider(
        self,
        prompt: str | None = None,
        model_id: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        session_id: str | None = None,
        deadline: float | None = None,
        **wishes: Unpack[Wishes],
    ) -> Thought:
        """See `oblix.OblixClient.consider`."""
        return self._run(
            self._client.consider(prompt, model_id, temperature, max_tokens, session_id, deadline, **wishes)
        )

    def explain(self, decision_id: str = "last") -> str:
        """See `oblix.OblixClient.explain`."""
        return self._run(self._client.explain(decision_id))

    def list_models(self) -> dict[str, list[str]]:
        """See `oblix.OblixClient.list_models`."""
        return self._client.list_models()

    def get_model(self, model_type: ModelType | str, model_name: str) -> ModelSpec | None:
        """See `oblix.OblixClient.get_model`."""
        return self._client.get_model(model_type, model_name)

    @property
    def policy(self) -> Policy:
        """The policy of requests that name none; may be set."""
        return self._client.policy

    @policy.setter
    def policy(self, policy: str | Policy) -> None:
        self._client.policy = policy

    @property
    def screening(self) -> Screening:
        """What the detectors look for in every request, and what follows; may be set."""
        return self._client.screening

    @screening.setter
    def screening(self, screening: Screening) -> None:
        self._client.screening = screening

    @property
    def approve_over_budget(self) -> Approve | None:
        """See `oblix.OblixClient.approve_over_budget`; it is called on the client's own thread."""
        return self._client.approve_over_budget

    @approve_over_budget.setter
    def approve_over_budget(self, approve: Approve | None) -> None:
        self._client.approve_over_budget = approve

    @property
    def models(self) -> Mapping[str, ModelSpec]:
        """The hooked models by id."""
        return self._client.models

    @property
    def agents(self) -> Mapping[str, BaseAgent]:
        """The hooked agents by name."""
        return self._client.agents

    def get_resource_metrics(self) -> dict[str, Any]:
        """See `oblix.OblixClient.get_resource_metrics`."""
        return self._run(self._client.get_resource_metrics())

    def get_connectivity_metrics(self) -> dict[str, Any]:
        """See `oblix.OblixClient.get_connectivity_metrics`."""
        return self._run(self._client.get_connectivity_metrics())

    def status(self) -> dict[str, Any]:
        """See `oblix.OblixClient.status`."""
        return self._run(self._client.status())

    def spend(self, by: By = "day", since: str | date | None = None) -> Spend:
        """See `oblix.OblixClient.spend`."""
        return self._run(self._client.spend(by, since))

    def shutdown(self) -> None:
        """See `oblix.OblixClient.shutdown`."""
        self._run(self._client.shutdown())

    cleanup = shutdown

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._loop.run(work)
        except OblixError as error:
            raise error.with_traceback(None) from None
