"""What several wire protocols share: encoding a body, tools in OpenAI's shape, text that JSON can carry."""

from __future__ import annotations

from typing import Any

import msgspec

from oblix.types.messages import Tool

_ENCODER = msgspec.json.Encoder()


def encode(body: dict[str, Any]) -> bytes:
    """The body as JSON."""
    return _ENCODER.encode(body)


def safe(text: str) -> str:
    """The text with lone surrogates replaced (U+FFFD): JSON in UTF-8 cannot carry them."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


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
