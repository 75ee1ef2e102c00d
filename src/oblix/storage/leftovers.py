"""What still waits to be written when its loop ends, or the program: it is written then.

A loop that was made by hand is closed without a word to those who count on its next turn, or is never run again.
"""

from __future__ import annotations

import asyncio
import atexit
import os
from collections.abc import Callable

Write = Callable[[], None]
_WAITING: dict[Write, asyncio.AbstractEventLoop] = {}


def keep(write: Write, loop: asyncio.AbstractEventLoop) -> None:
    """Have `write` called at the end, unless it is dropped before; it keeps its owner alive until then.

    What waits for a loop that was closed is written now: who makes a client and a loop for each of many jobs piles nothing up.
    """
    _WAITING[write] = loop
    for other, its_loop in list(_WAITING.items()):
        if its_loop.is_closed():
            _call(other)


def drop(write: Write) -> None:
    """It was called, or has nothing to write any more."""
    _WAITING.pop(write, None)


@atexit.register
def _write_all() -> None:
    for write in list(_WAITING):
        _call(write)


def _call(write: Write) -> None:
    drop(write)
    write()


if hasattr(os, "register_at_fork"):  # pragma: no branch  not on Windows
    os.register_at_fork(after_in_child=_WAITING.clear)  # what the parent's clients owe is the parent's
