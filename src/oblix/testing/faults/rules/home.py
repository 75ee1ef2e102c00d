"""The rules of servers at home: Ollama's types, and what the chat templates of models refuse.

Sources: api/types.go of Ollama; the templates of Mistral Nemo, Gemma and Qwen as llama.cpp writes them (2026-11).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from itertools import pairwise

from oblix.testing.faults.rules.common import Body, calls_of, is_object
from oblix.testing.faults.rules.openai import openai_order


def ollama(body: Body) -> Iterator[str]:
    """What is wrong with a body of Ollama's chat endpoint, for it or for a template behind it."""
    if not body["messages"]:
        yield "messages is required"  # it would only load the model
    for message in body["messages"]:
        if message["role"] not in ("system", "user", "assistant", "tool"):
            yield f'invalid role: {message["role"]}, role must be one of "system", "user", "assistant", or "tool"'
        if not isinstance(message["content"], str):
            yield "json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string"
        for call in calls_of(message):
            if not isinstance(call["function"]["arguments"], dict):
                yield "json: cannot unmarshal string into Go struct field ChatRequest.messages.tool_calls.function.arguments"
        for image in message.get("images") or ():
            try:
                base64.b64decode(image, validate=True)
            except (binascii.Error, TypeError, ValueError):
                yield "illegal base64 data at input byte 0"
    as_templates_see = [
        {**m, "tool_calls": [{**c, "function": {**c["function"], "arguments": "{}"}} for c in calls_of(m)]}
        for m in body["messages"]
    ]
    yield from template({"messages": as_templates_see})


def template(body: Body, *, nine: bool = False) -> Iterator[str]:
    """The strictest of the templates together: instructions first, alternating turns, arguments that are JSON."""
    messages = body["messages"]
    if any(message["role"] == "system" for message in messages[1:]):
        yield "System message must be at the beginning."
    spoken = [m["role"] for m in messages if m["role"] == "user" or (m["role"] == "assistant" and not calls_of(m))]
    expected = ["user" if at % 2 == 0 else "assistant" for at in range(len(spoken))]
    if nine and spoken != expected:  # Mistral's; the calls and their results stand outside of the count
        yield "After the optional system message, conversation roles must alternate user/assistant/user/assistant/..."
    if not spoken or spoken[0] != "user":
        yield "No user query found in messages."
    for before, message in pairwise(messages):
        if before["role"] == message["role"] != "tool":
            yield "Conversation roles must alternate user/assistant/user/assistant/..."
    if any(not isinstance(message.get("content"), str) for message in messages):
        yield "this model does not take parts"
    for call in (call for message in messages for call in calls_of(message)):
        if not is_object(call["function"]["arguments"]):
            yield "Failed to parse tool call arguments as JSON"
        if nine and not re.fullmatch("[a-zA-Z0-9]{9}", call["id"]):
            yield "Tool call IDs should be alphanumeric strings with length 9!"
    yield from openai_order(messages)


def mistral_template(body: Body) -> Iterator[str]:
    """The same with what Mistral's templates refuse."""
    yield from template(body, nine=True)
