"""Tokens that are billed and not seen while they are written: which models have them, by their name and by what their answers cost."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from oblix.types.chunk import Usage

TOKENS_PER_CALL = 20  # what a tool call costs besides its arguments: its name, and the frame that is not shown
SLACK = 64  # tokens by which a count may differ from what we estimate, before it says anything
# Models that think unless they are told not to, and show nothing or a summary of it, as their makers document them (2026-11): OpenAI's
# o-series and GPT-5 and later, Gemini 2.5 and later, Grok 3 mini and Grok 4 and later, Claude 5 and later.
_THINKERS = re.compile(
    r"(?:^|[/:])(?:o[1-9](?:$|-)|gpt-(?:[5-9]|[1-9]\d)(?!\d)|gemini-(?:2\.5|[3-9])|grok-(?:3-mini|[4-9])|claude-(?:[a-z]+-)?(?:[5-9]|[1-9]\d)(?!\d))"
)
_NO_THOUGHT = re.compile(r"-chat(?:-|$)|non-reasoning")  # members of these families that do not think


def thinks_by_name(name: str) -> bool:
    """Whether a model of this name at its provider thinks out of sight unless it is told not to."""
    name = name.lower()
    return bool(_THINKERS.search(name)) and not _NO_THOUGHT.search(name)


class Hidden:
    """Whether a model may hide tokens. Once it was seen to, it is taken to do so for ever.

    Args:
        name: The model's name at its provider.
    """

    def __init__(self, name: str) -> None:
        self._by_name = thinks_by_name(name)
        self._by_usage = False

    def may(self, options: Mapping[str, Any]) -> bool:
        """Whether it may for a request with these `provider_options`, which can turn thinking on and off."""
        wish = _thinks(options)
        return self._by_usage or (self._by_name if wish is None else wish)

    def learn(self, usage: Usage, seen: int) -> None:
        """An answer is over: so many tokens of it were `seen`, by estimate."""
        if usage.output_tokens is not None and usage.output_tokens > 2 * seen + SLACK:
            self._by_usage = True


def _thinks(options: Mapping[str, Any]) -> bool | None:
    """What the caller says of thinking, in the words of OpenAI, OpenRouter and Anthropic; `None` where nothing is said."""
    thinking, reasoning = options.get("thinking"), options.get("reasoning")
    if isinstance(thinking, Mapping):
        return thinking.get("type") != "disabled"
    effort = options.get("reasoning_effort", reasoning.get("effort") if isinstance(reasoning, Mapping) else None)
    return None if effort is None else effort != "none"
