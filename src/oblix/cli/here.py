"""What this machine has to answer with, when no settings file says it: Ollama if it runs, the small model if it was fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from oblix.client import OblixClient
from oblix.errors import AttemptFailed, ConfigurationError
from oblix.models.registry import PROVIDERS
from oblix.settings import load, resolve_endpoint

PATIENCE = 1.0  # seconds that a server on this machine has to tell what it holds


async def hook_what_is_here(client: OblixClient, wanted: str | None) -> None:
    """Hook the models of the settings file, else what runs on this machine, and the one that is asked for by name.

    A key in the environment hooks nothing by itself: the cloud is used when a settings file or `-m` names it.

    Raises:
        ConfigurationError: There is nothing to answer with.
    """
    from oblix.types.ids import split_model_id

    settings = load()
    client.settle(settings)
    if not settings.models:
        for name in (await ollama_models())[:1]:
            await client.hook_model("ollama", name)
        if small_model() is not None:
            await client.hook_model("embedded", "smollm2")
    if wanted is not None and wanted not in client.models:
        provider, name = split_model_id(wanted)
        if not provider:
            raise ConfigurationError(f"{wanted!r} is no model id.", hint="Write provider:name, e.g. -m ollama:llama3.")
        await client.hook_model(provider, name)
    if not client.models:
        raise ConfigurationError(
            "There is no model here to answer.",
            hint="`oblix models fetch smollm2` brings a small one (98 MB), `ollama serve` starts Ollama, "
            "-m openai:gpt-4o-mini asks the cloud.",
        )


async def ollama_models() -> list[str]:
    """Names of the chat models that a running Ollama holds, the latest first; empty when none runs."""
    import asyncio

    import msgspec

    from oblix.models.transport import Permit, Transport
    from oblix.types.spec import ModelSpec

    provider = PROVIDERS["ollama"]
    address = resolve_endpoint(None, provider.endpoint_env, provider.endpoint)
    transport = Transport()
    try:
        async with asyncio.timeout(PATIENCE):
            # No prompt goes with it: who reaches an Ollama through a tunnel is told of its models.
            permit = Permit(ModelSpec("ollama:", "ollama", "", "edge", endpoint=address), private=False)
            answer = await transport.get(f"{address}/api/tags", permit=permit)
            found: Any = msgspec.json.decode(await answer.read(4 << 20))
            answer.close()
        rows = sorted(found["models"], key=lambda row: str(row.get("modified_at", "")), reverse=True)
        return [str(row["name"]) for row in rows if "embed" not in str(row["name"])]
    except (AttemptFailed, TimeoutError, msgspec.MsgspecError, KeyError, TypeError):
        return []
    finally:
        await transport.close()


def small_model() -> Path | None:
    """The small model's weights, if they were fetched and the engine is installed."""
    from importlib.util import find_spec

    from oblix.models.embedded.weights import resolve

    if find_spec("xllamacpp") is None:
        return None
    try:
        return resolve("smollm2").path
    except AttemptFailed:
        return None
