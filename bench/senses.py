"""What the senses take of a prompt while their readings are fresh, and `execute` with them and without them, taking turns. µs.

`python -m bench.senses ADDRESS` measures in a process of its own and prints a JSON object.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import median
from typing import Any

from bench.contenders import PROMPT
from oblix import OblixClient
from oblix.agents import BaseAgent, ConnectivityAgent, PowerAgent, ResourceMonitor
from oblix.client.hall import Hall
from oblix.testing import ScriptedModel
from oblix.types.attempt import Attempt
from oblix.types.messages import Message
from oblix.types.report import AgentReport
from oblix.types.request import Request
from oblix.types.traffic import Exchange

ROUNDS = 20_000  # half a second of the senses: every sensor takes a new reading meanwhile, and its report is made anew
TURNS = 60  # of each of the two clients
BATCH = 50  # executes in a turn
PAUSE, PAUSES = 1.2, 3  # seconds without a prompt, and how often
PATIENCE = 10.0  # seconds until every sensor has read
_REQUEST = Request("bench", (Message("user", PROMPT),))
# The CPU time of this thread: what other programs and the sensors' own threads take meanwhile is not the prompt's.
_clock = time.thread_time


class _Ear(BaseAgent):
    """Hears what agents hear, so that it can be told again."""

    def __init__(self) -> None:
        super().__init__("ear")
        self.exchanges: list[Exchange] = []
        self.attempts: list[Attempt] = []

    async def check(self, **kwargs: object) -> AgentReport:
        return AgentReport()

    def peek(self) -> AgentReport:
        return AgentReport()

    def observe(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)

    def notice(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)


async def _measure(address: str) -> dict[str, float]:
    client = OblixClient(store=":memory:")
    await client.hook_model("openai", "bench", endpoint=f"{address}/tiny/v1", api_key="bench-key")
    await client.hook_model("vllm", "bench", endpoint=f"{address}/tiny/v1")
    ear = _Ear()
    agents = (ResourceMonitor(), ConnectivityAgent(), PowerAgent())
    for agent in (*agents, ear):
        client.hook_agent(agent)
    calls = 20
    for _ in range(calls):
        await client.execute(PROMPT, model_id="openai:bench")
    hall = client._hall
    del hall.panel.agents["ear"]
    await _fresh(agents)
    found = {type(agent).__name__: _mean(agent.peek) for agent in agents}
    found["told of traffic"] = await _told(hall, ear, per_call=len(ear.exchanges) / calls)
    found["engine sense"] = _engines(hall)
    found["after a pause"] = await _after_a_pause(hall)
    found["all"] = await _all(hall, ear, per_call=len(ear.exchanges) / calls)
    await client.shutdown()
    found |= await _turns(address, ear, per_call=len(ear.exchanges) / calls)
    found["total"] = found["added"] + found["engine sense"]  # both clients of the turns look after their engines
    return found


async def _fresh(agents: tuple[BaseAgent, ...]) -> None:
    async with asyncio.timeout(PATIENCE):
        while any(agent.peek() is None for agent in agents):  # noqa: ASYNC110  a sensor's thread tells nobody that it has read
            await asyncio.sleep(0.05)


def _mean(work: Callable[[], object]) -> float:
    start = _clock()
    for _ in range(ROUNDS):
        work()
    return 1e6 * (_clock() - start) / ROUNDS


def _heard(ear: _Ear, per_call: float) -> list[list[Exchange]]:
    """What each of `ROUNDS` executes would tell: the counters of its connection go on, and so does the clock."""
    last, now = ear.exchanges[-1], time.monotonic()
    told = []
    for number in range(ROUNDS):
        tcp = last.tcp and replace(last.tcp, segments=(last.tcp.segments or 0) + number)
        told.append([replace(last, at=now + 2e-5 * number, tcp=tcp)] * max(1, round(per_call)))
    return told


async def _told(hall: Hall, ear: _Ear, *, per_call: float) -> float:
    heard, attempt = _heard(ear, per_call), ear.attempts[-1]
    start = _clock()
    for exchanges in heard:
        for exchange in exchanges:
            hall.panel.observe(exchange)
        hall.panel.notice(attempt)
    return 1e6 * (_clock() - start) / ROUNDS


def _engines(hall: Hall) -> float:
    sense, models = getattr(hall, "engines", None), tuple(hall.specs().values())
    if sense is None:
        return 0.0

    def ask() -> None:
        sense.kick(models)
        for spec in models:
            if spec.is_edge:
                sense.fit_of(spec), sense.queue_of(spec), sense.loaded(spec)

    return _mean(ask)


async def _all(hall: Hall, ear: _Ear, *, per_call: float) -> float:
    """Everything that one execute does with the senses, in its order."""
    heard, attempt = _heard(ear, per_call), ear.attempts[-1]
    sense, models = getattr(hall, "engines", None), tuple(hall.specs().values())
    edge = [spec for spec in models if spec.is_edge]
    start = _clock()
    for exchanges in heard:
        if sense is not None:
            sense.kick(models)
        await hall.panel.ask(prompt=PROMPT, request=_REQUEST, session_id=None)
        if sense is not None:
            for spec in edge:
                sense.fit_of(spec), sense.queue_of(spec), sense.loaded(spec)
        for exchange in exchanges:
            hall.panel.observe(exchange)
        hall.panel.notice(attempt)
    return 1e6 * (_clock() - start) / ROUNDS


async def _after_a_pause(hall: Hall) -> float:
    """The first question after a while: readings are fresh, and the reports on them may have to be made; the processor is cold, too."""
    took = []
    for _ in range(PAUSES):
        await asyncio.sleep(PAUSE)
        start = _clock()
        await hall.panel.ask(prompt=PROMPT, request=_REQUEST, session_id=None)
        took.append(_clock() - start)
    return 1e6 * median(took)


async def _turns(address: str, ear: _Ear, *, per_call: float) -> dict[str, float]:
    """An execute over a scripted model with all agents, and without any; and the difference.

    The scripted model has no network: what a cloud model's answer tells of it is told in its place.
    """
    clients = [OblixClient(store=":memory:") for _ in range(2)]
    for client in clients:
        client.hook(ScriptedModel("ollama:bench", "Hello there."))
        await client.hook_model("openai", "bench", endpoint=f"{address}/tiny/v1", api_key="bench-key")
    agents = (ResourceMonitor(), ConnectivityAgent(), PowerAgent())
    for agent in agents:
        clients[0].hook_agent(agent)
    seen: tuple[list[float], list[float]] = ([], [])
    for client in clients:
        await _batch(client)
    await _fresh(agents)
    told = iter(_heard(ear, per_call))
    for _ in range(TURNS):
        for took, client in zip(seen, clients, strict=True):
            took.append(await _batch(client, told if client is clients[0] else None))
    for client in clients:
        await client.shutdown()
    with_, without = (min(took) for took in seen)  # the best turns count, because noise only adds
    return {"execute": with_, "without": without, "added": with_ - without}


async def _batch(client: OblixClient, told: Iterator[list[Exchange]] | None = None) -> float:
    """CPU µs of an execute; `told`, what each tells of its traffic, as one of a cloud model would."""
    observe = client._hall.panel.observe
    start = _clock()
    for _ in range(BATCH):
        await client.execute(PROMPT, model_id="ollama:bench")
        for exchange in () if told is None else next(told):
            observe(exchange)
    return 1e6 * (_clock() - start) / BATCH


if __name__ == "__main__":
    found: dict[str, Any] = asyncio.run(_measure(sys.argv[1]))
    sys.stdout.write(json.dumps(found) + "\n")
