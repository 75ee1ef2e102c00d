"""One row per provider: data with lazy class paths, so that no provider is imported before it is hooked."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from oblix.types.spec import Capability, Place

Wire = Literal["ollama", "openai", "claude", "embedded"]
CLASSES: dict[Wire, str] = {
    "ollama": "oblix.models.ollama:OllamaModel",
    "openai": "oblix.models.openai:OpenAIModel",
    "claude": "oblix.models.claude:ClaudeModel",
    "embedded": "oblix.models.embedded:EmbeddedModel",
}
_CHAT: frozenset[Capability] = frozenset({"tools", "vision", "json", "logprobs"})


@dataclass(frozen=True, slots=True)
class Provider:
    """What is known of a provider.

    Attributes:
        name: First half of a model id.
        wire: The protocol that it speaks.
        place: Where its models run unless declared otherwise; a provider whose `place` is `edge` is checked by its address.
        endpoint: Base address when none is given.
        endpoint_env: Environment variable that replaces that address.
        key_env: Environment variables that may hold the key, first match wins; empty when it needs none.
        prices: Its name in the price catalogue, if it is there.
        keeps_prefix: It has a prompt cache that nobody has to ask for. Anthropic's has to be asked for, and writing to it costs more.
        default_model: What `OblixClient.auto(cloud=True)` hooks; `None` where a choice would be a guess.
    """

    name: str
    wire: Wire
    place: Place
    endpoint: str | None = None
    _: KW_ONLY
    endpoint_env: str | None = None
    key_env: tuple[str, ...] = ()
    prices: str | None = None
    capabilities: frozenset[Capability] = _CHAT
    keeps_prefix: bool = True
    default_model: str | None = None


def _cloud(
    name: str,
    endpoint: str,
    key_env: str,
    prices: str | None = None,
    *,
    default: str | None = None,
    without: frozenset[Capability] = frozenset(),
) -> Provider:
    return Provider(
        name,
        "openai",
        "cloud",
        endpoint,
        key_env=(key_env,),
        prices=prices or name,
        capabilities=_CHAT - without,
        default_model=default,
    )


def _server(name: str, port: int, *more: Capability) -> Provider:
    return Provider(name, "openai", "edge", f"http://localhost:{port}/v1", capabilities=_CHAT | {*more})


# Addresses and ports as each service documents them (2026-11).
#
# Default models: the easy prompts stay at home, so that of the cloud one good model is wanted, not the cheapest and not the dearest. Each
# is the newest of its provider's middle line that the price catalogue of 2026-11 has: 1 to 2 USD per million tokens of prompt where there
# is a choice, large windows, not deprecated (a test looks). Those who resell hundreds of models of others have no such line.
PROVIDERS: dict[str, Provider] = {
    row.name: row
    for row in (
        Provider(
            "ollama",
            "ollama",
            "edge",
            "http://localhost:11434",
            endpoint_env="OLLAMA_HOST",
            key_env=("OLLAMA_API_KEY",),
            capabilities=_CHAT | {"prefill"},
        ),
        Provider("embedded", "embedded", "edge", capabilities=frozenset({"tools", "json", "logprobs", "prefill"})),
        Provider(
            "openai",
            "openai",
            "cloud",
            "https://api.openai.com/v1",
            endpoint_env="OPENAI_BASE_URL",
            key_env=("OPENAI_API_KEY",),
            prices="openai",
            default_model="gpt-6.1-terra",
        ),
        Provider(
            "claude",
            "claude",
            "cloud",
            "https://api.anthropic.com",
            endpoint_env="ANTHROPIC_BASE_URL",
            key_env=("ANTHROPIC_API_KEY",),
            prices="anthropic",
            capabilities=frozenset({"tools", "vision", "json"}),
            keeps_prefix=False,
            default_model="claude-sonnet-5-5",
        ),
        _cloud("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
        _cloud("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY", default="openai/gpt-oss-120b"),
        _cloud(
            "mistral",
            "https://api.mistral.ai/v1",
            "MISTRAL_API_KEY",
            default="mistral-medium-latest",
            without=frozenset({"logprobs"}),
        ),
        _cloud("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY", default="deepseek-v4-flash"),
        _cloud("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY"),
        _cloud("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
        _cloud("xai", "https://api.x.ai/v1", "XAI_API_KEY", "x-ai", default="grok-4.7"),
        _cloud(
            "gemini",
            "https://generativelanguage.googleapis.com/v1beta/openai",
            "GEMINI_API_KEY",
            "google",
            default="gemini-3.8-flash",
        ),
        _cloud("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY", default="gpt-oss-120b"),
        _server("lmstudio", 1234),
        _server("llamacpp", 8080, "prefill"),
        _server("vllm", 8000, "prefill"),
    )
}


def catalogue_of(provider: str) -> str | None:
    """The provider's name in the price catalogue; `None` when it is not there, or is no provider of ours."""
    row = PROVIDERS.get(provider)
    return None if row is None else row.prices
