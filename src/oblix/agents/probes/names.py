"""Names to addresses, on daemon threads: a resolver that hangs stops neither the look at other endpoints, nor the exit."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, NamedTuple

MOST_ADDRESSES = 4  # of one name
ASK_AGAIN = 0.5  # seconds
MOST_QUESTIONS = 3  # about one name at a time; a resolver holds each for ten seconds when nobody answers it


class Address(NamedTuple):
    """An address as sockets take it."""

    family: int
    where: tuple[Any, ...]

    @property
    def host_and_port(self) -> tuple[str, int]:
        """The two that every family has."""
        return str(self.where[0]), int(self.where[1])


class Found(NamedTuple):
    """What came of a look-up.

    Attributes:
        addresses: Those that were found; if it failed, those that were found before.
        lookup_ms: How long it took; `None` where nothing had to be looked up.
        failed: The name has no address now, or the resolver did not answer in time.
        failures: How many questions got no address, or no answer in time, and were not told of before.
    """

    addresses: tuple[Address, ...]
    lookup_ms: float | None = None
    failed: bool = False
    failures: int = 0


Resolve = Callable[[str, int], list[Any]]


def _system_resolver(host: str, port: int) -> list[Any]:
    # As real traffic asks: no IPv6 addresses where this machine has none.
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)


class Names:
    """Remembers the latest addresses of each name, for when the DNS is dead.

    Args:
        resolve: As `socket.getaddrinfo`; it may hang. `MOST_QUESTIONS` threads at a time ask for a name, however often that is wanted.
    """

    def __init__(self, resolve: Resolve = _system_resolver) -> None:
        self._resolve = resolve
        self._known: dict[tuple[str, int], tuple[Address, ...]] = {}
        self._asking: dict[tuple[str, int], list[_Question]] = {}
        self._lock = threading.Lock()

    def known(self, host: str, port: int) -> tuple[Address, ...]:
        """The addresses that are remembered, or that need no look-up."""
        return _literal(host, port) or self._known.get((host, port), ())

    def look_up(self, host: str, port: int, within: float) -> Found:
        """Ask the resolver, and wait for so many seconds at most. One that is slow is asked again meanwhile: a packet may be lost."""
        literal = _literal(host, port)
        if literal:
            return Found(literal)
        began = time.monotonic()
        answered = threading.Event()
        questions: list[_Question] = []
        while not answered.is_set() and (left := began + within - time.monotonic()) > 0:
            if len(questions) < MOST_QUESTIONS:
                questions.append(self._question(host, port, answered))
            answered.wait(min(left, ASK_AGAIN) if len(questions) < MOST_QUESTIONS else left)
        took = 1000 * (time.monotonic() - began)
        found = next((question.found for question in questions if question.found), None)
        if found:
            return Found(found, took)
        failures = {id(question): question for question in questions if not question.is_told}
        for question in failures.values():
            question.is_told = True
        return Found(self._known.get((host, port), ()), took, failed=True, failures=len(failures))

    def _question(self, host: str, port: int, answered: threading.Event) -> _Question:
        """A new one, unless as many as may be are open: then the newest of those."""
        with self._lock:
            open_ = self._asking.setdefault((host, port), [])
            is_new = len(open_) < MOST_QUESTIONS
            question = _Question() if is_new else open_[-1]
            question.listeners.append(answered)
            if is_new:
                open_.append(question)
        if is_new:
            threading.Thread(
                target=self._ask, args=(host, port, question), name=f"oblix-name-{host}", daemon=True
            ).start()
        return question

    def _ask(self, host: str, port: int, question: _Question) -> None:
        try:
            rows = self._resolve(host, port)
        except (OSError, UnicodeError):
            rows = []
        found = tuple(dict.fromkeys(Address(row[0], row[4]) for row in rows))[:MOST_ADDRESSES]
        with self._lock:
            question.found = found
            if found:
                self._known[host, port] = found
            self._asking[host, port].remove(question)
            listeners = tuple(question.listeners)
        for listener in listeners:
            listener.set()


class _Question:
    def __init__(self) -> None:
        self.found: tuple[Address, ...] | None = None  # `None`: not answered; empty: there is no such name
        self.is_told = False
        self.listeners: list[threading.Event] = []


def _literal(host: str, port: int) -> tuple[Address, ...]:
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761: no resolver is asked
        return Address(socket.AF_INET, ("127.0.0.1", port)), Address(socket.AF_INET6, ("::1", port, 0, 0))
    try:
        address = ip_address(host)
    except ValueError:
        return ()
    if address.version == 6:
        return (Address(socket.AF_INET6, (host, port, 0, 0)),)
    return (Address(socket.AF_INET, (host, port)),)
