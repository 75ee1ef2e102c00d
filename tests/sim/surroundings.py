"""What lies around the client in a simulated world: network, engines, disk and agents."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import apsw

from oblix.agents.base import BaseAgent
from oblix.errors import AttemptFailed, ConfigurationError, FailureKind
from oblix.storage.jobs import PATIENCE
from oblix.types.report import AgentReport

from .plan import AgentPlan, Manner, Spell, World
from .trace import Trace

K = FailureKind
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


class Disk:
    """The data file behind the real decision log, as an apsw connection that has its spells.

    Attributes:
        decided: Ids of requests whose decision was written, with the record of it.
        refused: Ids whose decision could not be.
        outcomes: Id → how often an outcome was written.
        is_off: The file could not be opened, so that nothing is kept.
    """

    def __init__(self, spells: Sequence[Spell], trace: Trace) -> None:
        self.decided: dict[str, bytes] = {}
        self.refused: set[str] = set()
        self.outcomes: dict[str, list[bytes]] = {}
        self._ended: list[bytes] = []
        self.is_off = False
        self._busy_since: dict[str, float] = {}
        self._spells = spells
        self._trace = trace
        self._slow_until: float | None = None

    def open(self, path: object) -> Self:
        """In place of `oblix.storage.sqlite.open_file`."""
        spell = spell_at(self._spells, _now())
        if spell is not None and spell.what[0] in ("full", "broken"):
            self.is_off = True
            self._trace.note("disk cannot be opened")
            raise ConfigurationError("The data file cannot be used.")
        return self

    def set_busy_timeout(self, milliseconds: int) -> None:
        """As in apsw; another process's lock is a spell."""

    def execute(self, statement: str, row: tuple[Any, ...]) -> Self:
        """As in apsw, for one row; the only question that a client asks is how its latest requests ended."""
        if statement.startswith("SELECT record FROM outcome"):
            self._meet()
            return self
        self.executemany(statement, [row])
        return self

    def fetchall(self) -> list[tuple[bytes]]:
        """As in apsw: the outcomes, the newest first."""
        return [(record,) for record in reversed(self._ended)]

    def executemany(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """As in apsw, within a transaction: all or none."""
        names = [row[0] for row in rows]
        try:
            self._meet()
        except apsw.BusyError:
            for name in names:
                self._busy_since.setdefault(name, _now())
            raise
        except apsw.Error:
            self.refused.update(names)
            self._trace.note(f"disk refuses {names}")
            raise
        for row in rows:
            self._keep(statement, row)

    def excuses(self, name: str) -> bool:
        """Whether there is a reason that something of this request is not here: refused, or locked for longer than the log waits."""
        waited = _now() - self._busy_since.get(name, math.inf)
        return self.is_off or name in self.refused or waited >= PATIENCE - 0.01

    def _meet(self) -> None:
        """A slow disk and another process's lock look the same: busy for a while. A lock may outlast the log's patience."""
        now = _now()
        spell = spell_at(self._spells, now)
        what = spell.what[0] if spell else ""
        if what == "full":
            raise apsw.FullError("database or disk is full")
        if what == "broken":
            raise apsw.IOError("disk I/O error")
        if what not in ("slow", "locked"):
            self._slow_until = None
            return
        if self._slow_until is None:
            self._slow_until = now + (0.04 if what == "slow" else 3.0)
        if now < self._slow_until:
            raise apsw.BusyError("database is locked")
        self._slow_until = None

    def _keep(self, statement: str, row: tuple[Any, ...]) -> None:
        if "policy " in statement:
            self._trace.note(f"disk keeps policy {row[0]}")
        elif "part " in statement:
            self._trace.note(f"disk keeps part {row[0]}")
        elif "decision " in statement:
            self.decided[row[0]] = row[2]
            self._trace.note(f"disk keeps decision {row[0]}")
        else:
            self.outcomes.setdefault(row[0], []).append(row[2])
            self._ended.append(row[2])
            self._trace.note(f"disk keeps outcome {row[0]}")

    def close(self) -> None:
        """As in apsw."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


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
