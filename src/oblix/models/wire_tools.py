"""What several wire protocols share: encoding a body, tools in OpenAI's shape, text that JSON can carry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from oblix.errors import AttemptFailed, FailureKind
from oblix.types.messages import Tool

_ENCODER = msgspec.json.Encoder()


def encode(body: dict[str, Any]) -> bytes:
    """The body as JSON, with lone surrogates replaced wherever they stand.

    Raises:
        AttemptFailed: kind `bad_request`, when JSON cannot carry it.
    """
    try:
        try:
            return _ENCODER.encode(body)
        except UnicodeEncodeError:
            return _ENCODER.encode(_all_safe(body))
    except (TypeError, ValueError, RecursionError) as error:
        raise AttemptFailed(
            FailureKind.BAD_REQUEST,
            f"the request cannot be written as JSON: {error}",
            hint="Look into tools, response_format and provider_options.",
            cause=error,
        ) from error


def safe(text: str) -> str:
    """The text with lone surrogates replaced (U+FFFD): JSON in UTF-8 cannot carry them."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _all_safe(value: Any) -> Any:
    if isinstance(value, str):
        return safe(value)
    if isinstance(value, Mapping):
        return {_all_safe(key): _all_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_all_safe(item) for item in value]
    return value


def read_arguments(text: str) -> dict[str, Any]:
    """The arguments of a tool call, for protocols that want an object where a model wrote JSON text."""
    try:
        found = msgspec.json.decode(safe(text) or "{}")
    except (msgspec.DecodeError, RecursionError):
        found = text
    return found if isinstance(found, dict) else {"input": found}


def function_tools(tools: tuple[Tool, ...]) -> list[dict[str, Any]]:
    """Tools in the shape that OpenAI defined and Ollama and llama.cpp took over."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters or {"type": "object", "properties": {}},
            },
        }
        for tool in tools
    ]
