"""A streamed answer: an asynchronous iterable of texts, with the reply at its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Self

from oblix.errors import InvalidRequest, OblixError
from oblix.types.chunk import Reset
from oblix.types.reply import Reply

Start = Callable[[], AsyncIterator[str | Reset | Reply]]


class Stream:
    """`async with client.stream(prompt) as s: async for text in s: …`, then `await s.reply()`.

    Leaving the block early stops the model. With `on_break="restart"` a `Reset` may come between two texts: what came before it is
    void, and the answer starts again.
    """

    def __init__(self, start: Start) -> None:
        self._start = start
        self._events: AsyncIterator[str | Reset | Reply] | None = None
        self._reply: Reply | None = None
        self._error: OblixError | None = None

    async def __aenter__(self) -> Self:
        self._events = self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        events, self._events = self._events, None
        close: Callable[[], Awaitable[None]] | None = getattr(events, "aclose", None)
        if close is not None:
            await close()

    def __aiter__(self) -> AsyncIterator[str | Reset]:
        return self

    async def __anext__(self) -> str | Reset:
        if self._events is None:
            raise InvalidRequest("The stream is not open.", hint="Use it as: async with client.stream(…) as s: …")
        if self._reply is not None:
            raise StopAsyncIteration
        if self._error is not None:
            raise self._error.with_traceback(None)
        try:
            event = await anext(self._events)
        except OblixError as error:
            self._error = error
            raise
        if isinstance(event, str | Reset):
            return event
        self._reply = event
        raise StopAsyncIteration

    async def reply(self) -> Reply:
        """The whole reply; reads what is left of the stream. A stream that failed fails here again."""
        while self._reply is None:
            try:
                await anext(self)
            except StopAsyncIteration:
                break
        assert self._reply is not None
        return self._reply
