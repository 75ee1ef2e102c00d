"""The way to the hooked cloud endpoints: is there a route, and how long does a TCP connection take?"""

from __future__ import annotations

import errno
import selectors
import socket
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from oblix.types.traffic import Endpoint

MOST_ADDRESSES = 4  # of one name
TIMEOUT = 2.0  # seconds for a connection; a SYN that is lost once is sent again after one second
_NO_WAY_OUT = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}

_SAID_NO = {errno.ECONNREFUSED: "connection refused", errno.ECONNRESET: "connection reset"}


@dataclass(frozen=True, slots=True)
class Link:
    """What came of one connection.

    Attributes:
        connect_ms: Milliseconds until connected, `None` when it failed.
        trouble: Why it failed, in words.
        local: It failed on this side: no route, no name look-up, silence. `False`: the host itself said no.
        address: The address used, for later route checks.
    """

    endpoint: Endpoint
    connect_ms: float | None = None
    trouble: str | None = None
    local: bool = True
    address: tuple[str, int] | None = None


def measure(endpoints: tuple[Endpoint, ...], timeout: float = TIMEOUT) -> tuple[Link, ...]:
    """Connect to every endpoint, all at once, and hang up. Name look-up may block: only for a sensor's own thread."""
    links: dict[Endpoint, Link] = {}
    with selectors.DefaultSelector() as selector:
        for endpoint in endpoints:
            _dial(endpoint, selector, links)
        deadline = time.monotonic() + timeout
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                selector.unregister(key.fileobj)
                _note(links, _answered(key.fileobj, *key.data))
        for key in list(selector.get_map().values()):
            endpoint, address, _ = key.data
            _note(links, Link(endpoint, trouble=f"no answer within {timeout:.0f} s", address=address))
            key.fileobj.close()  # type: ignore[union-attr]
    return tuple(links[endpoint] for endpoint in endpoints)


def has_route(address: tuple[str, int]) -> bool:
    """Whether the kernel knows a way to that address. Sends nothing: connecting a datagram socket only looks the route up."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address)
        except OSError as error:
            return error.errno not in _NO_WAY_OUT
    return True


def _dial(endpoint: Endpoint, selector: selectors.BaseSelector, links: dict[Endpoint, Link]) -> None:
    """Dial every address of the endpoint: the first that answers counts, as for real traffic (happy eyeballs)."""
    host, port = _through(endpoint)
    try:
        found = dict.fromkeys(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        links[endpoint] = Link(endpoint, trouble=f"{host} cannot be looked up")
        return
    for family, kind, _, _, address in list(found)[:MOST_ADDRESSES]:
        where = (str(address[0]), port)
        started = time.monotonic()
        try:
            dial = socket.socket(family, kind)
        except OSError as error:  # this system does not speak that family
            _note(links, _failed(endpoint, error.errno or 0, where))
            continue
        dial.setblocking(False)
        code = dial.connect_ex(address)
        if code in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            selector.register(dial, selectors.EVENT_WRITE, (endpoint, where, started))
        else:
            dial.close()
            _note(links, _failed(endpoint, code, where))


def _note(links: dict[Endpoint, Link], link: Link) -> None:
    """Keep the first connection; a failure only where there is none, a refusal of the host rather than silence."""
    before = links.get(link.endpoint)
    if before is None or (before.trouble is not None and (link.trouble is None or (before.local and not link.local))):
        links[link.endpoint] = link


def _answered(dial: object, endpoint: Endpoint, address: tuple[str, int], started: float) -> Link:
    assert isinstance(dial, socket.socket)
    took = 1000 * (time.monotonic() - started)
    code = dial.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    dial.close()
    return _failed(endpoint, code, address) if code else Link(endpoint, took, address=address)


def _failed(endpoint: Endpoint, code: int, address: tuple[str, int]) -> Link:
    words = _SAID_NO.get(code) or ("no route" if code in _NO_WAY_OUT else errno.errorcode.get(code, str(code)))
    return Link(endpoint, trouble=words, local=code not in _SAID_NO, address=address)


def _through(endpoint: Endpoint) -> tuple[str, int]:
    """Host and port that real traffic goes to first: a proxy, where the environment names one for this endpoint."""
    import urllib.request  # takes 25 ms to import

    proxy = urllib.request.getproxies().get(endpoint.scheme)
    if proxy and not urllib.request.proxy_bypass(endpoint.host):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if parts.hostname:
            return parts.hostname, parts.port or 80
    return endpoint.host, endpoint.port
