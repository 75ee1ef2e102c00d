"""Mistral's rules.

Source: mistral-common, the validator of version 3 in serving mode; for the fields, the API reference (2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from oblix.testing.faults.rules.common import NAME, Body, calls_of

_AFTER = {
    "system": {"user", "assistant", "system"},
    "user": {"assistant", "system", "user"},
    "assistant": {"assistant", "user", "tool"},
    "tool": {"assistant", "tool"},
}
_MISTRAL_FIELDS = {
    "model", "messages", "stream", "temperature", "top_p", "max_tokens", "stop", "random_seed", "response_format", "tools",
    "tool_choice", "n", "prediction", "parallel_tool_calls", "prompt_mode", "safe_prompt", "presence_penalty", "frequency_penalty",
    "metadata", "guardrails", "reasoning_effort", "prompt_cache_key",
}  # fmt: skip
_MISTRAL_MESSAGE = {"role", "content", "tool_calls", "tool_call_id", "name", "prefix"}


def mistral(body: Body) -> Iterator[str]:
    """What is wrong with a body of Mistral's chat completions."""
    messages = body["messages"]
    extra = set(body) - _MISTRAL_FIELDS | {name for message in messages for name in set(message) - _MISTRAL_MESSAGE}
    if extra:
        yield f"Extra inputs are not permitted: {', '.join(sorted(extra))}"
    if not messages:
        yield "Conversation must have at least one message"
    if len(messages) == 1 and messages[0]["role"] not in ("user", "system"):
        yield "Conversation must start with a user message or system message"
    last = messages[-1]
    if len(messages) > 1 and last["role"] not in ("user", "tool") and not last.get("prefix"):
        yield f"Expected last role User or Tool (or Assistant with prefix True) for serving but got {last['role']}"
    for before, message in pairwise(messages):
        if message["role"] not in _AFTER[before["role"]]:
            yield f"Unexpected role '{message['role']}' after role '{before['role']}'"
    for message in messages:
        yield from _mistral_message(message)
    yield from _mistral_counts(messages)


def _mistral_message(message: dict[str, Any]) -> Iterator[str]:
    if message["role"] == "assistant" and bool(message.get("content")) == bool(calls_of(message)):
        yield "Assistant message must have either content or tool_calls, but not both."
    ids = [call["id"] for call in calls_of(message)]
    for found in [*ids, message.get("tool_call_id")] if message["role"] == "tool" else ids:
        if not re.fullmatch(r"[a-zA-Z0-9]{9}", found or ""):
            yield f"Tool call id was {found} but must be a-z, A-Z, 0-9, with a length of 9."
    for call in calls_of(message):
        if not NAME.fullmatch(call["function"]["name"]):
            yield f"Function name was {call['function']['name']} but must be a-z, A-Z, 0-9, or contain underscores and dashes"


def _mistral_counts(messages: list[dict[str, Any]]) -> Iterator[str]:
    waiting = 0
    for message in messages:
        if message["role"] == "tool":
            waiting -= 1
        elif message["role"] == "assistant":
            if waiting:
                yield "Not the same number of function calls and responses"
            waiting = len(calls_of(message))
    if waiting:
        yield "Not the same number of function calls and responses"
