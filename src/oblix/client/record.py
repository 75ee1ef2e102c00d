"""Writes decisions and outcomes down; a log that cannot be written is told of once and costs no answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from oblix.decision.facts import Facts
from oblix.errors import ConfigurationError, OblixError
from oblix.settings import home
from oblix.storage.decisions import DecisionLog
from oblix.types.attempt import Attempt
from oblix.types.decision import Decision

_log = logging.getLogger("oblix.storage")


class _Ended(NamedTuple):
    """How a request ended; the attempts are a list that may still grow."""

    id: str
    at: float
    attempts: Sequence[Attempt]
    metrics: dict[str, Any] | None
    error: OblixError | None

    def record(self) -> dict[str, Any]:
        return {
            "attempts": [attempt.to_dict() for attempt in self.attempts],
            "metrics": self.metrics,
            "error": None if self.error is None else {"code": self.error.code, "message": self.error.message},
        }


class Recorder:
    """The log of one client."""

    def __init__(self, store: str | Path | None) -> None:
        self._store = store
        self._log: DecisionLog | None = None
        self._broken = False
        self._ended: list[_Ended] = []
        self._writer: asyncio.Task[None] | None = None

    async def decided(self, decision: Decision, facts: Facts) -> None:
        """A decision, before anything leaves the machine."""
        log = self._log or await self._open()
        if log is not None:
            await self._guarded(log.write_decision(decision.id, decision.at, decision.to_dict(), facts))

    def ended(
        self,
        decision: Decision,
        attempts: Sequence[Attempt],
        *,
        metrics: dict[str, Any] | None = None,
        error: OblixError | None = None,
    ) -> None:
        """What became of it. Waits for nothing: it is written at the loop's next turn, together with what else has ended by then."""
        self._ended.append(_Ended(decision.id, time.time(), attempts, metrics, error))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        while self._ended:
            log = self._log or await self._open()
            ended, self._ended = self._ended, []
            if log is not None:
                await self._guarded(log.write_outcomes([(one.id, one.at, one.record()) for one in ended]))

    async def _catch_up(self) -> None:
        """Wait until all that has ended is written."""
        if self._writer is not None and not self._writer.done():
            await asyncio.wait([self._writer])
        await self._write()  # a loop that ends cancels the writer

    async def find(self, decision_id: str) -> tuple[dict[str, Any], dict[str, Any] | None] | None:
        """A decision and its outcome."""
        await self._catch_up()
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

    async def close(self) -> None:
        """Write what is left, and close the file."""
        await self._catch_up()
        log, self._log = self._log, None
        if log is not None:
            log.close()
