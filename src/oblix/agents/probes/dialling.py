"""First packets of connections: to all addresses of an endpoint at once, or in a burst that finds out whether a way is cut."""

from __future__ import annotations

import errno
import selectors
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import NamedTuple

from oblix.agents.probes.link import NO_WAY_OUT, has_route
from oblix.agents.probes.names import Address
from oblix.models import tcp_info
from oblix.types.traffic import Endpoint, Exchange, Trouble

Tell = Callable[[Exchange], None]
# Seconds between two first packets to one endpoint in a burst. Close enough for a verdict within a second, far enough apart that a queue
# which overflows for an instant does not swallow them all.
EVERY = 0.03
LONGEST = 2.5  # seconds for a burst
MOST_PACKETS = 60  # of a burst, to each endpoint
MOST_ENDPOINTS = 4  # in a burst


class Dialled(NamedTuple):
    """What came of dialling: a connected socket, or why there is none."""

    connection: socket.socket | None
    address: Address | None = None
    connect_ms: float | None = None
    trouble: Trouble | None = None


def dial(addresses: Sequence[Address], within: float) -> Dialled:
    """Connect to the first of the addresses that answers; of the failures a word of the host counts for more than silence."""
    failures: list[Dialled] = []
    with selectors.DefaultSelector() as selector:
        for address in addresses:
            _begin(address, selector, failures)
        deadline = time.monotonic() + within
        connected = None
        while connected is None and selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                selector.unregister(key.fileobj)
                done = _ended(key.fileobj, *key.data)
                if done.connection is None:
                    failures.append(done)
                elif connected is None:
                    connected = done
                else:
                    done.connection.close()
        for key in list(selector.get_map().values()):
            _close(key.fileobj)
            failures.append(Dialled(None, key.data[0], 1000 * within, "silence"))
    return connected or min(failures, key=_weight, default=Dialled(None, trouble="other"))


def knock(
    targets: Mapping[Endpoint, Sequence[Address]], tell: Tell, *, go_on: Callable[[], bool], patience: float
) -> None:
    """Send first packets to every endpoint, one each `EVERY` seconds, and tell what comes of each, until it is enough.

    Args:
        go_on: Asked after each round; `False` ends the burst.
        patience: Seconds after which a packet counts as unanswered. One that is answered later is told as well.
    """
    began = time.monotonic()
    endless = {}
    for endpoint, addresses in list(targets.items())[:MOST_ENDPOINTS]:
        routed = [address for address in addresses if has_route(address.host_and_port)]
        if routed:  # of a name with addresses of both families, one that no route leads to says nothing of the other
            endless[endpoint] = cycle(routed)
        elif addresses:
            tell(Exchange(endpoint, began, "connect", is_probe=True, trouble="no_route"))
    waiting: dict[socket.socket, tuple[Endpoint, float]] = {}
    overdue: set[socket.socket] = set()
    sent = 0
    with selectors.DefaultSelector() as selector:
        try:
            while endless and go_on() and (now := time.monotonic()) - began < LONGEST:
                if sent < MOST_PACKETS and now - began >= sent * EVERY:
                    sent += 1
                    for endpoint, turns in endless.items():
                        _knock_once(endpoint, next(turns), selector, waiting, tell)
                for key, _ in selector.select(EVERY):
                    _take(key.fileobj, selector, waiting, tell)
                _count_overdue(waiting, overdue, patience, tell)
                if sent >= MOST_PACKETS and not waiting:
                    return
        finally:
            for each in waiting:
                each.close()


def trouble_of(code: int) -> Trouble:
    """What an error number of a connection means."""
    if code in NO_WAY_OUT:
        return "no_route"
    return _TROUBLES.get(code, "other")


_TROUBLES: dict[int, Trouble] = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.ETIMEDOUT: "silence",
}
_ORDER: tuple[Trouble, ...] = ("refused", "reset", "other", "silence", "no_route")


def _weight(failure: Dialled) -> int:
    return _ORDER.index(failure.trouble) if failure.trouble in _ORDER else len(_ORDER)


def _open(address: Address) -> tuple[socket.socket | None, int]:
    try:
        connection = socket.socket(address.family, socket.SOCK_STREAM)
    except OSError as error:  # this system does not speak that family
        return None, error.errno or 0
    connection.setblocking(False)
    code = connection.connect_ex(address.where)
    if code in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
        return connection, 0
    connection.close()
    return None, code


def _begin(address: Address, selector: selectors.BaseSelector, failures: list[Dialled]) -> None:
    began = time.monotonic()
    connection, code = _open(address)
    if connection is None:
        failures.append(Dialled(None, address, None, trouble_of(code)))
    else:
        selector.register(connection, selectors.EVENT_WRITE, (address, began))


def _ended(connection: object, address: Address, began: float) -> Dialled:
    assert isinstance(connection, socket.socket)
    took = 1000 * (time.monotonic() - began)
    code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if not code:
        return Dialled(connection, address, took)
    connection.close()
    return Dialled(None, address, took, trouble_of(code))


def _knock_once(
    endpoint: Endpoint,
    address: Address,
    selector: selectors.BaseSelector,
    waiting: dict[socket.socket, tuple[Endpoint, float]],
    tell: Tell,
) -> None:
    began = time.monotonic()
    connection, code = _open(address)
    if connection is not None:
        selector.register(connection, selectors.EVENT_WRITE)
        waiting[connection] = (endpoint, began)
    elif (trouble := trouble_of(code)) not in ("other", "no_route"):  # else it went with the last moment's routes
        tell(_word_of(endpoint, began, trouble))


def _word_of(endpoint: Endpoint, at: float, trouble: Trouble) -> Exchange:
    """Somebody said no: the way is not cut, and that is all. One of several addresses may refuse; a look weighs them all."""
    return Exchange(endpoint, at, "answer", is_probe=True, trouble=trouble)


def _take(
    connection: object,
    selector: selectors.BaseSelector,
    waiting: dict[socket.socket, tuple[Endpoint, float]],
    tell: Tell,
) -> None:
    assert isinstance(connection, socket.socket)
    selector.unregister(connection)
    endpoint, began = waiting.pop(connection)
    code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    now, trouble = time.monotonic(), trouble_of(code) if code else None
    if trouble in ("silence", "no_route"):  # the kernel, or a router, gave up: one packet more that got no answer
        tell(Exchange(endpoint, now, "connect", is_probe=True, connect_ms=1000 * (now - began), trouble="silence"))
        connection.close()
        return
    tcp = None if code else tcp_info.read(connection)
    connection.close()
    if trouble is not None:
        tell(_word_of(endpoint, now, trouble))
    else:
        tell(Exchange(endpoint, now, "connect", is_probe=True, connect_ms=1000 * (now - began), tcp=tcp))


def _count_overdue(
    waiting: Mapping[socket.socket, tuple[Endpoint, float]], overdue: set[socket.socket], patience: float, tell: Tell
) -> None:
    now = time.monotonic()
    for connection, (endpoint, began) in waiting.items():
        if connection not in overdue and now - began > patience:
            overdue.add(connection)
            waited = 1000 * (now - began)
            tell(Exchange(endpoint, now, "connect", is_probe=True, connect_ms=waited, trouble="silence"))


def _close(connection: object) -> None:
    assert isinstance(connection, socket.socket)
    connection.close()
