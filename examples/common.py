"""What the examples share: the models to use, from the environment."""

from __future__ import annotations

import os

from oblix import OblixClient

DEFAULTS = {
    "EDGE_MODEL": "ollama:llama3.2",
    "SMALL_EDGE_MODEL": "ollama:llama3.2:1b",
    "CLOUD_MODEL": "openai:gpt-4o-mini",
    "STRONG_CLOUD_MODEL": "openai:gpt-4o",
}


async def hook(client: OblixClient, *names: str) -> None:
    """Hook the models that these variables name."""
    for name in names:
        provider, _, model = os.environ.get(name, DEFAULTS[name]).partition(":")
        await client.hook_model(provider, model)
