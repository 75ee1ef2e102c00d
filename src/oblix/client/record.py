"""Writes decisions and outcomes down; a log that cannot be written is told of once and costs no answer."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from oblix.decision.facts import Facts
from oblix.decision.policy import Policy
from oblix.decision.policy_table import to_mapping
from oblix.errors import ConfigurationError, OblixError
from oblix.execution.latency import Timing
from oblix.storage import leftovers
from oblix.storage.sqlite import IN_MEMORY
from oblix.storage.store import Store, StoreBusy, Work
from oblix.types.attempt import Attempt
from oblix.types.decision import Decision
from oblix.types.request import Request

if TYPE_CHECKING:
    from oblix.storage.decisions import DecisionLog, Kept, Outcomes, Timed

# Seconds until an outcome is written: some dozens share a transaction under load (2 µs each instead of 25), and nobody who looks the
# answer up notices. Where the loop ends before, or the program, it is written then; only a program that is killed this soon after an
# answer loses the row. Its decision is kept in any case.
SOON = 0.02
MOST_ENDED = 1000  # outcomes that wait for a disk that hangs; then the oldest are forgotten
_log = logging.getLogger("oblix.storage")


class _Ended(NamedTuple):
    """How a request ended; the attempts are a list that may still grow."""

    id: str
    at: float
    attempts: Sequence[Attempt]
    metrics: Mapping[str, Any] | None
    error: OblixError | None

    def record(self) -> dict[str, Any]:
        return {
            "attempts": [attempt.to_dict() for attempt in self.attempts],
            "metrics": self.metrics,
            "error": None if self.error is None else {"code": self.error.code, "message": self.error.message},
        }


class _Opened(NamedTuple):
    """The log, and how prompts are fingerprinted for it, or why they cannot be."""

    log: DecisionLog
    fingerprint: Callable[[str], str] | None
    trouble: str = ""


class Recorder:
    """The log of one client.

    Args:
        store: The data file. Whoever made it closes it, after this.
        keep_prompts: Keep the text of each prompt, and not only a fingerprint.
    """

    def __init__(self, store: Store, *, keep_prompts: bool = False) -> None:
        self.store = store
        self.keeps_prompts = keep_prompts
        self._log: DecisionLog | None = None
        self._fingerprint: Callable[[str], str] | None = None
        self._policies: set[str] = set()  # digests of those that are in the file
        self._said = self._keyless = ""
        self._ended: deque[_Ended] = deque(maxlen=MOST_ENDED)
        self._timer: asyncio.TimerHandle | None = None
        self._writer: asyncio.Task[None] | None = None
        self._opening: asyncio.Task[None] | None = None

    async def decided(
        self,
        decision: Decision,
        facts: Facts,
        policy: Policy,
        request: Request,
        *,
        also: Work[Any] | None = None,
    ) -> bool:
        """A decision, before anything leaves the machine; whether it is in the file.

        Args:
            also: What goes into the file with it, in one transaction, or not at all: the user's message.
        """
        log = self._log or await self._open()
        if log is None:
            return False
        if decision.policy_digest not in self._policies:
            await self._guarded(self._keep(log, policy))
        record = {
            **decision.verdicts(),
            "session_id": request.session_id,
            "tags": request.tags,
            "prompt": self._told_of(request.prompt),
        }
        return await self._guarded(log.write_decision(decision.id, decision.at, record, facts, also=also))

    async def _keep(self, log: DecisionLog, policy: Policy) -> None:
        """A policy, once for each file."""
        await log.write_policy(policy.digest, to_mapping(policy))
        self._policies.add(policy.digest)

    def _told_of(self, prompt: str) -> dict[str, str] | None:
        """What is kept of a prompt: its `text` where the user wants that, else its `fingerprint`, if there is a key."""
        if self.keeps_prompts:
            return {
                "text": prompt.encode("utf-8", "replace").decode()
            }  # halves of characters would not go into the file
        return None if self._fingerprint is None else {"fingerprint": self._fingerprint(prompt)}

    def ended(
        self,
        decision: Decision,
        attempts: Sequence[Attempt],
        *,
        at: float,
        metrics: Mapping[str, Any] | None = None,
        error: OblixError | None = None,
    ) -> None:
        """What became of it, `at` seconds since the epoch.

        Waits for nothing: it is written beside the path, with what else ends within `SOON`.
        """
        at = max(at, decision.at)  # a clock may be set back meanwhile
        self._ended.append(_Ended(decision.id, at, attempts, metrics, error))
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(SOON, self._start_writing)
            leftovers.keep(self._write_rest, loop)

    def _start_writing(self) -> None:
        self._timer = None
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        while self._ended:
            log = self._log or await self._open()
            ended = self._take_ended()
            if log is not None:
                await self._guarded(log.write_outcomes(ended))

    def _take_ended(self) -> Outcomes:
        leftovers.drop(self._write_rest)
        taken = []
        with suppress(IndexError):  # at the end of the program another thread may take some
            while True:
                taken.append(self._ended.popleft())
        return [(one.id, one.at, one.record()) for one in taken]

    def _write_rest(self) -> None:
        """Write what has ended, without the loop, which has ended as well."""
        if self._ended:
            from oblix.storage.decisions import DecisionLog

            (self._log or DecisionLog(self.store)).post_outcomes(self._take_ended(), self._could_not)

    def _could_not(self, error: BaseException) -> None:
        self._say(f"a decision could not be written down: {error or type(error).__name__}")

    async def _catch_up(self) -> None:
        """Wait until all that has ended is written."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writer is not None and not self._writer.done():
            await asyncio.wait([self._writer])
        await self._write()  # a loop that ends cancels the writer

    async def find(self, decision_id: str) -> tuple[dict[str, Any], dict[str, Any] | None] | None:
        """A decision and its outcome."""
        await self._catch_up()
        log = await self._open()
        return None if log is None else log.find(decision_id)

    async def look_up(self, decision_id: str) -> Kept | None:
        """The same with the facts and the policy that it was taken on."""
        await self._catch_up()
        log = await self._open()
        return None if log is None else log.look_up(decision_id)

    async def past(self, limit: int = 300) -> list[tuple[str, Timing]]:
        """How long the latest answers took, by model id, the newest last; none where the file cannot be read, which is told."""
        if not self.store.is_open and not await asyncio.to_thread(self.store.exists):
            return []  # looking back creates nothing
        log = await self._open()
        try:
            found = [] if log is None else log.recent_timings(limit)
        except ConfigurationError as error:
            _log.warning("nothing can be learned from earlier answers: %s", error.message)
            found = []
        return [(each.model_id, _timing(each)) for each in found]

    async def _open(self) -> DecisionLog | None:
        if self._log is None:
            if self._opening is None or self._opening.done():
                self._opening = asyncio.get_running_loop().create_task(self._open_once())
            await asyncio.wait([self._opening])  # shared: whoever is cancelled meanwhile takes nothing from the others
        return self._log

    async def _open_once(self) -> None:
        try:
            opened = await asyncio.to_thread(_open_log, self.store)
        except ConfigurationError as error:
            self._say(f"decisions are not kept: {error.message}")
            return
        self._policies.clear()
        self._log, self._fingerprint = opened.log, opened.fingerprint
        self._said = ""
        if opened.trouble and opened.trouble != self._keyless:
            _log.warning("decisions are kept without a fingerprint of the prompt: %s", opened.trouble)
        self._keyless = opened.trouble

    async def _guarded(self, write: Awaitable[object]) -> bool:
        """Whether it was written; why it was not is told."""
        import apsw
        import msgspec

        try:
            await write
        except OblixError as error:  # the file was closed meanwhile, and does not open again
            self._say(f"a decision could not be written down: {error.message}")
        except (apsw.Error, StoreBusy, msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
            self._could_not(error)
        else:
            self._said = ""
            return True
        return False

    def _say(self, trouble: str) -> None:
        """Tell what is wrong, once until all is well again: a disk that is full, or metrics that are no JSON."""
        if trouble != self._said:
            _log.warning("%s", trouble)
        self._said = trouble

    def abandon(self) -> None:
        """Forget a loop that was closed; what it left is written with the next, or at the end of the program."""
        self._timer = self._writer = self._opening = None

    async def close(self) -> None:
        """Write what is left, and let go of the file, which may be another one afterwards."""
        await self._catch_up()
        self._log = None


def _open_log(store: Store) -> _Opened:
    """Blocks, and not for the file alone: the first import of msgspec and apsw takes 20 ms."""
    from oblix.storage import decisions
    from oblix.storage.fingerprint import fingerprint, key_beside

    log = decisions.DecisionLog(store)
    log.open()
    try:
        return _Opened(log, partial(fingerprint, key_beside(IN_MEMORY if store.is_in_memory else store.path)))
    except OSError as error:
        return _Opened(log, None, str(error))


def _timing(kept: Timed) -> Timing:
    """An attempt's seconds count from its start, a timing's from the end of the load."""
    load = kept.load or 0.0
    first = None if kept.first_token is None else max(0.0, kept.first_token - load)
    total = max(0.0, kept.total - load)
    return Timing(total, first, None, kept.load, kept.input_tokens, kept.output_tokens)
