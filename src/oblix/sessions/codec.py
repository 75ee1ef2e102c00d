"""Messages as they lie in the file: JSON in which any text survives, also NUL and halves of characters."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from oblix.types.messages import Image, Message, Part, Text, Thought, ToolCall

_compact = json.JSONEncoder(
    separators=(",", ":")
).encode  # escapes all that is not ASCII, so that lone surrogates are no error


def pack(message: Message, **beside: Any) -> bytes:
    """The body of a message: what it says. Role, labels and times have columns of their own."""
    body: dict[str, Any] = {"text": message.content if isinstance(message.content, str) else message.text}
    if not isinstance(message.content, str):
        body["parts"] = [asdict(part) for part in message.content]
    if message.tool_calls:
        body["tool_calls"] = [asdict(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        body["tool_call_id"] = message.tool_call_id
    if message.thoughts:
        body["thoughts"] = [asdict(thought) for thought in message.thoughts]
    return _compact(body | beside if beside else body).encode()


def unpack(role: Any, body: bytes, *, private: bool = False, pinned: bool = False) -> Message:
    """The message again."""
    return read(role, json.loads(body), private=private, pinned=pinned)


def read(role: Any, body: dict[str, Any], *, private: bool = False, pinned: bool = False) -> Message:
    """A message out of the plain data of its body."""
    get = body.get
    parts = get("parts")
    return Message(
        role,
        body["text"] if parts is None else tuple(_part(part) for part in parts),
        tuple(ToolCall(**call) for call in get("tool_calls", ())),
        get("tool_call_id"),
        private,
        tuple(Thought(**thought) for thought in get("thoughts", ())),
        pinned,
    )


def _part(part: dict[str, Any]) -> Part:
    return Text(**part) if "text" in part else Image(**part)


def compact(found: Any) -> bytes:
    """Any plain data as JSON.

    Raises:
        TypeError, ValueError, RecursionError: It is none.
    """
    return _compact(found).encode()
