"""A world for some requests: upstreams, a client that knows them, and a witness of what the client writes down and when."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from oblix import OblixClient
from oblix.client.record import Recorder
from oblix.decision.facts import Facts
from oblix.decision.policy import Policy
from oblix.storage.store import Store, Work
from oblix.testing.faults import FaultServer, Tempo, Upstream
from oblix.types.attempt import Attempt
from oblix.types.decision import Decision
from oblix.types.request import Request
from oblix.types.secret import SecretStr
from oblix.types.spec import Timeouts

from .cells import SEATS, Seat

TIMERS = Timeouts(connect=1.0, load=1.0, first_token=0.6, idle=0.6)  # seconds
TEMPO = Tempo()  # the fault server's own: bombs of 64 MiB
KEY = "sk-canary-0123456789abcdef"  # no part of an error, a log or a redirected request may hold this
PRICE = (1.0, 5.0)  # USD per million tokens, the fault server's


class Witness(Recorder):
    """The client's own recorder, with the loop's time at which each decision was safe and each attempt was over."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.written: dict[str, float] = {}
        self.endings: Counter[str] = Counter()
        self.noticed: dict[tuple[str, str], float] = {}

    async def decided(
        self, decision: Decision, facts: Facts, policy: Policy, request: Request, *, also: Work[Any] | None = None
    ) -> bool:
        is_kept = await super().decided(decision, facts, policy, request, also=also)
        self.written[decision.id] = asyncio.get_running_loop().time()
        return is_kept

    def ended(self, decision: Decision, attempts: Sequence[Attempt], **rest: Any) -> None:
        self.endings[decision.id] += 1
        super().ended(decision, attempts, **rest)


@dataclass(slots=True)
class World:
    """What one or more requests meet.

    Attributes:
        upstreams: Model id → its server.
        failed_at: The loop's time at which the hands were done with each failed attempt, by model id, in order.
    """

    server: FaultServer
    client: OblixClient
    witness: Witness
    upstreams: dict[str, Upstream] = field(default_factory=dict)
    failed_at: dict[str, list[float]] = field(default_factory=dict)

    def add(self, seat: Seat, name: str) -> str:
        """Open an upstream and hook its model; the model's id."""
        model_id = f"{seat.provider}:{name}"
        upstream = self.upstreams[model_id] = self.server.upstream(f"{seat.provider}-{name}", wire=seat.wire)
        self.hook(seat, name, upstream.url)
        return model_id

    def hook(self, seat: Seat, name: str, url: str) -> None:
        """Make a model known, or known anew at another address."""
        options = {"timeouts": TIMERS} if seat.place == "edge" else {"timeouts": TIMERS, "price": PRICE}
        self.client._hook(seat.provider, name, url, SecretStr(KEY), options)

    def is_edge(self, model_id: str) -> bool:
        return self.client._hall.models[model_id].spec.is_edge

    def can_continue(self, model_id: str) -> bool:
        return "prefill" in self.client._hall.models[model_id].spec.capabilities

    def note(self, attempt: Attempt) -> None:
        if attempt.outcome != "ok":
            self.failed_at.setdefault(attempt.model_id, []).append(asyncio.get_running_loop().time())


@asynccontextmanager
async def world(tempo: Tempo = TEMPO) -> AsyncIterator[World]:
    """A server without upstreams and a client without models; everything is closed behind it."""
    async with FaultServer(tempo) as server:
        client = OblixClient(store=":memory:")
        hall = client._hall
        hall.recorder = witness = Witness(hall.store)
        made = World(server, client, witness)
        tell = hall.panel.notice

        def notice(attempt: Attempt) -> None:
            made.note(attempt)
            tell(attempt)

        hall.panel.notice = notice  # type: ignore[method-assign]  # the agents' news, overheard
        try:
            yield made
        finally:
            await client.shutdown()


def fill_for_long(made: World) -> None:
    """One faulty model for each seat, a calm one at home and in the cloud."""
    for seat in SEATS:
        made.add(seat, "played")
    made.add(SEATS[0], "calm")
    made.add(SEATS[2], "calm")
