"""aiohttp's connections, made stricter: what a peer says unasked is no answer to the next request, and broken framing is told at once."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from oblix.models.address import is_home_address

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.client_proto import ResponseHandler

# Looks at a connection before anything is written to it; raises where that may not be.
Guard = Callable[["aiohttp.connector.Connection"], Awaitable[None]]
# Whether the request of the present task opened a connection of its own; set where connections are made.
is_new: ContextVar[bool] = ContextVar("oblix_new_connection", default=True)


def was_heard(error: BaseException) -> bool:
    """Whether bytes of an answer had come on the connection that broke with `error`."""
    return getattr(error, "oblix_heard", False)


@cache
def handler() -> type[ResponseHandler]:
    """The class of our connections; aiohttp is imported at first use."""
    from aiohttp.client_proto import ResponseHandler

    class Handler(ResponseHandler):
        """One connection.

        Expected of aiohttp 3.14.5, and not so: that bytes which come on an idle connection close it. They were parsed, and given to the
        next request as its answer.
        """

        is_asked = False  # a request is under way
        is_heard = False  # bytes have come since it was sent
        passed: object = None  # what the guard let through on it last

        def set_response_params(self, **how: Any) -> None:
            """A request begins."""
            self.is_asked, self.is_heard = True, False
            super().set_response_params(**how)

        def data_received(self, data: bytes) -> None:
            """Bytes came."""
            if data and not self.is_asked:  # aiohttp itself calls with nothing when reading goes on
                self.abort()
                return
            self.is_heard = self.is_heard or bool(data)
            super().data_received(data)

        def set_exception(self, exc: Any, *cause: BaseException) -> None:
            """The connection broke, or what came is no HTTP."""
            if isinstance(exc, Exception):
                exc.oblix_heard = self.is_heard  # type: ignore[attr-defined]  # a note for `was_heard`
            super().set_exception(exc, *cause)
            # Expected: whoever reads the body is told when a chunked one turns to garbage. aiohttp 3.14.5 tells only who waits for
            # headers, so that the reader hung until its own timer ended it.
            body = self._payload
            if body is not None and not body.is_eof() and body.exception() is None:
                body.set_exception(exc, *cause)

    return Handler


@cache
def connector() -> Callable[..., aiohttp.TCPConnector]:
    """The class of our connectors, which takes a `guard` beside aiohttp's own settings; aiohttp is imported at first use."""
    import aiohttp

    class Connector(aiohttp.TCPConnector):
        """Makes and keeps such connections."""

        def __init__(self, *, guard: Guard | None = None, **settings: Any) -> None:
            super().__init__(**settings)
            self._factory = partial(handler(), loop=self._loop)
            self._guard = guard

        async def connect(self, *args: Any, **kwargs: Any) -> aiohttp.connector.Connection:
            """A connection, new or kept, that the guard has let through: the request is written to it next."""
            connection = await super().connect(*args, **kwargs)
            if self._guard is not None:
                try:
                    await self._guard(connection)
                    if connection.closed:  # while the guard looked
                        raise ConnectionResetError("the connection ended before anything was sent")
                except BaseException:
                    connection.close()
                    raise
            return connection

        async def _create_connection(self, *args: Any, **kwargs: Any) -> Any:
            is_new.set(True)
            return await super()._create_connection(*args, **kwargs)

        async def _get(self, key: Any, traces: Any) -> Any:
            # A second answer in the segment that ended the first one is parsed after the release: `should_close` knows of it.
            while (found := await super()._get(key, traces)) and found.protocol and found.protocol.should_close:
                found.close()
            return found

        def _release(self, key: Any, protocol: Any, *, should_close: bool = False) -> None:
            protocol.is_asked = False
            super()._release(key, protocol, should_close=should_close)

    return Connector


def socket_at_home(info: aiohttp.AddrInfoType) -> socket.socket:
    """A socket to an address at home: the last guard, because no resolver is asked about a host that is an address."""
    from oblix.models.resolver import NotAtHome

    family, kind, protocol, _, address = info
    if not is_home_address(str(address[0])):
        raise NotAtHome(address[0])
    return socket.socket(family, kind, protocol)
