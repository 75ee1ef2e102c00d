"""OpenAI's rules, and those of services that speak its protocol and want thoughts back.

Sources: the API references of OpenAI, Google and DeepSeek, and the errors that their users report (2026-11).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from oblix.testing.faults.rules.common import NAME, Body, calls_of, is_object, sign

SKIP = "skip_thought_signature_validator"
_FIELDS = {"role", "content", "name", "tool_calls", "tool_call_id"}


def _openai(body: Body, longest_id: int = 40) -> Iterator[str]:
    messages = body["messages"]
    if not messages:
        yield "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead."
    for at, message in enumerate(messages):
        yield from _openai_content(f"messages[{at}]", message)
        for number, call in enumerate(calls_of(message)):
            yield from _openai_call(f"messages[{at}].tool_calls[{number}]", call, longest_id)
    yield from openai_order(messages)


def _openai_content(place: str, message: dict[str, Any]) -> Iterator[str]:
    role, content = message.get("role"), message.get("content")
    if role not in ("system", "developer", "user", "assistant", "tool"):
        yield f"Invalid value: '{role}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'."
    if content is None and not calls_of(message):
        yield f"Invalid value for 'content': expected a string, got null. ({place})"
    for part in content if isinstance(content, list) else ():
        if part.get("type") not in ("text", "image_url"):
            yield f"Invalid value: '{part.get('type')}'. Supported values are: 'text', 'image_url'. ({place})"
        if part.get("type") == "image_url" and role != "user":
            yield f"Invalid '{place}'. Image URLs are only allowed for messages with role 'user'."
    if isinstance(content, list) and not content:
        yield f"Invalid '{place}.content': empty array."


def _openai_call(place: str, call: dict[str, Any], longest_id: int) -> Iterator[str]:
    if not call.get("id"):
        yield f"Missing required parameter: '{place}.id'."
    elif len(call["id"]) > longest_id:
        yield (
            f"Invalid '{place}.id': string too long. Expected a string with maximum length {longest_id}, "
            f"but got a string with length {len(call['id'])} instead."
        )
    if not NAME.fullmatch(call["function"]["name"]):
        yield f"Invalid '{place}.function.name': string does not match pattern '^[a-zA-Z0-9_-]+$'."
    if not is_object(call["function"]["arguments"]):
        yield f"Invalid '{place}.function.arguments': not a JSON object."


def openai_order(messages: list[dict[str, Any]]) -> Iterator[str]:
    """Each call has its result at once, and each result its call."""
    waiting: list[str] = []
    for message in [*messages, {"role": "end"}]:
        if message["role"] == "tool":
            if message.get("tool_call_id") not in waiting:
                yield "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
            else:
                waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            yield (
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
                f"The following tool_call_ids did not have response messages: {', '.join(waiting)}"
            )
        waiting = [call["id"] for call in calls_of(message)]
        if len(set(waiting)) < len(waiting):
            yield "Duplicate tool_call_id in one message."


def openai(body: Body) -> Iterator[str]:
    """What is wrong for OpenAI's own service, which takes no field that it does not know."""
    for at, message in enumerate(body["messages"]):
        for name in set(message) - _FIELDS:
            yield f"Unknown parameter: 'messages[{at}].{name}'."
    yield from _openai(body)


def deepseek(body: Body) -> Iterator[str]:
    """Thinking with tools, DeepSeek wants its thoughts back."""
    yield from _openai(body, 64)
    for message in body["messages"]:
        if calls_of(message) and not isinstance(message.get("reasoning_content"), str):
            yield "The reasoning_content in the thinking mode must be passed back to the API."
        if "reasoning_content" in message and not calls_of(message):
            yield "reasoning_content is taken back with tool calls only."  # stricter than the service, which ignores it


def gemini(body: Body) -> Iterator[str]:
    """Gemini wants the signatures of its thoughts back."""
    yield from _openai(body, 64)
    for at, message in enumerate(body["messages"]):
        if not calls_of(message):
            continue
        signed = [_signature(call) for call in calls_of(message)]
        if not signed[0]:
            yield "Function call is missing a thought_signature in functionCall parts."
        known = {SKIP, None, sign(body["messages"][:at])}
        if set(signed) - known:
            yield "Corrupted thought signature."


def _signature(call: dict[str, Any]) -> str | None:
    found: str | None = call.get("extra_content", {}).get("google", {}).get("thought_signature")
    return found
