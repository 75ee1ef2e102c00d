"""Anthropic's rules.

Sources: the API reference, "Preserved thinking", "Thinking with tool use", and the errors that users report (2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from oblix.testing.faults.rules.common import NAME, Body, sign


def claude_prefix(body: Body, turns: int | None = None) -> list[object]:
    """What stands before a turn, or before the answer."""
    return [body.get("system"), body.get("tools"), body["messages"][:turns]]


def claude(body: Body) -> Iterator[str]:
    """What is wrong with a body of the Messages API."""
    messages = body["messages"]
    if not messages:
        yield "messages: at least one message is required"
    if messages[0]["role"] != "user":
        yield 'messages: first message must use the "user" role'
    for at, message in enumerate(messages):
        if message["role"] not in ("user", "assistant"):
            yield f'messages.{at}.role: Input should be "user" or "assistant"'
        if not message["content"]:
            yield f"messages.{at}: all messages must have non-empty content except for the optional final assistant message"
        for number, block in enumerate(message["content"]):
            yield from _claude_block(f"messages.{at}.content.{number}", message["role"], block)
        yield from _claude_thoughts(body, at)
    yield from _claude_tools(messages)
    if any(block["type"] == "tool_use" for message in messages for block in message["content"]) and not body.get(
        "tools"
    ):
        yield "Requests which have `tool_use` or `tool_result` blocks in `messages` must define `tools`."
    ends = messages[-1]["content"][-1].get("text", "")
    if messages[-1]["role"] == "assistant" and ends != ends.rstrip():
        yield "messages: final assistant content cannot end with trailing whitespace"
    yield from _claude_limits(body)


_BLOCKS = {"user": {"text", "image", "tool_result"}, "assistant": {"text", "tool_use", "thinking", "redacted_thinking"}}


def _claude_block(place: str, role: str, block: dict[str, Any]) -> Iterator[str]:
    kind = block["type"]
    if kind not in _BLOCKS[role]:
        yield f"{place}: `{kind}` blocks are not permitted in {role} messages"
    if kind == "text" and not block["text"].strip():
        yield "messages: text content blocks must contain non-whitespace text"
    if kind == "tool_use":
        if not re.fullmatch(r"[a-zA-Z0-9_-]+", block["id"]) or len(block["id"]) > 64:
            yield f"{place}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
        if not NAME.fullmatch(block["name"]):
            yield f"{place}.tool_use.name: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'"
        if not isinstance(block["input"], dict):
            yield f"{place}.tool_use.input: Input should be a valid dictionary"


def _claude_thoughts(body: Body, at: int) -> Iterator[str]:
    content = body["messages"][at]["content"]
    kinds = ["thinking" if block["type"].endswith("thinking") else "other" for block in content]
    if kinds != sorted(kinds, reverse=True):
        yield f"messages.{at}: thinking blocks must come first"
    if kinds and kinds[-1] == "thinking":
        yield f"messages.{at}: The final block in an assistant message cannot be `thinking`."
    right = sign(claude_prefix(body, at))
    if any(
        block.get("signature", block.get("data")) != right for block in content if block["type"].endswith("thinking")
    ):
        yield f"messages.{at}: Invalid `signature` in `thinking` block: what stands before it has changed"


def _claude_tools(messages: list[dict[str, Any]]) -> Iterator[str]:
    used: set[str] = set()
    for at, message in enumerate(messages):
        ids = [block["id"] for block in message["content"] if block["type"] == "tool_use"]
        if used & set(ids) or len(set(ids)) < len(ids):
            yield f"messages.{at}.content: `tool_use` ids must be unique"
        used |= set(ids)
        following = messages[at + 1]["content"] if at + 1 < len(messages) else []
        results = [block["tool_use_id"] for block in following if block["type"] == "tool_result"]
        if len(set(results)) < len(results):
            yield f"messages.{at + 1}: each tool_use must have a single result"
        if missing := set(ids) - set(results):
            yield (
                f"messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(sorted(missing))}. Each `tool_use` block must have a corresponding `tool_result` block in the next message."
            )
        if set(results) - set(ids):
            yield (
                f"messages.{at + 1}: unexpected `tool_use_id` found in `tool_result` blocks. Each `tool_result` block must have a "
                "corresponding `tool_use` block in the previous message."
            )
        kinds = [block["type"] == "tool_result" for block in following]
        if kinds != sorted(kinds, reverse=True):
            yield f"messages.{at + 1}: `tool_result` blocks must come first"


def _claude_limits(body: Body) -> Iterator[str]:
    if not isinstance(body.get("max_tokens"), int) or body["max_tokens"] < 1:
        yield "max_tokens: Field required"
    thinking = body.get("thinking") or {}
    if thinking.get("type") != "enabled":
        return
    if not 1024 <= thinking["budget_tokens"] < body["max_tokens"]:
        yield "`max_tokens` must be greater than `thinking.budget_tokens`, which is 1024 or more"
    last, *before = reversed(body["messages"])
    in_loop = any(block["type"] == "tool_result" for block in last["content"])
    if in_loop and not before[0]["content"][0]["type"].endswith("thinking"):
        yield (
            "Expected `thinking` or `redacted_thinking`, but found `tool_use`. When `thinking` is enabled, a final `assistant` message "
            "must start with a thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks)."
        )
