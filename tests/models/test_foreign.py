"""Every exception of aiohttp and the system has a kind of ours."""

from __future__ import annotations

import errno
import importlib
import socket
import ssl
from typing import Any

import aiohttp
import pytest
from aiohttp import http_exceptions
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from oblix.errors import FailureKind
from oblix.models.foreign import foreign, translate
from oblix.types.failure import treatment

from .test_transport import spec_at

K = FailureKind


def foreign_classes() -> list[type[BaseException]]:
    """Every exception that aiohttp and the system can raise at us: the whole tree below what we catch."""
    importlib.import_module("aiohttp.client_exceptions")
    seen: dict[type[BaseException], None] = {}
    todo: list[type[BaseException]] = [*foreign()]
    while todo:
        kind = todo.pop()
        if kind not in seen and kind.__module__.split(".")[0] in ("aiohttp", "builtins", "ssl", "socket"):
            seen[kind] = None
            todo += kind.__subclasses__()
    return list(seen)


# What stands outside of the tree that we catch, and why it never comes from a question of ours.
STRANGERS = {
    "aiohttp.web": "what a server raises",
    "aiohttp._websocket": "no web socket is opened",
    "aiohttp.client_exceptions.WSMessageTypeError": "no web socket is opened",
    "aiohttp.multipart": "no form is sent or read",
    "aiohttp.payload.LookupError": "a body is bytes, for which no encoder is looked up",
    "aiohttp.streams.EofStream": "told to readers of web sockets",
    "aiohttp.test_utils": "for tests",
    "asyncio": "locks, queues, streams and files of asyncio's own, which no connection of ours uses; cancellation travels on",
    "socket._GiveupOnSendfile": "no file is sent",
    "zlib.error": "what is compressed is refused unread",
}


def strangers() -> list[str]:
    """Every exception of aiohttp and of the system's modules for the network that is not below what we catch."""
    seen: set[type[BaseException]] = set()
    todo: list[type[BaseException]] = [BaseException]
    while todo:
        fresh = set(todo.pop().__subclasses__()) - seen
        seen |= fresh
        todo += fresh
    rooms = ("aiohttp", "socket", "_socket", "ssl", "_ssl", "asyncio", "zlib", "multidict", "yarl", "idna", "select")
    return [
        f"{kind.__module__}.{kind.__qualname__}"
        for kind in seen
        if kind.__module__.split(".")[0] in rooms and not issubclass(kind, foreign())
    ]


def test_what_is_not_caught_cannot_come() -> None:
    """An exception that a new release brings has to be caught, or listed with a reason."""
    for name in ("client_exceptions", "http_exceptions", "compression_utils", "client_proto", "connector", "streams"):
        importlib.import_module(f"aiohttp.{name}")
    unknown = [name for name in strangers() if not name.startswith(tuple(STRANGERS))]
    assert unknown == []


def made(kind: Any) -> BaseException:
    """One of them, as its library would make it."""
    key = aiohttp.client_reqrep.ConnectionKey("x.example", 443, True, True, None, None, None)
    url = URL("http://x.example")
    error: BaseException
    if issubclass(kind, aiohttp.InvalidURL):
        error = kind(url)
    elif issubclass(kind, aiohttp.client_exceptions.UnixClientConnectorError):
        error = kind("/x.sock", key, OSError(errno.ENOENT, "said"))
    elif issubclass(kind, aiohttp.ClientConnectorCertificateError):
        error = kind(key, ssl.CertificateError("said"))
    elif issubclass(kind, aiohttp.ClientConnectorError):
        error = kind(key, OSError(errno.ECONNREFUSED, "said"))
    elif issubclass(kind, aiohttp.ClientResponseError):
        info = aiohttp.RequestInfo(url, "POST", CIMultiDictProxy(CIMultiDict()), url)
        error = kind(info, (), status=400, message="said")
    else:
        error = kind.__new__(kind)
    return error


@pytest.mark.parametrize("answered", [False, True], ids=["before the headers", "after the headers"])
@pytest.mark.parametrize("kind", foreign_classes(), ids=lambda kind: kind.__name__)
def test_no_foreign_exception_is_unknown(kind: type[BaseException], answered: bool) -> None:
    """The whole foreign tree has a kind of ours, and never the one that stands for our own slips."""
    failure = translate(made(kind), spec_at("http://x.example"), answered=answered)
    assert failure.kind is not K.INTERNAL, failure


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ECONNREFUSED, K.CONNECT),
        (errno.ECONNRESET, K.CONNECT),
        (errno.ETIMEDOUT, K.TIMEOUT_CONNECT),
        (errno.ENETUNREACH, K.LOCAL_NETWORK),
        (errno.EHOSTUNREACH, K.LOCAL_NETWORK),
        (errno.ENETDOWN, K.LOCAL_NETWORK),
        (errno.EADDRNOTAVAIL, K.LOCAL_NETWORK),
    ],
    ids=lambda value: str(value) if isinstance(value, FailureKind) else errno.errorcode[value],
)
def test_why_no_connection_came_about(number: int, kind: FailureKind) -> None:
    key = aiohttp.client_reqrep.ConnectionKey("x.example", 80, False, True, None, None, None)
    error = aiohttp.ClientConnectorError(key, OSError(number, "said"))
    assert translate(error, spec_at("http://x.example"), answered=False).kind is kind


@pytest.mark.parametrize(
    ("error", "kind", "certainty"),
    [
        (made(aiohttp.ClientConnectorError), K.CONNECT, None),
        (made(aiohttp.ClientConnectorCertificateError), K.TLS, None),
        (ssl.SSLCertVerificationError("said"), K.TLS, None),
        (made(aiohttp.ClientConnectorDNSError), K.DNS, None),
        (socket.gaierror(socket.EAI_NONAME, "said"), K.DNS, None),
        (made(aiohttp.ConnectionTimeoutError), K.TIMEOUT_CONNECT, None),
        (made(aiohttp.ClientProxyConnectionError), K.CONNECT, None),
        (made(aiohttp.ClientHttpProxyError), K.CONNECT, None),
        (made(aiohttp.ServerDisconnectedError), K.CONNECT, "possibly_accepted"),
        (aiohttp.ClientOSError(errno.ECONNRESET, "said"), K.CONNECT, "possibly_accepted"),
        (aiohttp.ClientConnectionResetError("said"), K.CONNECT, "possibly_accepted"),
        (made(http_exceptions.BadStatusLine), K.PROTOCOL, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_what_the_peer_can_know(error: BaseException, kind: FailureKind, certainty: str | None) -> None:
    """A connection that was never made carried nothing; one that broke may have carried the request, which may be charged for."""
    failure = translate(error, spec_at("http://x.example"), answered=False)
    assert (failure.kind, failure.certainty) == (kind, certainty)
    told = certainty or treatment(failure.kind).certainty
    assert (told == "not_sent") is (certainty is None and kind is not K.PROTOCOL)


@pytest.mark.parametrize(
    "kind", [TimeoutError, ConnectionResetError, aiohttp.ClientPayloadError], ids=lambda k: k.__name__
)
def test_what_breaks_after_the_headers_is_a_truncated_answer(kind: type[BaseException]) -> None:
    """Also where the system gives up on a connection after a time: it had been made."""
    assert translate(made(kind), spec_at("http://x.example"), answered=True).kind is K.TRUNCATED
