"""Connections of the cloud lane, which tell `Traffic` what they show of the way; what they let through is up to `connections` alone."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from functools import cache, partial
from typing import TYPE_CHECKING, Any, cast

from oblix.models.connections import connector, handler
from oblix.models.dial import Dial
from oblix.models.foreign import trouble_of
from oblix.models.traffic import BULK, Tap, Traffic

if TYPE_CHECKING:
    import aiohttp
    from aiohttp import TCPConnector
    from aiohttp.client_proto import ResponseHandler
else:  # aiohttp is imported at first use; the classes below are joined with its own there
    TCPConnector = ResponseHandler = object

# What the present task dials. aiohttp times no step of a connection (its tracing does not tell TCP from TLS, and costs every request).
# But our resolver looks the name up, each socket is made by our factory right before its first packet leaves, and each protocol by ours
# once TCP stands, right before TLS begins: all of them in this context, or in a copy of it.
_dialled: ContextVar[Dial | None] = ContextVar("oblix_dial", default=None)


class _Tapped(ResponseHandler):
    """One connection; untapped until it is made, and where it is a tunnel through a proxy."""

    traffic: Traffic
    tap: Tap | None = None

    def data_received(self, data: bytes) -> None:
        """Bytes came: on the path of every token."""
        tap = self.tap
        if tap is not None:
            if tap.heard_at is None:
                tap.heard_at = self.traffic.clock()
            if len(data) >= BULK:
                self.traffic.took(tap, len(data))
        super().data_received(data)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """The head of an answer came."""
        if self.tap is not None:
            self.tap.answered(data[0].code, data[0].headers)
        super().feed_data(data, size)

    def pause_reading(self) -> None:
        """More has come than is taken."""
        if self.tap is not None:
            self.tap.is_read = False
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """It is taken again."""
        if self.tap is not None:
            self.tap.is_read = True
        super().resume_reading(resume_parser)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """What came is no HTTP, or its end is missing."""
        if self.tap is not None:
            self.tap.trouble = self.tap.trouble or "other"
        super().set_exception(exc, *cause)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is no more; its counters can be read until this returns."""
        tap, body = self.tap, self._payload
        if tap is not None and isinstance(exc, Exception):
            tap.trouble = trouble_of(exc)
        super().connection_lost(exc)
        if tap is not None:
            if body is not None and body.exception() is not None:
                tap.trouble = tap.trouble or "other"
            self.traffic.ended(tap)


class _Telling(TCPConnector):
    """Makes and keeps such connections."""

    def __init__(self, *, traffic: Traffic, **settings: Any) -> None:
        super().__init__(socket_factory=_socket_for, **settings)
        self._factory = partial(_reached, partial(_tapped(), loop=self._loop))
        self._traffic = traffic

    async def connect(self, req: aiohttp.ClientRequest, *args: Any, **kwargs: Any) -> aiohttp.connector.Connection:
        """A connection; the request is written to it next."""
        try:
            connection = await super().connect(req, *args, **kwargs)
        except BaseException as error:
            # A time-out shows as such only out here; within it is a cancellation.
            if (dial := _dialled.get()) is not None:
                _dialled.set(None)
                self._traffic.failed(dial, error)
            raise
        protocol: Any = connection.protocol
        self._traffic.asked(protocol.tap, int(req.headers.get("Content-Length", 0)))
        return connection

    async def _create_connection(self, req: aiohttp.ClientRequest, *args: Any, **kwargs: Any) -> ResponseHandler:
        dial = self._traffic.dial(is_proxied=req.proxy is not None, is_secure=req.is_ssl())
        _dialled.set(dial)
        protocol: Any = await super()._create_connection(req, *args, **kwargs)
        _dialled.set(None)
        protocol.traffic, protocol.tap = self._traffic, self._traffic.connected(dial)
        made: ResponseHandler = protocol
        return made

    def _release(self, key: Any, protocol: Any, *, should_close: bool = False) -> None:
        if protocol.tap is not None:
            self._traffic.ended(protocol.tap)
        super()._release(key, protocol, should_close=should_close)

    def forget_idle(self) -> None:
        """Close the connections that are kept for later, and forget addresses: they may be those of another network."""
        for row in self._conns.values():
            for protocol, _ in row:
                protocol.abort()  # a farewell could only wait for an answer
        self._conns.clear()
        self.clear_dns_cache()


@cache
def telling_connector() -> Callable[..., aiohttp.TCPConnector]:
    """The class of connectors that tell; takes `traffic` beside what `connections.connector` takes."""
    return type("TellingConnector", (_Telling, cast("Any", connector())), {})


@cache
def _tapped() -> type[ResponseHandler]:
    return type("TappedHandler", (_Tapped, handler()), {})


def looking_up() -> AbstractContextManager[None]:
    """Around a look-up for the present task; who waits for one that another task began is not in it."""
    dial = _dialled.get()
    return nullcontext() if dial is None else dial.looking_up()


def _socket_for(address: aiohttp.AddrInfoType) -> socket.socket:
    dial = _dialled.get()
    assert dial is not None
    return dial.socket_for(address)


def _reached(make: Any) -> Any:
    if (dial := _dialled.get()) is not None:
        dial.reached()
    return make()
