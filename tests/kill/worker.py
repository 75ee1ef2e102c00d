"""The life of a process that is going to be killed: it works on the data file, and says of each thing when it is done."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC
from pathlib import Path
from typing import Any

from oblix.decision.facts import Asked, Complexity, Facts, ModelFacts
from oblix.ledger import Ledger, owner
from oblix.sessions.store import Sessions
from oblix.storage.decisions import DecisionLog
from oblix.storage.store import Store
from oblix.types.messages import Message
from oblix.types.money import Claim, Spent
from oblix.types.report import AgentReport
from oblix.types.spec import ModelSpec, Price

CALLERS = 3  # at once in each process
CONVERSATIONS = 4  # that all processes talk in
PRICE = Price(1.0, 2.0, "set for the test")
SPEC = ModelSpec("openai:gpt", "openai", "gpt", "cloud", price=PRICE)


class Worker:
    """One process.

    Args:
        name: Unlike that of any other, so that its ids are.
        acks: The pipe that acknowledgements go to, one line each: the kind, the id, a number.
    """

    def __init__(self, path: Path, name: str, acks: int, *, seed: int) -> None:
        self._name = name
        self._acks = acks
        self._random = random.Random(seed)
        self._store = Store(path)
        self._ledger = Ledger(self._store, zone=UTC)
        self._log = DecisionLog(self._store)
        self._sessions = Sessions(self._store, time.time, me=owner.me, is_alive=owner.is_alive)

    def say(self, kind: str, what: str, number: int = 0) -> None:
        """Acknowledge. A line this short goes into a pipe whole, or not at all."""
        os.write(self._acks, f"{kind} {what} {number}\n".encode())

    async def live(self) -> None:
        """Work until killed."""
        await self.recover()
        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(self._work(f"{self._name}.{number}"))

    async def recover(self) -> None:
        """Open the file, charge what the dead left, and give up what they asked."""
        began = time.perf_counter()
        await asyncio.to_thread(self._store.open)
        await self._ledger.open()
        await self._store.write(self._sessions.recover())
        self.say("ready", self._name, round((time.perf_counter() - began) * 1e6))

    async def close(self) -> None:
        """End as one should."""
        self._ledger.close()
        await self._store.shut()

    async def _until_written(self) -> None:
        """What was posted before is in the file when this returns: works are done in order."""
        await self._store.write(lambda db: None)

    async def _work(self, name: str) -> None:
        doings: list[Callable[[str], Awaitable[None]]] = [self._attempt, self._attempt, self._decide, self._talk]
        number = 0
        while True:
            number += 1
            await self._random.choice(doings)(f"{name}.{number}")
            await asyncio.sleep(0)

    async def _attempt(self, name: str) -> None:
        """One paid attempt: reserved, raised, settled, or left open."""
        draw = self._random
        claim = Claim(
            f"{name}#1", name, SPEC.id, "cloud", draw.randrange(2000), PRICE, most_tokens=4000, tags=("kill",)
        )
        hold = await self._ledger.reserve(claim)
        self.say("reserve", claim.id, hold.micro_usd)
        for _ in range(draw.randrange(3)):
            await asyncio.sleep(0)
            if await hold.raise_to(hold.micro_usd + draw.randrange(1, 500)):
                self.say("raise", claim.id, hold.micro_usd)
        if draw.random() < 0.1:
            return
        spent = draw.randrange(hold.micro_usd + 1)
        hold.settle(Spent(spent, certain=True, outcome="ok", input_tokens=10, output_tokens=draw.randrange(100)))
        await self._until_written()
        self.say("settle", claim.id, spent)

    async def _talk(self, name: str) -> None:
        """A turn of a conversation: the question goes down with the decision, the answer when it is there, or how far it came."""
        session, draw = f"talk {self._random.randrange(CONVERSATIONS)}", self._random
        asked = self._sessions.asked(session, [Message("user", f"What is {name}?")], request_id=name)
        await self._log.write_decision(name, time.time(), {"id": name}, {"now": 1.0}, also=asked)
        self.say("decision", name)
        self.say("asked", name)
        await asyncio.sleep(0)
        if draw.random() < 0.2:
            broken = self._sessions.broken(session, "It is", request_id=name, model_id=SPEC.id)
            await self._store.write(broken)
            self.say("broken", name)
        else:
            answer = Message("assistant", f"It is {name}.")
            await self._store.write(self._sessions.answered(session, answer, request_id=name, model_id=SPEC.id))
            self.say("answered", name)

    async def _decide(self, name: str) -> None:
        """A decision, then what became of it."""
        report = AgentReport(state="available", metrics={"cpu_percent": self._random.randrange(100)})
        facts = Facts(name, time.time(), Asked(3, 300, Complexity(0.1)), (ModelFacts(SPEC),), {"machine": report})
        await self._log.write_decision(name, time.time(), {"id": name, "padding": "x" * 2000}, facts)
        self.say("decision", name)
        outcome: dict[str, Any] = {"attempts": [], "metrics": None, "error": None}
        await self._log.write_outcome(name, time.time(), outcome)
        self.say("outcome", name)
