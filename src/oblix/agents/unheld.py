"""Blocking work that may hang, such as a file on a dead disk: on a daemon thread, which holds up neither the loop nor the exit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

MOST = 8  # of these threads at a time: a disk that hangs must not gather them without end
PATIENCE = 1.0  # seconds for a place; work that does not hang gives its own back within milliseconds

T = TypeVar("T")
_places = threading.Semaphore(MOST)


async def run_unheld(work: Callable[..., T], *given: object) -> T:
    """What `asyncio.to_thread` does, but the end of the program does not wait for it.

    Raises:
        TimeoutError: All places stay taken by work that hangs.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    patience = loop.time() + PATIENCE
    while not _places.acquire(blocking=False):
        if loop.time() >= patience:
            raise TimeoutError(f"{MOST} earlier ones hang")
        await asyncio.sleep(0.01)

    def run() -> None:
        try:
            told = partial(_tell, done, work(*given))
        except Exception as error:  # noqa: BLE001  it belongs to who waits for it
            told = partial(_fail, done, error)
        finally:
            _places.release()
        with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            loop.call_soon_threadsafe(told)

    try:
        threading.Thread(target=run, name="oblix-unheld", daemon=True).start()
    except RuntimeError:
        _places.release()
        raise
    return await done


def _tell(done: asyncio.Future[T], value: T) -> None:
    if not done.done():
        done.set_result(value)


def _fail(done: asyncio.Future[T], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
