"""From what aiohttp and the system raise to a failure of a named kind: the one place where foreign exceptions of the wire become ours."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from oblix.errors import AttemptFailed, FailureKind
from oblix.types.spec import ModelSpec
from oblix.types.traffic import Trouble

if TYPE_CHECKING:
    import aiohttp

# Not every system has every name.
_NO_WAY_OUT = {
    number
    for name in ("ENETUNREACH", "EHOSTUNREACH", "ENETDOWN", "EADDRNOTAVAIL", "EHOSTDOWN", "ENONET")
    if (number := getattr(errno, name, None)) is not None
}

_TROUBLES: dict[int, Trouble] = {
    **dict.fromkeys(_NO_WAY_OUT, "no_route"),
    errno.ETIMEDOUT: "silence",
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.ECONNABORTED: "reset",
    errno.EPIPE: "reset",
}
_SAID: tuple[Trouble, ...] = (
    "refused",
    "reset",
    "silence",
    "no_route",
)  # the first one counts, where addresses of a name differ


class ShutDown(ConnectionError):
    """Tells a reader that its client was shut down."""


@cache
def dropped() -> tuple[type[Exception], ...]:
    """What aiohttp raises when the peer closes the connection before it answers."""
    import aiohttp

    return (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


@cache
def foreign() -> tuple[type[Exception], ...]:
    """What aiohttp and the system raise. `HttpProcessingError` stands outside of aiohttp's own tree."""
    import aiohttp
    from aiohttp.http_exceptions import HttpProcessingError

    return (aiohttp.ClientError, HttpProcessingError, OSError, ValueError)


def off_protocol(response: aiohttp.ClientResponse, spec: ModelSpec) -> AttemptFailed:
    """The failure for a redirect, or for an answer that is compressed unasked."""
    to = urlsplit(response.headers.get("location", "")).netloc
    what = f"redirects to {to or 'elsewhere'}" if 300 <= response.status < 400 else "compresses its answer unasked"
    return AttemptFailed(
        FailureKind.PROTOCOL,
        f"{spec.id} at {spec.endpoint} {what} (HTTP {response.status}), which is never followed",
        status=response.status,
        hint="Give the final address as `endpoint`; a captive portal or proxy may also answer in its place.",
    )


def translate(error: BaseException, spec: ModelSpec, *, answered: bool) -> AttemptFailed:
    """Every exception of aiohttp and the system, as a failure of a named kind. `answered`: the headers had come."""
    import aiohttp

    if isinstance(error, AttemptFailed):
        return error
    if isinstance(error, ShutDown):
        return AttemptFailed(FailureKind.CANCELLED, f"{spec.id}: the client was shut down before its answer ended")
    at = f"'{spec.id}' at {spec.endpoint}"
    if answered and isinstance(error, aiohttp.ClientError | OSError):
        return AttemptFailed(FailureKind.TRUNCATED, f"the answer of {at} broke off: {_words(error)}", cause=error)
    if isinstance(
        error, aiohttp.ClientConnectorError | aiohttp.ClientSSLError | ssl.SSLError | socket.gaierror | TimeoutError
    ):
        return _not_connected(error, at, spec)
    return _unsendable(error, at, spec) or _unanswered(error, at)


def _unsendable(error: BaseException, at: str, spec: ModelSpec) -> AttemptFailed | None:
    """The address or the request is at fault, or the proxy: nothing went through."""
    import aiohttp

    if isinstance(error, aiohttp.ClientHttpProxyError):
        return AttemptFailed(
            FailureKind.CONNECT, f"no answer from {at}: the proxy refused (HTTP {error.status})", cause=error
        )
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return AttemptFailed(
            FailureKind.BAD_REQUEST, f"{spec.endpoint!r} is no usable address for {spec.id}: {error}", cause=error
        )
    if isinstance(error, ValueError):
        return AttemptFailed(
            FailureKind.BAD_REQUEST,
            f"the request to {at} cannot be sent: {error}",
            hint="Look for line breaks and other control characters in the key.",
            cause=error,
        )
    return None


def _unanswered(error: BaseException, at: str) -> AttemptFailed:
    """There was a connection, and no answer came of it."""
    import aiohttp
    from aiohttp.http_exceptions import HttpProcessingError

    if isinstance(error, aiohttp.ClientResponseError | HttpProcessingError):
        return AttemptFailed(
            FailureKind.PROTOCOL, f"{at} does not answer in HTTP as it should: {_words(error)}", cause=error
        )
    if isinstance(error, aiohttp.ClientError | OSError):
        failure = AttemptFailed(
            FailureKind.CONNECT, f"{at} dropped the connection before it answered: {_words(error)}", cause=error
        )
        # The request, or some of it, is on its way, and may be worked on, and charged for.
        failure.certainty = "possibly_accepted"
        return failure
    return AttemptFailed(FailureKind.INTERNAL, f"{at}: {type(error).__name__}: {error}", cause=error)


def _not_connected(error: Any, at: str, spec: ModelSpec) -> AttemptFailed:
    import aiohttp

    from oblix.models.resolver import NotAtHome

    kind, why, hint = FailureKind.CONNECT, _words(error), None
    number = getattr(error, "errno", None)
    if isinstance(error.__cause__, NotAtHome) or isinstance(getattr(error, "os_error", None), NotAtHome):
        kind, why = FailureKind.POLICY, "the name leads to an address away from home"
        hint = "If the server is not yours, hook it with place='cloud'."
    elif isinstance(error, aiohttp.ClientConnectorDNSError | socket.gaierror):
        kind, why = FailureKind.DNS, "its name cannot be looked up"
    elif isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError | ssl.SSLError):
        kind, why = FailureKind.TLS, f"no trusted connection: {_words(error)}"
    elif isinstance(error, TimeoutError) or number == errno.ETIMEDOUT:
        kind, why = FailureKind.TIMEOUT_CONNECT, "no connection within its time"
    elif number in _NO_WAY_OUT:
        kind, why = FailureKind.LOCAL_NETWORK, "the network is unreachable from here"
    elif number == errno.ECONNREFUSED:
        why = "connection refused"
        hint = "Start it with `ollama serve`, or give the right `endpoint`." if spec.provider == "ollama" else None
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        why, hint = f"the proxy on the way: {why}", "Look at HTTPS_PROXY, HTTP_PROXY and NO_PROXY."
    return AttemptFailed(kind, f"no answer from {at}: {why}", hint=hint, cause=error)


def _words(error: BaseException) -> str:
    if "ConnectionResetError" in str(error) or isinstance(error, ConnectionResetError):
        return "connection reset"
    if type(error).__name__ == "ClientPayloadError":
        return "the connection ended before the answer did"
    inner = getattr(error, "os_error", None) or error
    text = getattr(inner, "strerror", None) or str(inner)
    return str(text) or type(error).__name__


def trouble_of(error: Exception) -> Trouble:
    """What an exception of aiohttp or the system says about the way to a host."""
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorDNSError | socket.gaierror):
        return "lookup"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.CertificateError):
        return "certificate"
    if isinstance(error, TimeoutError) and error.errno is None:
        return "silence"
    inner = getattr(error, "os_error", None) or error
    number = getattr(inner, "errno", None)
    if number in _TROUBLES:
        return _TROUBLES[number]
    # Several addresses that failed in several ways: aiohttp's helper leaves their numbers in the text only.
    told = {_TROUBLES.get(int(found)) for found in re.findall(r"\[Errno (\d+)\]", str(inner))}
    if isinstance(inner, ConnectionResetError):
        return "reset"
    return next((trouble for trouble in _SAID if trouble in told), "other")
