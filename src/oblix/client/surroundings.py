"""What the client tells its built-in agents, and what they tell the client's users."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from oblix.agents.base import BaseAgent
from oblix.agents.probes.engine_facts import is_here
from oblix.client import documented
from oblix.models.base import Model
from oblix.models.traffic import endpoint_of
from oblix.types.money import Period
from oblix.types.report import AgentReport
from oblix.types.traffic import Endpoint

# Seconds that somebody who asks for a reading waits for the first one; a prompt never does. A host may need two to be given up.
FIRST_READING = 3.0
LOOK_AGAIN = 0.05  # seconds


class ClientSurroundings:
    """Answers from the models that are hooked at the moment."""

    def __init__(
        self,
        models: Mapping[str, Model],
        forget_connections: Callable[[], None] = lambda: None,
        spent: Callable[[Period], int | None] = lambda _: None,
    ) -> None:
        self._models = models
        self._forget_connections = forget_connections
        self._spent = spent
        self._endpoints: tuple[Endpoint, ...] = ()
        self._local_server = False
        self._here: frozenset[str] = frozenset()

    def refresh(self) -> None:
        """A model was hooked."""
        self._endpoints = tuple(
            dict.fromkeys(
                endpoint_of(model.spec.endpoint)
                for model in self._models.values()
                if not model.spec.is_edge and model.spec.endpoint and model.spec.key != "missing"
            )
        )
        edge = [model.spec for model in self._models.values() if model.spec.is_edge]
        self._local_server = any(spec.endpoint and is_here(spec.endpoint) for spec in edge)
        self._here = frozenset(spec.id for spec in edge if not spec.endpoint or is_here(spec.endpoint))

    def cloud_endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of the hooked cloud models that have a key, each once."""
        return self._endpoints

    def inference_processes(self) -> frozenset[int]:
        """The children of embedded models."""
        return frozenset(pid for model in list(self._models.values()) for pid in model.state().processes)

    def has_local_server(self) -> bool:
        """Whether an edge server of this machine is hooked: of one that is elsewhere, nothing is done here."""
        return self._local_server

    def runs_here(self, model_id: str) -> bool:
        """Whether a hooked model works on this machine."""
        return model_id in self._here

    def network_changed(self) -> None:
        """Give up the connections that are kept for later."""
        self._forget_connections()

    def spent(self, period: Period) -> int | None:
        """What was spent in the present window, in micro-USD."""
        return self._spent(period)


async def resource_metrics(agents: Iterable[BaseAgent]) -> dict[str, Any]:
    """The report of the hooked ResourceMonitor (or of one made for this call), with the keys that the original documented beside ours."""
    from oblix.agents.resource_monitor import ResourceMonitor

    agent = next((agent for agent in agents if isinstance(agent, ResourceMonitor)), None)
    return documented.machine(await _ask(agent or ResourceMonitor(), keep=agent is not None), _now())


async def connectivity_metrics(agents: Iterable[BaseAgent], surroundings: ClientSurroundings) -> dict[str, Any]:
    """The same of the ConnectivityAgent."""
    from oblix.agents.connectivity import ConnectivityAgent

    agent = next((agent for agent in agents if isinstance(agent, ConnectivityAgent)), None)
    made = agent or ConnectivityAgent()
    if agent is None:
        made.attach(surroundings)
    return documented.network(await _ask(made, keep=agent is not None), _now())


async def _ask(agent: BaseAgent, *, keep: bool) -> dict[str, Any]:
    if not agent.is_active:
        await agent.initialize()
    clock = asyncio.get_running_loop().time
    until = clock() + FIRST_READING
    try:
        report = AgentReport.parse(await agent.check())
        while report.stale and clock() < until:
            await asyncio.sleep(LOOK_AGAIN)
            report = AgentReport.parse(await agent.check())
        return report.to_dict()
    finally:
        if not keep:
            await agent.shutdown()


def _now() -> str:
    return datetime.now(UTC).isoformat()
