"""Clients with scripted models, on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from oblix import OblixClient, Price
from oblix.agents import AgentReport, BaseAgent
from oblix.testing import ScriptedModel

PAID = Price(10.0, 30.0, "test")  # USD per million tokens


def client_with(*models: ScriptedModel, policy: str = "balanced", store: Any = ":memory:") -> OblixClient:
    """A client that knows these models; its log is in memory unless said otherwise."""
    client = OblixClient(policy=policy, store=store)
    for model in models:
        client.hook(model)
    return client


def edge(*scripts: Any, name: str = "ollama:phi", **known: Any) -> ScriptedModel:
    """A free model at home."""
    return ScriptedModel(name, *scripts, **known)


def cloud(*scripts: Any, name: str = "openai:gpt", **known: Any) -> ScriptedModel:
    """A paid model elsewhere."""
    return ScriptedModel(name, *scripts, **{"price": PAID, **known})


def now() -> float:
    return asyncio.get_running_loop().time()


class Says(BaseAgent):
    """Says the same to every prompt, and remembers what it was told."""

    def __init__(self, name: str, found: Mapping[str, Any] | AgentReport) -> None:
        super().__init__(name)
        self.found = found
        self.told: list[dict[str, Any]] = []

    async def check(self, **kwargs: Any) -> Mapping[str, Any] | AgentReport:
        self.told.append(kwargs)
        return self.found
