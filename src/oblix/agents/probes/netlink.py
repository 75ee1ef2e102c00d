"""Changes of links, addresses and routes, told by the Linux kernel as they happen."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

# Multicast groups of linux/rtnetlink.h: links, addresses and routes of both families.
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_SETTLE = 0.02  # seconds; pulling one cable makes a dozen messages
_MOST = 65536  # bytes; what a message says does not matter here, that it came does


class Watch:
    """Calls back, on a daemon thread of its own, each time that the network may have changed: at once, and when no more comes.

    Args:
        changed: Called without arguments; told nothing, it looks for itself.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._stop: int | None = None  # the end of a pipe whose closing ends the thread
        self._glance: select.poll | None = None  # of our own: the thread's is in use
        self._owner = 0
        self._lock = threading.RLock()  # the garbage collector may call `stop` from within `start`

    @property
    def is_running(self) -> bool:
        """Whether the kernel tells this process."""
        return self._stop is not None and self._owner == os.getpid()

    def has_news(self) -> bool:
        """Whether the kernel has told of something that nobody was called back for yet. Takes a microsecond, on any thread."""
        glance = self._glance
        return glance is not None and self._owner == os.getpid() and bool(glance.poll(0))

    def start(self) -> bool:
        """Begin to listen; `False` where this system does not tell."""
        if self._owner != os.getpid():  # a fork may have taken the lock along as another thread held it
            self._lock, self._stop, self._glance = threading.RLock(), None, None
        with self._lock:
            return self.is_running or self._start()

    def _start(self) -> bool:
        family = getattr(socket, "AF_NETLINK", None)
        if family is None:
            return False
        try:
            news = socket.socket(family, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        except OSError:
            return False
        try:
            news.bind((0, _GROUPS))
        except OSError:  # a sandbox may forbid it
            news.close()
            return False
        news.setblocking(False)
        ending, self._stop = os.pipe()
        os.set_blocking(self._stop, False)
        self._owner = os.getpid()
        self._glance = select.poll()
        self._glance.register(news, select.POLLIN)
        threading.Thread(target=_listen, args=(news, ending, self._changed), name="oblix-netlink", daemon=True).start()
        return True

    def stop(self) -> None:
        """Let the thread end. Stopping twice does no harm."""
        with self._lock if self._owner == os.getpid() else threading.RLock():
            stop, self._stop, self._glance = self._stop, None, None
        if stop is not None:
            with suppress(OSError):
                os.write(stop, b"x")  # closing alone is no end while a forked child holds the other copy
            os.close(stop)


def _listen(news: socket.socket, ending: int, changed: Callable[[], None]) -> None:
    with news:
        poll = select.poll()
        poll.register(news, select.POLLIN)
        poll.register(ending, select.POLLIN)
        while not any(number == ending for number, _ in poll.poll()):
            changed()  # before it is taken in: `has_news` and what the callback leaves must not both say no meanwhile
            _drain(news)
            if any(number == ending for number, _ in poll.poll(1000 * _SETTLE)):
                break
            _drain(news)
            changed()
    os.close(ending)


def _drain(news: socket.socket) -> None:
    while True:
        try:
            news.recv(_MOST)
        except BlockingIOError:
            return
        except OSError:  # ENOBUFS: more came than was kept, which is a change like any other
            continue
