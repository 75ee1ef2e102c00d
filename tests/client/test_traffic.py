"""What real calls of a client tell its agents about the way to the cloud, and what agents may do about a network that changed."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest

from oblix import OblixClient
from oblix.agents import AgentReport, BaseAgent
from oblix.agents.base import Surroundings
from oblix.types.traffic import Exchange

from .outside import small_server

SECRET = "the admiral's parrot speaks Portuguese"


class Listens(BaseAgent):
    """Remembers what the traffic told."""

    def __init__(self) -> None:
        super().__init__("listens")
        self.told: list[Exchange] = []
        self.around: Surroundings | None = None

    async def check(self, **_context: Any) -> AgentReport:
        return AgentReport()

    def attach(self, surroundings: Surroundings) -> None:
        self.around = surroundings

    def observe(self, exchange: Exchange) -> None:
        self.told.append(exchange)

    def steps(self) -> list[str]:
        return [exchange.step for exchange in self.told]


class Chokes(Listens):
    """Fails at whatever it is told."""

    def observe(self, exchange: Exchange) -> None:
        raise RuntimeError("too much")


@pytest.fixture
def server() -> Iterator[str]:
    with small_server() as address:
        yield address


async def client_of(server: str, *agents: BaseAgent, place: str = "cloud") -> OblixClient:
    """A client with one model at that address."""
    client = OblixClient(store=":memory:")
    client._hall.transport.traffic.tell_every = 0.0  # this server answers faster than any model
    for agent in agents:
        client.hook_agent(agent)
    if place == "cloud":
        await client.hook_model("openai", "gpt", endpoint=f"{server}/v1", api_key="sk-" + "test" * 4)
    else:
        await client.hook_model("ollama", "phi", endpoint=server)
    return client


def test_a_call_tells_of_its_connection_and_its_answer(server: str) -> None:
    """The endpoint is one of those that the agents know; a second call uses the connection again."""

    async def main() -> Listens:
        agent = Listens()
        async with await client_of(server, agent) as client:
            await client.execute("hello")
            await client.execute("hello again")
            assert agent.around is not None
            assert {exchange.endpoint for exchange in agent.told} == set(agent.around.cloud_endpoints())
            return agent

    agent = asyncio.run(main())
    assert agent.steps() == ["connect", "answer", "answer"]
    assert len({exchange.connection for exchange in agent.told}) == 1
    assert [exchange.trouble for exchange in agent.told] == [None, None, None]


def test_the_edge_is_nobodys_network(server: str) -> None:
    async def main() -> Listens:
        agent = Listens()
        async with await client_of(server, agent, place="edge") as client:
            await client.execute("hello", model_id="ollama:phi")
        return agent

    assert asyncio.run(main()).told == []


def test_no_byte_of_a_prompt_or_an_answer_is_told(server: str) -> None:
    async def main() -> Listens:
        agent = Listens()
        async with await client_of(server, agent) as client:
            assert SECRET in (await client.execute(SECRET)).response
        return agent

    told = json.dumps([dataclasses.asdict(exchange) for exchange in asyncio.run(main()).told])
    assert told.count('"step"') == 2
    for word in (*SECRET.split()[1:], "said", "test"):
        assert word not in told


def test_an_agent_that_chokes_on_it_hurts_nobody(server: str) -> None:
    async def main() -> None:
        chokes, listens = Chokes(), Listens()
        chokes.name = "chokes"
        async with await client_of(server, chokes, listens) as client:
            assert (await client.execute("hello")).response == "you said hello"
        assert listens.steps() == ["connect", "answer"]

    asyncio.run(main())


@pytest.mark.parametrize("from_a_thread", [True, False])
def test_after_a_change_of_network_a_new_connection_is_made(server: str, from_a_thread: bool) -> None:
    async def main() -> Listens:
        agent = Listens()
        async with await client_of(server, agent) as client:
            await client.execute("hello")
            assert agent.around is not None
            if from_a_thread:
                await asyncio.to_thread(agent.around.network_changed)
            else:
                agent.around.network_changed()
            await client.execute("hello again")
        return agent

    agent = asyncio.run(main())
    assert agent.steps() == ["connect", "answer", "connect", "answer"]
    assert [exchange.trouble for exchange in agent.told] == [None] * 4


def test_a_change_of_network_before_and_after_the_client_lived(server: str) -> None:
    async def main() -> Listens:
        agent = Listens()
        client = await client_of(server, agent)
        assert agent.around is not None
        agent.around.network_changed()
        async with client:
            await client.execute("hello")
        agent.around.network_changed()
        return agent

    agent = asyncio.run(main())
    assert agent.around is not None
    agent.around.network_changed()  # its loop is closed
