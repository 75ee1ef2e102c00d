"""A world for private prompts: models at home that play faults, healthy ones in the cloud that are known by name, and what they saw."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from oblix import OblixClient
from oblix.testing.faults import FaultServer, Tempo, Upstream
from oblix.types.secret import SecretStr
from oblix.types.spec import Timeouts

from .cases import CLOUDS, EDGES, Case, Seat
from .names import CLOUD, HOME, Names

TIMERS = Timeouts(connect=1.0, load=1.0, first_token=0.4, idle=0.4)  # seconds
TEMPO = Tempo(bomb=8 << 20)  # bytes: twice the longest line that is taken
KEY = "sk-canary-0123456789abcdef"
PRICE = (1.0, 5.0)  # USD per million tokens, the fault server's


@dataclass(frozen=True, slots=True)
class Mark:
    """How much was known at a moment: bytes and connections of each cloud, look-ups, followed redirects."""

    received: dict[str, int]
    connections: dict[str, int]
    asked: int
    trapped: int


@dataclass(frozen=True, slots=True)
class Sighting:
    """What the outside saw of some requests.

    Attributes:
        received: Every byte that clouds, and strangers that redirects lead to, were sent.
        connections: How many were opened to clouds.
        asked: Hosts away from home that were looked up.
    """

    received: bytes
    connections: int
    asked: tuple[str, ...]

    @property
    def is_nothing(self) -> bool:
        return not (self.received or self.connections or self.asked)


@dataclass(slots=True)
class World:
    """One client and its models, by id."""

    server: FaultServer
    client: OblixClient
    names: Names
    number: int
    edges: dict[str, Upstream] = field(default_factory=dict)
    clouds: dict[str, Upstream] = field(default_factory=dict)
    hosts: list[str] = field(default_factory=list)

    def add_edge(self, seat: Seat, name: str, *, named: bool = False) -> str:
        """A model at home, by its address or by a name of the house."""
        options: dict[str, Any] = {"timeouts": TIMERS}
        if seat.provider == "claude":  # a cloud provider's protocol at home has to be declared
            options["place"] = "edge"
        host = f"box-{self.number}{HOME}" if named else "127.0.0.1"
        return self._hook(self.edges, seat, name, host, options)

    def add_cloud(self, seat: Seat, name: str) -> str:
        """A model in the cloud, by a name that no other world has."""
        options: dict[str, Any] = {"timeouts": TIMERS, "price": PRICE}
        if seat.provider == "ollama":
            options["place"] = "cloud"
        host = f"{seat.provider}-{name}-{self.number}{CLOUD}"
        self.hosts.append(host)
        return self._hook(self.clouds, seat, name, host, options)

    def _hook(self, kept: dict[str, Upstream], seat: Seat, name: str, host: str, options: dict[str, Any]) -> str:
        model_id = f"{seat.provider}:{name}"
        upstream = kept[model_id] = self.server.upstream(model_id, wire=seat.wire)
        self.client._hook(seat.provider, name, upstream.url.replace("127.0.0.1", host), SecretStr(KEY), options)
        return model_id

    def mark(self) -> Mark:
        """What the outside has seen up to now."""
        return Mark(
            {name: len(cloud.received) for name, cloud in self.clouds.items()},
            {name: cloud.connections for name, cloud in self.clouds.items()},
            len(self.names.asked),
            len(self.server.trapped),
        )

    def seen_since(self, mark: Mark) -> Sighting:
        """What the outside has seen since, of this world's clouds and of strangers."""
        received = [cloud.received[mark.received.get(name, 0) :] for name, cloud in self.clouds.items()]
        received += [stray.head + stray.body for stray in self.server.trapped[mark.trapped :]]
        connections = sum(cloud.connections - mark.connections.get(name, 0) for name, cloud in self.clouds.items())
        return Sighting(b"".join(received), connections, self.names.of(self.hosts, mark.asked))


@asynccontextmanager
async def world(names: Names, number: int) -> AsyncIterator[World]:
    """A server and a client without models; both are closed behind it."""
    async with FaultServer(TEMPO) as server:
        client = OblixClient(store=":memory:")
        try:
            yield World(server, client, names, number)
        finally:
            await client.shutdown()


def furnish(made: World, case: Case) -> None:
    """The models that one case needs."""
    case.said.prepare(made.client)
    made.add_edge(case.edge, "played", named=case.named)
    if case.relief or case.said.follows:
        made.add_edge(EDGES[0], "calm")
    made.add_cloud(case.cloud, "far")


def furnish_for_long(made: World) -> None:
    """Models for a life: a faulty one for each wire at home and a calm one, a healthy one for each in the cloud."""
    for seat in EDGES:
        made.add_edge(seat, "played")
    made.add_edge(EDGES[0], "calm")
    for seat in CLOUDS:
        made.add_cloud(seat, "far")
