"""Every exception of aiohttp and the system has a kind of ours."""

from __future__ import annotations

import errno
import importlib
import ssl
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from oblix.errors import FailureKind
from oblix.models.foreign import foreign, translate

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
