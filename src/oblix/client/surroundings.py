"""What the client tells its built-in agents, and what they tell the client's users."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from oblix.agents.base import BaseAgent
from oblix.models.base import Model
from oblix.types.report import AgentReport
from oblix.types.traffic import Endpoint


class ClientSurroundings:
    """Answers from the models that are hooked at the moment."""

    def __init__(self, models: Mapping[str, Model], forget_connections: Callable[[], None] = lambda: None) -> None:
        self._models = models
        self._forget_connections = forget_connections
        self._endpoints: tuple[Endpoint, ...] = ()
        self._local_server = False

    def refresh(self) -> None:
        """A model was hooked."""
        self._endpoints = tuple(
            dict.fromkeys(
                _endpoint(model.spec.endpoint)
                for model in self._models.values()
                if not model.spec.is_edge and model.spec.endpoint and model.spec.key != "missing"
            )
        )
        self._local_server = any(model.spec.is_edge and model.spec.endpoint for model in self._models.values())

    def cloud_endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of the hooked cloud models that have a key, each once."""
        return self._endpoints

    def inference_processes(self) -> frozenset[int]:
        """The children of embedded models."""
        return frozenset(pid for model in list(self._models.values()) for pid in model.state().processes)

    def has_local_server(self) -> bool:
        """Whether an edge server is hooked."""
        return self._local_server

    def network_changed(self) -> None:
        """Give up the connections that are kept for later."""
        self._forget_connections()


def _endpoint(address: str) -> Endpoint:
    parts = urlsplit(address)
    return Endpoint(parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))


async def resource_metrics(agents: Iterable[BaseAgent]) -> dict[str, Any]:
    """The report of the hooked ResourceMonitor (or of one made for this call), as a plain dict."""
    from oblix.agents.resource_monitor import ResourceMonitor

    agent = next((agent for agent in agents if isinstance(agent, ResourceMonitor)), None)
    return await _ask(agent or ResourceMonitor(), keep=agent is not None)


async def connectivity_metrics(agents: Iterable[BaseAgent], surroundings: ClientSurroundings) -> dict[str, Any]:
    """The report of the hooked ConnectivityAgent (or of one made for this call), with the keys that the original documented."""
    from oblix.agents.connectivity import ConnectivityAgent

    agent = next((agent for agent in agents if isinstance(agent, ConnectivityAgent)), None)
    made = agent or ConnectivityAgent()
    if agent is None:
        made.attach(surroundings)
    report = await _ask(made, keep=agent is not None)
    found = report["metrics"]
    return {
        **report,
        "latency": found.get("latency_ms"),
        "packet_loss": found.get("packet_loss_percent"),
        "bandwidth": found.get("bandwidth_mbps"),
    }


async def _ask(agent: BaseAgent, *, keep: bool) -> dict[str, Any]:
    if not agent.is_active:
        await agent.initialize()
    try:
        report = AgentReport.parse(await agent.check())
        if report.stale or report.state == "unknown":  # a first reading may take longer than a prompt would wait
            await asyncio.sleep(0.1)
            report = AgentReport.parse(await agent.check())
        return report.to_dict()
    finally:
        if not keep:
            await agent.shutdown()
