"""Changes values inside of JSON text, and leaves everything else as it was written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

# A string, or a number outside of one.
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|-?[0-9][0-9.eE+-]*', re.DOTALL)


def looks_like_json(value: str) -> bool:
    """Whether a text may hold JSON; a number or a quotation is taken as any text."""
    return value.lstrip()[:1] in ("{", "[")


def in_strings(text: str, change: Callable[[str], str]) -> str | None:
    """The JSON with every string and number changed; `None` where the text is no JSON. A number that changes becomes a string.

    Args:
        change: From a value (unescaped) to what stands in its place.
    """
    return in_tokens(text, lambda value, _start, _end: change(value)) if _is_json(text) else None


def in_tokens(text: str, change: Callable[[str, int, int], str]) -> str:
    """The JSON with every string and number changed.

    Args:
        text: Must be JSON.
        change: From a value (unescaped) and the slice of the text that it is written in to what stands in its place.
    """

    def changed(token: re.Match[str]) -> str:
        written = token[0]
        value: str = json.loads(written) if written[0] == '"' else written
        new = change(value, token.start(), token.end())
        return written if new == value else json.dumps(new, ensure_ascii=False)

    return _TOKEN.sub(changed, text)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
