"""The program under judgement: a real client with its connectivity agent, and some traffic.

`python -m tests.badlink.child JSON` asks small things each 0.3 s, prints ten times a second what its agent says, and takes orders from its
standard input, one a line: `quiet`, `talk`, or a prompt (`down 300`, `up 300`, `drip 10`). It ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections import Counter
from typing import Any

from oblix import OblixClient
from oblix.agents import ConnectivityAgent
from oblix.errors import OblixError

from .away import WORDS

TALK_EVERY = 0.3  # seconds between two small prompts
LOOK_EVERY = 0.1
MOST_IN_FLIGHT = 12
PATIENCE = 6.0  # seconds for a small prompt
LONG_PATIENCE = 60.0


class Beat:
    """Tells a program that is slow from a machine that does not let it run.

    A thread of its own beats: what blocks the event loop does not hold it up, and what computes costs the process time. Neither hides here.
    """

    EVERY = 0.05  # seconds

    def __init__(self) -> None:
        self.longest = 0.0  # seconds for which the machine did not let this process run, at the worst
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        while True:
            wall, own = time.monotonic(), time.process_time()
            time.sleep(self.EVERY)
            missing = time.monotonic() - wall - self.EVERY - (time.process_time() - own)
            self.longest = max(self.longest, missing)


class Child:
    """The client and what it is doing."""

    def __init__(self, models: list[tuple[str, str]]) -> None:
        self.agent = ConnectivityAgent()
        self.client = OblixClient(store=":memory:")
        self.client.hook_agent(self.agent)
        self._models = models
        self._names = [f"openai:{name}" for name, _ in models]
        self._talks = True
        self._tasks: set[asyncio.Task[None]] = set()
        self._beat = Beat()
        self._long = 0  # transfers and slow answers that go on
        self._outcomes: Counter[str] = Counter()

    async def hook(self) -> None:
        for name, endpoint in self._models:
            await self.client.hook_model(
                "openai", name, endpoint, "sk-" + os.urandom(24).hex(), price=(1.0, 2.0), window=10_000_000
            )

    def obey(self, order: str) -> None:
        if order in ("quiet", "talk"):
            self._talks = order == "talk"
            return
        word, _, rest = order.partition(" ")
        prompt = f"up {WORDS * int(rest)}" if word == "up" else order
        self._ask(self._names[0], prompt, LONG_PATIENCE)

    async def talk(self) -> None:
        """Small prompts, to each model in turn, whether the earlier ones were answered or not."""
        number = 0
        while True:
            if self._talks and len(self._tasks) < MOST_IN_FLIGHT:
                self._ask(self._names[number % len(self._names)], "Are you there?", PATIENCE)
                number += 1
            await asyncio.sleep(TALK_EVERY)

    def _ask(self, model: str, prompt: str, patience: float) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(model, prompt, patience))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, model: str, prompt: str, patience: float) -> None:
        self._long += patience == LONG_PATIENCE
        try:
            await self.client.execute(prompt, model, deadline=patience, public=True)
        except OblixError as error:
            kinds = [str(attempt.kind) for attempt in error.attempts if attempt.kind]
            self._outcomes[f"{type(error).__name__} {' '.join(kinds)}".strip()] += 1
        else:
            self._outcomes["ok"] += 1
        finally:
            self._long -= patience == LONG_PATIENCE

    async def look(self) -> None:
        """Say what the agent says, as it would be asked before a prompt."""
        while True:
            if self.agent.is_active:
                report = self.agent.peek() or await self.agent.check()
                told: dict[str, Any] = report.to_dict() if hasattr(report, "to_dict") else dict(report)
                told |= {
                    "at": time.monotonic(),
                    "outcomes": self._outcomes,
                    "long": self._long,
                    "starved": self._beat.longest,
                }
                print(json.dumps(told, default=str), flush=True)
            await asyncio.sleep(LOOK_EVERY)


async def main(models: list[tuple[str, str]]) -> None:
    child = Child(models)
    await child.hook()
    loop = asyncio.get_running_loop()
    over = loop.create_future()

    def listen() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(child.obey, line.strip())
        loop.call_soon_threadsafe(over.set_result, None)

    threading.Thread(target=listen, daemon=True).start()
    work = [loop.create_task(child.talk()), loop.create_task(child.look())]
    await asyncio.wait([over, *work], return_when=asyncio.FIRST_COMPLETED)
    for task in work:
        if task.done():
            task.result()  # a mistake of ours
    sys.stdout.flush()
    os._exit(0)  # what hangs on a dead network is not waited for


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
