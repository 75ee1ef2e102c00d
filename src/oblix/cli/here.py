"""What this machine has to answer with, when no settings file says it: running engines, else the small model if it was fetched."""

from __future__ import annotations

from oblix.client import OblixClient
from oblix.errors import ConfigurationError
from oblix.settings import load


async def hook_what_is_here(client: OblixClient, wanted: str | None, *, required: bool = True) -> None:
    """Hook the models of the settings file, else what runs on this machine, and the one that is asked for by name.

    A key in the environment hooks nothing by itself: the cloud is used when a settings file or `-m` names it.

    Args:
        required: Having nothing to answer with is an error.

    Raises:
        ConfigurationError: There is nothing to answer with, or the settings file or `wanted` cannot be right.
    """
    from oblix.types.ids import split_model_id

    client.settle(load())
    if not client.models:
        await client.discover(agents=False)
    if wanted is not None and wanted not in client.models:
        provider, name = split_model_id(wanted)
        if not provider:
            raise ConfigurationError(f"{wanted!r} is no model id.", hint="Write provider:name, e.g. -m ollama:llama3.")
        await client.hook_model(provider, name)
    if required and not client.models:
        raise ConfigurationError(
            "There is no model here to answer.",
            hint="`oblix models fetch smollm2` brings a small one (98 MB), `ollama serve` starts Ollama, "
            "-m openai:gpt-4o-mini asks the cloud.",
        )
