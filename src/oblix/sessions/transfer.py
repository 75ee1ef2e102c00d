"""Sessions as files: our exports, and the session files of the original Oblix. Read whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkstemp
from typing import Any

from msgspec import MsgspecError, convert

from oblix.decision.tokens import estimate_messages
from oblix.errors import InvalidRequest
from oblix.sessions.codec import pack
from oblix.sessions.rows import Read, Row, iso
from oblix.types.messages import Image, Message, Part, Role, Text, Thought, ToolCall

VERSION = 1  # of our files
LARGEST = 256 << 20  # bytes of a file that is read
WRONG = (
    AttributeError,
    KeyError,
    MsgspecError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)  # what reading strange data trips over
_ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
    "developer": "system",
}
_STATES = dict.fromkeys(("open", "incomplete", "unreadable"), "incomplete")  # all else is whole


def write(path: Path, session: Mapping[str, Any]) -> None:
    """Write an export, which only its owner may read: at its place whole, or not at all.

    Raises:
        InvalidRequest: It cannot be written there.
    """
    aside: Path | None = None
    try:
        if path.exists() and not path.is_file():  # a pipe, a device: it would be replaced, not written to
            raise InvalidRequest(f"{path} is no regular file.", hint="`-` is standard output on the command line.")
        number, name = mkstemp(dir=path.parent, prefix=f".{path.name}.")  # a name that nobody knows, for its owner only
        aside = Path(name)
        with open(number, "w", encoding="ascii") as file:  # noqa: PTH123  a number
            file.write(text_of(session))
            file.flush()
            os.fsync(number)
        aside.replace(path)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be written: {error.strerror or error}.", cause=error) from None
    finally:
        if aside is not None:
            aside.unlink(missing_ok=True)


def text_of(session: Mapping[str, Any]) -> str:
    """An export as text, in which halves of characters are escaped."""
    return json.dumps({"format": "oblix-session", "version": VERSION, **session}, indent=1, ensure_ascii=True) + "\n"


def read(path: Path, now: float) -> Read:
    """A session out of a file.

    Args:
        now: Seconds since the epoch, for what has no time.

    Raises:
        InvalidRequest: The file cannot be read, or holds no session; the message says what is wrong with it.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)  # what is no regular file has no size that could be asked for
        if len(raw) > LARGEST:
            raise InvalidRequest(f"{path} has more than {LARGEST >> 20} MiB.", hint="That is no session of ours.")
        return parsed(json.loads(raw), now)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror or error}.", cause=error) from None
    except InvalidRequest:
        raise
    except WRONG as error:
        why = _in_words(error)
        raise InvalidRequest(
            f"{path} holds no session: {why}.",
            hint="Expected: a file of `oblix sessions export`, or of the original Oblix.",
        ) from None


def _in_words(error: Exception) -> str:
    """What is wrong with a file, without the names of Python's errors."""
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return "an object is something else" if isinstance(error, AttributeError) else str(error)


def parsed(found: Mapping[str, Any], now: float) -> Read:
    """A session out of plain data.

    Raises:
        Any of WRONG: It is none.
    """
    if found.get("version", VERSION) != VERSION and found.get("format") == "oblix-session":
        raise ValueError(f"it is of version {found['version']!r}, and this one reads {VERSION}")
    created = _time(found.get("created_at"), now)
    return Read(
        _text(found.get("title") or ""),
        created,
        _time(found.get("updated_at"), created),
        _text(found.get("id") or ""),
        _object(found.get("context")),
        _object(found.get("metadata")),
        [_row(message, created) for message in found["messages"]],
    )


def _row(found: Mapping[str, Any], otherwise: float) -> Row:
    message = _message(found)
    beside = {name: str(found[name]) for name in ("source_session_id", "finish_reason") if found.get(name)}
    return Row(
        _time(found.get("timestamp"), otherwise),
        _STATES.get(found.get("state", ""), "whole"),
        message.pinned or message.role == "system",
        2 if found.get("redacted") else int(bool(found.get("private"))),
        message.role,
        estimate_messages((message,)),
        _text(found.get("model_id") or ""),
        "",
        "",
        pack(message, **beside),
    )


def _message(found: Mapping[str, Any]) -> Message:
    """What it says, of the right types throughout: a wrong one would fail later, in the hands of a provider."""
    parts, call_id = found.get("parts"), found.get("tool_call_id")
    content = _text(found["content"])
    role = _ROLES.get(found["role"])
    if role is None:
        raise ValueError(f"a message has role {found['role']!r}")
    return Message(
        role,
        content if parts is None else tuple(_part(part) for part in convert(parts, list[dict[str, Any]])),
        convert(found.get("tool_calls", ()), tuple[ToolCall, ...]),
        None if call_id is None else _text(call_id),
        False,
        convert(found.get("thoughts", ()), tuple[Thought, ...]),
        found.get("pinned") is True,
    )


def _part(part: dict[str, Any]) -> Part:
    if not part.keys() & {"text", "data", "url"}:
        raise ValueError("a part is neither text nor an image")
    return convert(part, Text) if "text" in part else convert(part, Image)


def _time(found: object, otherwise: float) -> float:
    if found is None:
        return otherwise
    moment = datetime.fromisoformat(_text(found))
    at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    iso(at)  # one that cannot be told again would spoil every list
    return at


def _text(found: object) -> str:
    if not isinstance(found, str):
        raise TypeError(f"a text is of type {type(found).__name__}")
    return found


def _object(found: object) -> Mapping[str, Any]:
    if found is not None and not isinstance(found, Mapping):
        raise TypeError(f"an object is of type {type(found).__name__}")
    return found or {}
