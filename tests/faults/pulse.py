"""Tells a client that is slow from a machine that does not let it run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

BEAT = 0.01  # seconds between two beats
NOTICEABLE = 0.02  # seconds that a beat may be late without being counted: other callbacks of the loop run as well
_starved = [0.0]  # seconds since the process began


def starved_so_far() -> float:
    """Seconds in which the loop had something to do (a beat was due) and this thread got no processor.

    What the thread computed itself counts as its own slowness, whoever is to blame: blocking code does not hide here.
    """
    return _starved[0]


@asynccontextmanager
async def pulse() -> AsyncIterator[None]:
    """Beat, and count what is missing between two beats."""
    beating = asyncio.create_task(_beat())
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.wait({beating})


async def _beat() -> None:
    while True:
        wall, own = time.monotonic(), time.thread_time()
        await asyncio.sleep(BEAT)
        missing = (time.monotonic() - wall) - BEAT - (time.thread_time() - own)
        if missing > NOTICEABLE:
            _starved[0] += missing
