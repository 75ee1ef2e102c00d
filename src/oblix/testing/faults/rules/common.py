"""What the checks of all providers share."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

from oblix.testing.faults.wires import ErrorWords

Body = dict[str, Any]
Check = Callable[[Body], Iterator[str]]
Rules = Callable[[Body], ErrorWords | None]
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # of a tool


def first(check: Check) -> Rules:
    """The first thing that is wrong, in the words of whichever protocol is spoken."""

    def rules(body: Body) -> ErrorWords | None:
        why = next(check(body), None)
        kind = "invalid_request_error"
        return None if why is None else ErrorWords((kind, None, why), (kind, why), why)

    return rules


def calls_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The tool calls of a message, in OpenAI's form."""
    return message.get("tool_calls") or []


def is_object(text: object) -> bool:
    """Whether it is JSON text of an object."""
    try:
        return isinstance(text, str) and isinstance(json.loads(text), dict)
    except ValueError:
        return False


def sign(before: object) -> str:
    """The signature of a thought: right behind the very same words only."""
    return "sig-" + sha256(json.dumps(before, sort_keys=True).encode()).hexdigest()[:40]
