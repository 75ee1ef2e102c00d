"""Which proxy real traffic to an endpoint would take."""

from __future__ import annotations

from base64 import b64encode
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from oblix.models.address import is_home_address
from oblix.types.traffic import Endpoint


class Proxy(NamedTuple):
    """A proxy.

    Attributes:
        authorization: Value of its header, `None` without a login, or where it would not be encrypted although it should be.
        is_plain: It is spoken to without TLS.
    """

    host: str
    port: int
    authorization: str | None = None
    is_plain: bool = True

    def __repr__(self) -> str:
        return f"Proxy({self.host!r}, {self.port})"  # a login is never shown


def proxy_to(endpoint: Endpoint) -> Proxy | None:
    """As the environment has it (`HTTPS_PROXY`, `NO_PROXY`, …), and none to addresses at home: the rules of the transport.

    May ask the system, and block, where that is not Linux: only for a sensor's own thread.
    """
    import urllib.request  # takes 25 ms to import

    if is_home_address(endpoint.host):
        return None
    named = urllib.request.getproxies().get(endpoint.scheme)
    if not named or urllib.request.proxy_bypass(endpoint.host):
        return None
    parts = urlsplit(named if "://" in named else f"http://{named}")
    is_plain = parts.scheme == "http"
    try:
        port = parts.port or (80 if is_plain else 443)
    except ValueError:  # no port at all: real traffic fails by it as well, and tells
        return None
    if not parts.hostname:
        return None
    login = None
    if is_plain and parts.username is not None:
        words = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        login = "Basic " + b64encode(words.encode()).decode()
    return Proxy(parts.hostname, port, login, is_plain)
