"""Whether somebody who was asked for a sign of life gives one in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Pulse:
    """Quiet until `doubt`; then `heard` has to follow within `patience` seconds, else `on_silent` is called.

    Belongs to the running event loop. Half of the time is waited twice: when the loop itself stood still for long, a sign of life may
    lie there unread while the first timer fires, and is read before the second.

    Args:
        ask: Called at each half, to ask for a sign.
        on_silent: Called once per doubt, when none came.
    """

    def __init__(self, ask: Callable[[], None], on_silent: Callable[[], None], *, patience: float) -> None:
        self._ask = ask
        self._on_silent = on_silent
        self._half = patience / 2
        self._halves = 0
        self._timer: asyncio.TimerHandle | None = None
        self._steady = asyncio.Event()
        self._steady.set()

    def doubt(self) -> None:
        """Ask for a sign of life, unless that is done already."""
        if self._timer is None:
            self._halves = 0
            self._steady.clear()
            self._wait()

    def heard(self) -> None:
        """A sign came, or none is needed any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._steady.set()

    @property
    def is_steady(self) -> bool:
        """Whether there is no doubt."""
        return self._steady.is_set()

    async def wait_steady(self) -> None:
        """Wait while there is doubt: until `heard`."""
        await self._steady.wait()

    def _wait(self) -> None:
        if self._halves == 2:
            self._on_silent()
            return
        self._halves += 1
        self._ask()
        self._timer = asyncio.get_running_loop().call_later(self._half, self._wait)
