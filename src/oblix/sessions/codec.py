"""Messages as they lie in the file: JSON in which any text survives, also NUL and halves of characters."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from oblix.types.messages import Image, Message, Part, Text, Thought, ToolCall

UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)  # what reading a damaged body trips over
# Nothing is escaped that need not be: two halves of a character that stand side by side, `\\ud83d\\ude00`, would be read as one whole.
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


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
    return compact(body | beside if beside else body)


def unpack(role: Any, body: bytes, *, private: bool = False, pinned: bool = False) -> Message:
    """The message again.

    Raises:
        Any of UNREADABLE: The file was damaged there; SQLite does not see that within a text.
    """
    found = saying(body)
    get = found.get
    parts = get("parts")
    return Message(
        role,
        found["text"] if parts is None else tuple(_part(part) for part in parts),
        tuple(ToolCall(**call) for call in get("tool_calls", ())),
        get("tool_call_id"),
        private,
        tuple(Thought(**thought) for thought in get("thoughts", ())),
        pinned,
    )


def saying(body: bytes) -> dict[str, Any]:
    """What a body holds, with a `text` at least.

    Raises:
        Any of UNREADABLE: It is none.
    """
    found: dict[str, Any] = json.loads(body)
    if not isinstance(found["text"], str):
        raise TypeError("its text is none")
    return found


def text_of(body: bytes) -> str:
    """Its text; empty where it cannot be read any more."""
    try:
        return str(saying(body)["text"])
    except UNREADABLE:
        return ""


def _part(part: dict[str, Any]) -> Part:
    return Text(**part) if "text" in part else Image(**part)


def compact(found: Any) -> bytes:
    """Any plain data as JSON, which `json.loads` reads as it was.

    Raises:
        TypeError, ValueError, RecursionError: It is none.
    """
    return _encode(found).encode("utf-8", "surrogatepass")
