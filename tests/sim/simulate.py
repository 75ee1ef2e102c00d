"""Runs the world of a seed: a storm in which nothing may go wrong (safety), and a calm in which all must become well (liveness)."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

from oblix import OblixClient
from oblix.client import client as client_module
from oblix.errors import PrivacyViolation
from oblix.execution.health import HealthBook
from oblix.execution.latency import Timing
from oblix.types.ids import record_id
from oblix.types.spec import ModelSpec

from .caller import Call, make
from .fate import SPREAD
from .judge import Judge
from .loop import SimLoop
from .model import ColdModel, SimModel
from .plan import EPOCH, ModelPlan, RequestPlan, World, draw
from .surroundings import Disk, Engine, Network, SimAgent, engines
from .tally import tally
from .trace import Broken, Trace

# Seconds after the last fault by which everything must be well: the longest time that a breaker stays open (300 s, a fifth more at most)
# and the longest cooldown of a kind (600 s, types/failure.py), then one round of requests that probe, and one that ramps up.
CALM_WITHIN = 700.0
ROUNDS = (5.0, 15.0, 45.0, 120.0, 250.0, 400.0, 620.0, 640.0, 655.0, 670.0, 685.0)  # seconds after the last fault
PATIENCE = 4 * 3600.0  # simulated seconds, after which a call that has not ended never will
SETTLE = 60.0  # simulated seconds for clean-up that goes on beside


@dataclass(frozen=True, slots=True)
class Result:
    """What a seed came to; `met` counts what happened (see `tally.py`)."""

    seed: int
    unsafe: tuple[Broken, ...]
    stuck: tuple[Broken, ...]
    digest: str
    lines: tuple[str, ...]
    requests: int
    met: Counter[str]


def simulate(seed: int, *, change: Callable[[World], World] = lambda world: world) -> Result:
    """Run one seed from beginning to end.

    Args:
        change: A last change to the world, for tests of the judge.
    """
    world = change(draw(seed))
    trace = Trace()
    with asyncio.Runner(loop_factory=SimLoop) as runner, _quiet():
        storm = _Storm(world, trace, runner.get_loop())
        runner.run(storm.run())
    stuck = tuple(broken for broken in trace.broken if broken.invariant.startswith("L"))
    unsafe = tuple(broken for broken in trace.broken if broken not in stuck)
    calls, models = storm.judge.calls.values(), storm.judge.models.values()
    met = tally(world, calls, models, storm.engines.values(), storm.disk)
    return Result(seed, unsafe, stuck, trace.digest(), tuple(trace.lines), len(calls), met)


class _Storm:
    """One world while it runs."""

    def __init__(self, world: World, trace: Trace, loop: asyncio.AbstractEventLoop) -> None:
        self.world = world
        self.trace = trace
        self.network = Network(world.network)
        self.engines = engines(world, trace)
        self.disk = Disk(world.disk, trace, loop)
        self.judge = Judge(world, self.disk, trace)
        self._early: asyncio.Task[None] | None = None

    async def run(self) -> None:
        asyncio.get_running_loop().set_exception_handler(self._unheard)
        with _data_file(self.disk):
            client = self._client()
            if self.world.shutdown is not None:
                asyncio.get_running_loop().call_later(self.world.shutdown, self._shut_down_early, client)
            await self._ask(client, self.world.requests)
            await self._calm_down(client)
            await self._shut_down(client)
        await asyncio.sleep(SETTLE)
        self.judge.closed(len(asyncio.all_tasks()) - 1)

    async def _shut_down(self, client: OblixClient) -> None:
        try:
            async with asyncio.timeout(SETTLE):
                await client.shutdown()
        except TimeoutError:
            self.trace.breach("I1 end", f"shutdown takes longer than {SETTLE} s")

    def _shut_down_early(self, client: OblixClient) -> None:
        self.trace.note("shutdown")
        self._early = asyncio.create_task(self._shut_down(client))

    def _client(self) -> OblixClient:
        world, trace = self.world, self.trace
        client = OblixClient(policy=world.policy, store=":memory:")
        hands = client._hall.hands
        hands.chance = world.chance("hands").random
        self.judge.health = hands.health = HealthBook(hands.chance)
        for plan in world.models:
            line: Network | Engine = self.network if plan.place == "cloud" else self.engines[plan.endpoint]
            kind = SimModel if plan.load is None else ColdModel
            model = kind(plan, world, trace, line, self.judge.asked)
            self.judge.models[plan.id] = model
            client.hook(model)
            self._remember(plan, model.spec)
        for agent in world.agents:
            client.hook_agent(
                SimAgent(agent, world.chance(agent.name), self.network, vetoed=self.judge.vetoed.add, until=world.span)
            )
        return client

    def _remember(self, plan: ModelPlan, spec: ModelSpec) -> None:
        """Answers from before the world began, as slow and as quick as those that will come."""
        chance, health = self.world.chance(plan.id, "past"), self.judge.health
        for _ in range(self.world.past):
            first, gap = plan.first * chance.uniform(*SPREAD), plan.pace * chance.uniform(*SPREAD)
            health.asked(0.0)
            health.succeeded(spec, 0.0, Timing(first + 4 * gap, first, gap, plan.load, 10))

    async def _ask(self, client: OblixClient, plans: tuple[RequestPlan, ...]) -> list[Call]:
        """All requests, each at its time; whoever has not ended after `PATIENCE` is given up."""
        calls = [Call(plan) for plan in plans]
        tasks = [asyncio.create_task(self._one(call, client)) for call in calls]
        _, open_ = await asyncio.wait(tasks, timeout=PATIENCE)
        for task in open_:
            task.cancel()
        for task in tasks:
            if task.done() and not task.cancelled():
                task.result()
        return calls

    async def _one(self, call: Call, client: OblixClient) -> None:
        await asyncio.sleep(max(0.0, call.plan.at - asyncio.get_running_loop().time()))
        self.judge.calls[call.plan.id] = call
        await make(call, client, self.trace)
        self.judge.ended(call)

    async def _calm_down(self, client: OblixClient) -> None:
        """Liveness: the faults are over; with a trickle of requests all breakers close, and then every request succeeds."""
        healed = max(self.world.span, asyncio.get_running_loop().time())
        for number, after in enumerate(ROUNDS):
            await self._ask(client, self._round(number, healed + after))
        calls = await self._ask(client, self._round(len(ROUNDS), healed + CALM_WITHIN))
        for call in calls:
            if call.reply is None and not isinstance(call.error, PrivacyViolation):
                self.trace.breach("L1 success", f"{call.name} on {call.plan.model_id}: {call.error!r}"[:500])
        health = self.judge.health
        if not health.is_calm(asyncio.get_running_loop().time()):
            states = {"the cloud": health._cloud.breaker}
            states |= {name: place.breaker for name, place in health._places.items()}
            states |= {name: known.breaker for name, known in health._models.items()}
            shut = [f"{name} {state}" for name, state in states.items() if state.phase != "closed"]
            self.trace.breach("L2 breakers", f"not closed {CALM_WITHIN} s after the last fault: {shut}")

    def _round(self, number: int, at: float) -> tuple[RequestPlan, ...]:
        """One request to whom it may concern, and one to each model."""
        wanted = (None, *(plan.id for plan in self.world.models))
        return tuple(
            RequestPlan(
                record_id(EPOCH + at, (self.world.seed << 16) + 1000 + 10 * number + index),
                at,
                f"calm {number} {index}",
                stream=index % 2 == 0,
                deadline=300.0,
                wishes={"policy": "balanced"},
                model_id=model_id,
            )
            for index, model_id in enumerate(wanted)
        )

    def _unheard(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        self.trace.breach("I10 manners", f"the loop was told of {context.get('message')}: {context.get('exception')!r}")


@contextmanager
def _data_file(disk: Disk) -> Iterator[None]:
    """The one seam below the client: its store is the simulated disk."""
    with patch.object(client_module, "Store", lambda path: disk):
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """What the client logs of all that goes wrong is not for the terminal of ten thousand worlds."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
