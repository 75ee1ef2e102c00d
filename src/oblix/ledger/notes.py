"""How requests ended, written down beside their path, several at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from oblix.ledger import books
from oblix.ledger.books import Answer
from oblix.storage import leftovers
from oblix.storage.store import Store

BATCH = 64  # that are written down at once …
LATEST = 0.25  # … or seconds after which


class Notes:
    """They move no money: a kill costs the last quarter of a second of them, and a disk that fails those that it could not take.

    Args:
        today: The day, by the clock.
        failed: Is told of what goes wrong.
    """

    def __init__(self, store: Store, today: Callable[[], str], failed: Callable[[BaseException], None]) -> None:
        self._store = store
        self._today = today
        self._failed = failed
        self._answers: deque[Answer] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, answer: Answer) -> None:
        """One more."""
        self._answers.append(answer)
        if len(self._answers) >= BATCH:
            self.flush()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(LATEST, self.flush)
            leftovers.keep(self.flush, loop)

    def flush(self) -> None:
        """Have them written down that are not yet."""
        leftovers.drop(self.flush)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        answers = []
        with suppress(IndexError):  # at the end of the program another thread may take some
            while True:
                answers.append(self._answers.popleft())
        if answers:
            self._store.post(partial(books.note, answers=answers, today=self._today()), self._failed)
