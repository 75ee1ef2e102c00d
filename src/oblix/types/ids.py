"""Names of things: model ids (`provider:name`) and time-ordered record ids."""

from __future__ import annotations

from enum import StrEnum

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class ModelType(StrEnum):
    """The families of models that `hook_model` knows; any other row of the registry is hooked by its name."""

    OLLAMA = "ollama"
    OPENAI = "openai"
    CLAUDE = "claude"
    EMBEDDED = "embedded"


def split_model_id(model_id: str) -> tuple[str, str]:
    """`"ollama:llama2:latest"` → `("ollama", "llama2:latest")`; no colon gives an empty provider."""
    provider, colon, name = model_id.partition(":")
    return (provider, name) if colon else ("", model_id)


def record_id(at: float, randomness: int) -> str:
    """A 26-character id that sorts by time: 48 bits of milliseconds, 80 of randomness, Crockford base 32.

    Args:
        at: Seconds since the epoch.
        randomness: 80 random bits, drawn by the caller.

    Source: the ULID specification's layout.
    """
    number = ((int(at * 1000) & ((1 << 48) - 1)) << 80) | (randomness & ((1 << 80) - 1))
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))
