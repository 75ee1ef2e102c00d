"""Ties a client to its event loop, and cleans up when that loop ends, so that leaving without `shutdown` is quiet."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable
from types import AsyncGeneratorType, TracebackType

from oblix.errors import ConfigurationError, OblixError


class Lifeline:
    """Knows which loop and process a client belongs to.

    `asyncio.run` closes every asynchronous generator that is still open before it closes the loop. We keep one open: its `finally`
    is the only place where asyncio lets a library clean up at the end of a program that never called `shutdown`.
    """

    def __init__(self, close: Callable[[], Awaitable[None]], abandon: Callable[[], None]) -> None:
        """`abandon` lets go of what belongs to a loop that was closed before `close` could run."""
        self._close = close
        self._abandon = abandon
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0
        self._keeper: AsyncGenerator[None] | None = None

    @property
    def is_tied(self) -> bool:
        """Whether this very loop has been tied to already: the quick check on the path of a prompt."""
        return self._loop is not None and self._loop is asyncio.get_running_loop() and self._process == os.getpid()

    async def tie(self) -> None:
        """Belong to the running loop from now on.

        Raises:
            ConfigurationError: The client belongs to another loop that still lives, or to the parent process.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not None and not self._loop.is_closed():
            if self._process != os.getpid():
                raise ConfigurationError(
                    "This client was made before a fork, and belongs to the parent process.",
                    hint="Make a client in each process.",
                )
            raise ConfigurationError(
                "This client belongs to another event loop.",
                hint="Make one client per loop, or use oblix.sync.OblixClient, which brings its own.",
            )
        if self._loop is not None:
            self._abandon()
        self._loop, self._process = loop, os.getpid()
        self._keeper = _keep(self._close)
        await anext(self._keeper)

    async def cut(self) -> None:
        """Clean up now."""
        keeper, self._keeper = self._keeper, None
        self._loop = None
        if isinstance(keeper, AsyncGeneratorType) and keeper.ag_frame is not None:
            await keeper.aclose()
        else:  # never tied, or to a loop that has ended: sessions are read and written without that
            await self._close()


async def _keep(close: Callable[[], Awaitable[None]]) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await close()


def show_errors_briefly() -> None:
    """Let an uncaught error of ours end a program with our few lines instead of a traceback through asyncio.

    Nothing else changes: other exceptions, other hooks (IPython's, an application's own) and `python -X dev`, which shows everything,
    are left as they are. Reasons in docs/decisions/0004-uncaught-errors.md.
    """
    if sys.excepthook is sys.__excepthook__ and not sys.flags.dev_mode:
        sys.excepthook = _briefly


def _briefly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not isinstance(error, OblixError) or error.__cause__ is not None:
        sys.__excepthook__(kind, error, trace)
        return
    head, _, hint = str(error).partition("\nhint: ")
    frames = [
        f for f in traceback.extract_tb(trace) if not f.filename.startswith(_OURS) and "asyncio" not in f.filename
    ]
    at = f"\n  at {frames[-1].filename}:{frames[-1].lineno}, in {frames[-1].name}" if frames else ""
    sys.stderr.write(f"{kind.__module__}.{kind.__qualname__}: {head}{at}\n" + (f"hint: {hint}\n" if hint else ""))


_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120  pathlib would cost the import its milliseconds
