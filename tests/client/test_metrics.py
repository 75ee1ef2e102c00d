"""Readings of the machine and of the network, as users ask the client for them."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from oblix import OblixClient
from oblix.agents import ConnectivityAgent, ResourceMonitor

from .hooked import client_with, edge


@pytest.fixture
def idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine reads as idle."""
    file = tmp_path / "idle.json"
    file.write_text(json.dumps({"cpu_percent": 3.0, "cores": 4, "memory_percent": 20.0}))
    monkeypatch.setenv("OBLIX_READINGS", str(file))


@pytest.fixture
def port() -> Iterator[int]:
    """Where somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def sensors() -> set[int]:
    """The sensors' threads; those of earlier tests may still be ending."""
    return {id(thread) for thread in threading.enumerate() if thread.name.startswith("oblix-sensor")}


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("hooked", [True, False])
def test_the_machine(hooked: bool) -> None:
    async def main() -> None:
        client = client_with(edge())
        if hooked:
            client.hook_agent(ResourceMonitor("mine", custom_thresholds={"cpu_threshold": 2}))
        found = await client.get_resource_metrics()
        assert found["state"] == ("constrained" if hooked else "available")
        assert (found["metrics"]["cpu_percent"], found["metrics"]["cores"]) == (3.0, 4)
        assert json.loads(json.dumps(found)) == found
        await client.shutdown()

    asyncio.run(main())


@pytest.mark.parametrize("hooked", [True, False])
def test_the_network(hooked: bool, port: int) -> None:
    async def main() -> None:
        client = OblixClient(store=":memory:")
        await client.hook_model("openai", "gpt", endpoint=f"http://127.0.0.1:{port}/v1", api_key="sk-test")
        if hooked:
            client.hook_agent(ConnectivityAgent("mine", latency_threshold=1e-9))
        async with asyncio.timeout(30):
            while (found := await client.get_connectivity_metrics())["state"] == "unknown":
                await asyncio.sleep(0.01)
        assert found["state"] in (("degraded",) if hooked else ("optimal", "degraded"))
        assert found["latency"] == found["metrics"]["latency_ms"] >= 0
        assert (found["packet_loss"], found["bandwidth"]) == (0.0, None)
        assert list(found["metrics"]["endpoints"]) == [f"127.0.0.1:{port}"]
        await client.shutdown()

    asyncio.run(main())


def test_without_a_cloud_model_the_network_is_not_looked_at() -> None:
    async def main() -> None:
        found = await client_with(edge()).get_connectivity_metrics()
        assert (found["state"], found["latency"]) == ("unknown", None)

    asyncio.run(main())


@pytest.mark.usefixtures("idle")
def test_an_agent_that_was_made_for_the_question_is_gone_after_it() -> None:
    async def main() -> None:
        before = sensors()
        await client_with(edge()).get_resource_metrics()
        async with asyncio.timeout(30):
            while sensors() - before:
                await asyncio.sleep(0.01)

    asyncio.run(main())
