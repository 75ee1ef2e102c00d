"""The fault server: named upstreams, the tasks that play their faults, and the trap that redirects lead to."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, get_args

from oblix.testing.faults.books import PRICE, Received
from oblix.testing.faults.exchange import Tempo
from oblix.testing.faults.upstream import Upstream
from oblix.testing.faults.wires import Wire
from oblix.types.spec import Price

CLOSE_GRACE = 5.0  # seconds for tasks to end after their cancellation; they only have to take note of it


class FaultServer:
    """A raw-socket server of the OpenAI, Anthropic and Ollama protocols that plays faults, bills and records.

    ::

        async with FaultServer() as server:
            edge = server.upstream("edge", wire="ollama")
            edge.play("REQ-00017", Fault("reset", "mid_stream"))
            client.hook_model("ollama:played", endpoint=edge.url)

    Args:
        tempo: Times and sizes of the faults.
    """

    def __init__(self, tempo: Tempo | None = None) -> None:
        self.tempo = tempo or Tempo()
        self._upstreams: dict[str, Upstream] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._joins: set[asyncio.Task[object]] = set()
        self._errors: list[BaseException] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for upstream in self._upstreams.values():
            upstream.close()
        if self._joins:  # connections that were taken a moment ago: let them open, so that they can be closed
            await asyncio.wait(self._joins, timeout=CLOSE_GRACE)
        for upstream in self._upstreams.values():
            upstream.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_GRACE)
        await asyncio.sleep(0)  # aborted connections close their sockets in the loop's next round
        if self._errors and error is None:
            raise BaseExceptionGroup("kinds of faults failed on their own", self._errors)

    def upstream(self, name: str, *, wire: Wire, price: Price = PRICE) -> Upstream:
        """A new upstream on a port of its own, open at once.

        Raises:
            ValueError: The name is taken, or there is no such wire.
        """
        if wire not in get_args(Wire):
            raise ValueError(f"{wire!r} is no wire; there are {', '.join(get_args(Wire))}")
        if name in self._upstreams:
            raise ValueError(f"there is an upstream {name!r} already")
        self._upstreams[name] = made = Upstream(self, name, wire, price)
        return made

    def trap(self, wire: Wire) -> Upstream:
        """Where redirects of upstreams of this protocol lead: whatever arrives there was sent to a stranger."""
        name = f"trap-{wire}"
        return self._upstreams.get(name) or self.upstream(name, wire=wire)

    @property
    def trapped(self) -> list[Received]:
        """All requests that followed a redirect."""
        return [asked for name, up in self._upstreams.items() if name.startswith("trap-") for asked in up.requests]

    def start(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        """Play beside everything else; cancelled when the server closes. An error comes out of the server's `async with`."""
        return self._keep(work, self._tasks)

    def join(self, work: Coroutine[Any, Any, object]) -> None:
        """Open a connection."""
        self._keep(work, self._joins)

    def _keep(self, work: Coroutine[Any, Any, object], kept: set[asyncio.Task[object]]) -> asyncio.Task[object]:
        task = asyncio.get_running_loop().create_task(work)
        kept.add(task)
        task.add_done_callback(kept.discard)
        task.add_done_callback(self._note_error)
        return task

    def _note_error(self, task: asyncio.Task[object]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._errors.append(error)
