"""Writes decisions and outcomes down; a log that cannot be written is told of once and costs no answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oblix.decision.facts import Facts
from oblix.errors import ConfigurationError, OblixError
from oblix.settings import home
from oblix.storage.decisions import DecisionLog
from oblix.types.attempt import Attempt
from oblix.types.decision import Decision

_log = logging.getLogger("oblix.storage")


class Recorder:
    """The log of one client."""

    def __init__(self, store: str | Path | None) -> None:
        self._store = store
        self._log: DecisionLog | None = None
        self._broken = False
        self._late: set[asyncio.Task[None]] = set()

    async def decided(self, decision: Decision, facts: Facts) -> None:
        """A decision, before anything leaves the machine."""
        log = await self._open()
        if log is not None:
            await self._guarded(log.write_decision(decision.id, decision.at, decision.to_dict(), facts))

    async def ended(
        self,
        decision: Decision,
        attempts: Sequence[Attempt],
        *,
        metrics: dict[str, Any] | None = None,
        error: OblixError | None = None,
    ) -> None:
        """What became of it."""
        log = await self._open()
        if log is not None:
            record = {
                "attempts": [attempt.to_dict() for attempt in attempts],
                "metrics": metrics,
                "error": None if error is None else {"code": error.code, "message": error.message},
            }
            await self._guarded(log.write_outcome(decision.id, time.time(), record))

    def left(self, decision: Decision, attempts: Sequence[Attempt]) -> None:
        """The caller left before the end; nothing can be awaited any more, so the row is written beside."""
        task = asyncio.get_running_loop().create_task(self.ended(decision, attempts))
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def find(self, decision_id: str) -> tuple[dict[str, Any], dict[str, Any] | None] | None:
        """A decision and its outcome."""
        log = await self._open()
        return None if log is None else log.find(decision_id)

    async def _open(self) -> DecisionLog | None:
        if self._log is not None or self._broken:
            return self._log
        log = DecisionLog(self._store if self._store is not None else home() / "oblix.db")
        try:
            await asyncio.to_thread(log.open)
        except ConfigurationError as error:
            self._broken = True
            _log.warning("decisions are not kept: %s", error.message)
            return None
        self._log = self._log or log
        return self._log

    async def _guarded(self, write: Any) -> None:
        import apsw

        try:
            await write
        except apsw.Error as error:
            _log.warning("a decision could not be written down: %s", error)

    def close(self) -> None:
        """Close the file."""
        log, self._log = self._log, None
        if log is not None:
            log.close()
