"""The embedded engine: llama.cpp in a child process of ours, so that its crash never takes the caller down."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oblix.models.embedded.provider import EmbeddedModel

__all__ = ["EmbeddedModel"]


def __getattr__(name: str) -> object:
    """Load the provider at first use: the child processes import this package too, and need none of it."""
    if name == "EmbeddedModel":
        from oblix.models.embedded.provider import EmbeddedModel

        return EmbeddedModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
