"""Readings of the machine and of the network, as users ask the client for them: with the keys that the original documented, and ours."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from oblix import OblixClient
from oblix.agents import ConnectivityAgent, ResourceMonitor

from .hooked import client_with, edge
from .outside import small_server

IDLE = {
    "cpu_percent": 3.0,
    "cores": 4,
    "memory_percent": 20.0,
    "memory_available_bytes": 12_800_000_000,
    "memory_total_bytes": 16_000_000_000,
    "swap_percent": 0.0,
    "load_1min": 0.25,
}
GPU = {"name": "RTX", "load_percent": 12.5, "memory_percent": 40.0, "memory_bytes": 24_000_000_000}
# What the documentation of the original promised of each call (its own results had other keys, or none).
MACHINE_KEYS = {"state", "target", "reason", "proceed", "metrics", "cpu_percent", "gpu"}
NETWORK_KEYS = {"state", "target", "reason", "latency", "packet_loss", "connection_type", "bandwidth", "timestamp"}


@pytest.fixture
def reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Says what the machine reads as."""

    def set_to(**told: Any) -> None:
        file = tmp_path / "reading.json"
        file.write_text(json.dumps({**IDLE, **told}))
        monkeypatch.setenv("OBLIX_READINGS", str(file))

    return set_to


@pytest.fixture
def server() -> Iterator[str]:
    """Where somebody answers."""
    with small_server() as address:
        yield address


def sensors() -> set[int]:
    """The sensors' threads; those of earlier tests may still be ending."""
    return {id(thread) for thread in threading.enumerate() if thread.name.startswith("oblix-sensor")}


def asked(client: OblixClient, question: Callable[[OblixClient], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """The answer, which must be plain JSON: no infinity, and nothing that only Python knows."""

    async def main() -> dict[str, Any]:
        async with client, asyncio.timeout(30):
            while (found := await question(client))["stale"]:
                await asyncio.sleep(0.01)
            return found

    found = asyncio.run(main())
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


def hooked_cloud(server: str) -> OblixClient:
    """A client with a cloud model that is reached on this machine."""
    client = OblixClient(store=":memory:")
    asyncio.run(client.hook_model("openai", "gpt", endpoint=f"{server}/v1", api_key="sk-" + "test" * 4))
    return client


@pytest.mark.parametrize("hooked", [True, False])
def test_the_machine(reading: Callable[..., None], hooked: bool) -> None:
    reading(gpus=[GPU])
    client = client_with(edge())
    if hooked:
        client.hook_agent(ResourceMonitor("mine", custom_thresholds={"cpu_threshold": 2}))
    found = asked(client, OblixClient.get_resource_metrics)
    assert found.keys() >= MACHINE_KEYS
    assert found["state"] == ("constrained" if hooked else "available")
    assert (found["cpu_percent"], found["metrics"]["cpu_percent"], found["metrics"]["cores"]) == (3.0, 3.0, 4)
    assert found["gpu"]["name"] == "RTX"
    assert found["metrics"]["gpus"][0]["load_percent"] == 12.5


def test_the_keys_of_the_original_say_the_same_as_ours(reading: Callable[..., None]) -> None:
    """Its nests (`metrics.cpu.usage_percent` and the like) hold the figures that ours hold."""
    reading(gpus=[GPU])
    metrics = asked(client_with(edge()), OblixClient.get_resource_metrics)["metrics"]
    assert metrics["cpu"]["usage_percent"] == metrics["cpu_percent"] == 3.0
    assert metrics["cpu"]["load_average"]["1min"] == metrics["load_1min"] == 0.25
    assert metrics["memory"]["ram"]["usage_percent"] == metrics["memory_percent"] == 20.0
    assert metrics["memory"]["ram"]["available_gb"] == pytest.approx(12.8, rel=0.1)
    assert metrics["memory"]["swap"]["usage_percent"] == metrics["swap_percent"] == 0.0
    assert metrics["gpu"]["available"] is True
    assert metrics["gpu"]["utilization"] == metrics["gpus"][0]["load_percent"]


def test_what_a_machine_does_not_tell_is_none_and_no_device_is_invented(reading: Callable[..., None]) -> None:
    """The original made up a graphics processor at 50 %."""
    reading(cpu_percent=None, memory_available_bytes=None, load_1min=None, swap_percent=None)
    found = asked(client_with(edge()), OblixClient.get_resource_metrics)
    assert (found["cpu_percent"], found["gpu"]) == (None, None)
    assert found["metrics"]["cpu"]["usage_percent"] is None
    assert found["metrics"]["memory"]["ram"]["available_gb"] is None
    assert found["metrics"]["gpu"] is None or found["metrics"]["gpu"]["available"] is False


def test_this_machine_as_it_is() -> None:
    """Real sensors, whatever they find."""
    found = asked(client_with(edge()), OblixClient.get_resource_metrics)
    assert found.keys() >= MACHINE_KEYS
    assert 0 < found["metrics"]["memory_percent"] < 100
    assert found["metrics"]["source"] == "sensors"


@pytest.mark.parametrize("hooked", [True, False])
def test_the_network(server: str, hooked: bool) -> None:
    client = hooked_cloud(server)
    if hooked:
        client.hook_agent(ConnectivityAgent("mine", latency_threshold=1e-9))
    found = asked(client, OblixClient.get_connectivity_metrics)
    assert found.keys() >= NETWORK_KEYS
    assert found["state"] in (("degraded",) if hooked else ("optimal", "degraded"))
    assert found["latency"] == found["metrics"]["latency_ms"] > 0
    assert found["packet_loss"] == found["metrics"]["packet_loss_percent"]
    assert found["bandwidth"] is None  # nothing was sent that would tell
    assert datetime.fromisoformat(found["timestamp"]).tzinfo is not None
    assert list(found["metrics"]["endpoints"]) == [server.removeprefix("http://")]


def test_a_network_that_is_down_has_no_infinite_latency() -> None:
    """The original gave `inf`, which is no JSON."""
    client = hooked_cloud("http://127.0.0.1:9")  # the discard port: nobody answers
    client.hook_agent(ConnectivityAgent())
    found = asked(client, OblixClient.get_connectivity_metrics)
    assert (found["state"], found["latency"], found["bandwidth"]) == ("disconnected", None, None)


def test_without_a_cloud_model_the_network_is_not_looked_at() -> None:
    found = asked(client_with(edge()), OblixClient.get_connectivity_metrics)
    assert found.keys() >= NETWORK_KEYS
    assert (found["state"], found["latency"], found["connection_type"]) == ("unknown", None, None)


def test_an_agent_that_was_made_for_the_question_is_gone_after_it(reading: Callable[..., None]) -> None:
    reading()

    async def main() -> None:
        before = sensors()
        await client_with(edge()).get_resource_metrics()
        async with asyncio.timeout(30):
            while sensors() - before:
                await asyncio.sleep(0.01)

    asyncio.run(main())
