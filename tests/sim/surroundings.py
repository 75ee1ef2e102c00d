"""What lies around the client in a simulated world: network, engines, disk and agents."""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import apsw

from oblix.agents.base import BaseAgent
from oblix.errors import AttemptFailed, ConfigurationError, FailureKind
from oblix.storage.jobs import PATIENCE, Job, Work
from oblix.storage.sqlite import IN_MEMORY
from oblix.storage.store import Store
from oblix.types.report import AgentReport

from .plan import AgentPlan, Manner, Spell, World
from .trace import Trace

K = FailureKind
T = TypeVar("T")
SLOWER = 8.0  # times, while the network is slow
RESTART = 3.0  # seconds that an engine takes to come back after a crash


def spell_at(spells: Sequence[Spell], now: float) -> Spell | None:
    """The spell that is on."""
    return next((spell for spell in spells if spell.covers(now)), None)


def _now() -> float:
    return asyncio.get_running_loop().time()


class Network:
    """The way to the cloud. What is on its way when a spell begins feels it: it is reset, or waits for the end."""

    def __init__(self, spells: Sequence[Spell]) -> None:
        self._spells = spells

    def state(self) -> str:
        """`up`, or what is wrong: `reset`, `freeze`, `slow`, `no_route`, `names`."""
        spell = spell_at(self._spells, _now())
        return spell.what[0] if spell else "up"

    async def connect(self, limit: float) -> None:
        """Reach the other end, within `limit` seconds.

        Raises:
            AttemptFailed: As a provider would say it.
        """
        state = self.state()
        if state == "no_route":
            raise AttemptFailed(K.LOCAL_NETWORK, "no route")
        if state == "names":
            await asyncio.sleep(min(limit, 1.0))
            raise AttemptFailed(K.DNS, "no such name")
        if state == "freeze":
            await asyncio.sleep(limit)
            raise AttemptFailed(K.TIMEOUT_CONNECT, f"no connection within {limit} s")
        await asyncio.sleep(0.02 * (SLOWER if state == "slow" else 1.0))
        if state == "reset":
            raise AttemptFailed(K.CONNECT, "refused")

    async def wait(self, seconds: float) -> None:
        """Wait for the other end, which takes `seconds` to say something."""
        now = _now()
        for spell in self._spells:
            if spell.end <= now or spell.start >= now + seconds:
                continue
            what = spell.what[0]
            if what == "slow":
                seconds *= SLOWER
            elif what in ("reset", "no_route"):
                await asyncio.sleep(max(0.0, spell.start - now))
                raise AttemptFailed(K.TRUNCATED, "the connection was reset")
            elif what == "freeze":  # nothing is lost, nothing comes: TCP goes on when the spell is over
                await asyncio.sleep(spell.end - now)
                return
        await asyncio.sleep(seconds)


class Engine:
    """What the models at one edge endpoint share: a crash of it ends all their answers and unloads them."""

    def __init__(self, endpoint: str, trace: Trace) -> None:
        self.endpoint = endpoint
        self.crashes = 0
        self.back_at = 0.0
        self._trace = trace
        self._waiting: dict[asyncio.Future[None], None] = {}

    async def connect(self, limit: float) -> None:
        """Reach the engine; refused while it starts again."""
        await asyncio.sleep(min(limit, 0.001))
        if _now() < self.back_at:
            raise AttemptFailed(K.CONNECT, "refused")

    async def wait(self, seconds: float) -> None:
        """Wait for the engine's next word, or for its end."""
        loop = asyncio.get_running_loop()
        word = loop.create_future()
        timer = loop.call_later(seconds, _wake, word)
        self._waiting[word] = None
        try:
            await word
        finally:
            timer.cancel()
            del self._waiting[word]

    def crash(self) -> None:
        """All who wait are told."""
        self.crashes += 1
        self.back_at = _now() + RESTART
        self._trace.note(f"{self.endpoint} crashes")
        for word in self._waiting:
            if not word.done():
                word.set_exception(AttemptFailed(K.ENGINE_CRASH, "the engine ended"))


def _wake(word: asyncio.Future[None]) -> None:
    if not word.done():
        word.set_result(None)


class Disk(Store):
    """The data file: a real database in memory behind the real `Store`, on a disk that has its spells, at simulated times.

    Attributes:
        decided: Ids of requests whose decision was written, with the record of it.
        refused: Ids whose decision could not be.
        outcomes: Id → the outcomes that were written.
        is_off: The file could not be opened, so that nothing is kept.
    """

    def __init__(self, spells: Sequence[Spell], trace: Trace, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(IN_MEMORY)
        self.decided: dict[str, bytes] = {}
        self.refused: set[str] = set()
        self.outcomes: dict[str, list[bytes]] = {}
        self.is_off = False
        self._busy_since: dict[str, float] = {}
        self._spells = spells
        self._trace = trace
        self._loop = loop
        self._locked_until: float | None = None
        self._seen = {"decision": 0, "outcome": 0}  # the last row of each table
        self._jobs: deque[Job] = deque()
        self._writer: asyncio.Task[None] | None = None

    def open(self) -> None:
        """As the `Store`, if the disk lets it; also from a thread."""
        if not self.is_open and self._spell() in ("full", "broken"):
            self.is_off = True
            raise ConfigurationError("The data file cannot be used.")
        super().open()

    def read(self, work: Work[T]) -> T:
        """As the `Store`, if the disk lets it."""
        if self._spell() == "broken":
            raise apsw.IOError("disk I/O error")
        return super().read(work)

    def excuses(self, name: str) -> bool:
        """Whether there is a reason that something of this request is not here: refused, or locked for longer than the log waits."""
        waited = self._loop.time() - self._busy_since.get(name, math.inf)
        return self.is_off or name in self.refused or waited >= PATIENCE - 0.01

    def _do_here(self, work: Work[T]) -> tuple[bool, T | None]:
        if self._jobs or self._writer is not None:
            return False, None
        try:
            return True, self._transact(work)
        except apsw.BusyError:
            return False, None

    def _let_go(self) -> None:
        super()._let_go()
        self._seen = dict.fromkeys(self._seen, 0)  # what was in memory is gone

    def _put(self, job: Job, loop: asyncio.AbstractEventLoop | None) -> None:
        """To the writer: a task, because a thread would not wait for simulated times."""
        self._jobs.append(job)
        if self._writer is None:
            self._writer = self._loop.create_task(self._write())

    async def _write(self) -> None:
        while self._jobs:
            job = self._jobs.popleft()
            until = self._loop.time() + PATIENCE
            while True:
                try:
                    job.result = self._transact(job.work)
                except apsw.BusyError as error:
                    if self._loop.time() < until:
                        await asyncio.sleep(0.005)
                        continue
                    job.error = error
                except Exception as error:  # noqa: BLE001  handed to whoever waits
                    job.error = error
                break
            job.settle()
        self._writer = None

    def _transact(self, work: Work[T]) -> T:
        """The work in a transaction that the disk may refuse at its end, when it is known what it is about."""
        self.open()
        assert self._opened is not None
        db = self._opened.db
        db.execute("BEGIN IMMEDIATE")
        rows: list[tuple[str, int, str, bytes]] = []
        try:
            result = work(db)
            rows = self._news(db)
            self._meet()
        except BaseException as error:
            db.execute("ROLLBACK")
            names = [name for _, _, name, _ in rows]
            if isinstance(error, apsw.BusyError):
                for name in names:
                    self._busy_since.setdefault(name, self._loop.time())
            elif isinstance(error, apsw.Error):
                self.refused.update(names)
                self._trace.note(f"disk refuses {names}")
            raise
        db.execute("COMMIT")
        self._keep(rows)
        return result

    def _news(self, db: apsw.Connection) -> list[tuple[str, int, str, bytes]]:
        """Decisions and outcomes since the last transaction: table, row, id, record."""
        found = []
        for table, column in (("decision", "id"), ("outcome", "decision_id")):
            ask = f"SELECT rowid, {column}, record FROM {table} WHERE rowid > ? ORDER BY rowid"
            found += [(table, row, name, record) for row, name, record in db.execute(ask, (self._seen[table],))]
        return found

    def _keep(self, rows: Sequence[tuple[str, int, str, bytes]]) -> None:
        for table, row, name, record in rows:
            self._seen[table] = row
            self._trace.note(f"disk keeps {table} {name}")
            if table == "decision":
                self.decided[name] = record
            else:
                self.outcomes.setdefault(name, []).append(record)

    def _spell(self) -> str:
        spell = spell_at(self._spells, self._loop.time())
        return "" if spell is None else spell.what[0]

    def _meet(self) -> None:
        """A slow disk and another process's lock look the same: busy for a while. A lock may outlast the log's patience."""
        now, what = self._loop.time(), self._spell()
        if what == "full":
            raise apsw.FullError("database or disk is full")
        if what == "broken":
            raise apsw.IOError("disk I/O error")
        if what not in ("slow", "locked"):
            self._locked_until = None
            return
        if self._locked_until is None:
            self._locked_until = now + (0.04 if what == "slow" else 3.0)
        if now < self._locked_until:
            raise apsw.BusyError("database is locked")
        self._locked_until = None


class SimAgent(BaseAgent):
    """An agent of a user's: it mostly answers, and sometimes does all that an agent should not."""

    def __init__(
        self, plan: AgentPlan, chance: random.Random, network: Network, *, vetoed: Callable[[str], None], until: float
    ) -> None:
        """From second `until` on it does nothing odd any more."""
        super().__init__(plan.name)
        self._until = until
        self.fail_closed = plan.fail_closed
        self._plan = plan
        self._chance = chance
        self._network = network
        self._vetoed = vetoed

    async def initialize(self) -> bool:
        """Some take their time."""
        await asyncio.sleep(self._plan.start)
        return await super().initialize()

    def peek(self) -> AgentReport | None:
        """Some know without being asked."""
        return self._report() if self._plan.peeks and self._chance.random() < 0.5 else None

    async def check(self, **kwargs: Any) -> Mapping[str, Any] | AgentReport:
        """In the manner that is drawn."""
        manner: Manner = self._chance.choice(self._plan.manners) if _now() < self._until else "answer"
        if manner == "lag":
            await asyncio.sleep(self._chance.uniform(0.0, 0.3))
        elif manner == "hang":
            await asyncio.sleep(1e9)
        elif manner == "raise":
            raise self._chance.choice((RuntimeError, OSError, TimeoutError, AttributeError))("an agent's own")
        elif manner == "junk":
            return self._chance.choice(({"proceed": "maybe"}, {"what": 1}, {"metrics": 3}))
        elif manner == "veto":
            self._vetoed(kwargs["request"].id)
            return {"proceed": False, "reason": "not today"}
        return self._report()

    def _report(self) -> AgentReport:
        state = self._network.state() if self._plan.sees_network else "up"
        if state in ("no_route", "names", "reset"):
            return AgentReport(True, "disconnected", "local", "no network")
        return AgentReport(True, "available", self._chance.choice(("hybrid", "hybrid", "local", "cloud")), "as it is")


def engines(world: World, trace: Trace) -> dict[str, Engine]:
    """One for each endpoint at home."""
    return {plan.endpoint: Engine(plan.endpoint, trace) for plan in world.models if plan.place == "edge"}
