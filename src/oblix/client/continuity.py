"""What a client remembers between the turns of a conversation: who answered last, and which messages were private.

It keeps keyed fingerprints, never a word. The conversation is known by its session, or by its own messages: whoever sends them again,
with the answer that came, goes on with it.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple, TypeVar

from oblix.decision.facts import Turn
from oblix.types.messages import Message, Role

CONVERSATIONS = 4096  # the oldest is forgotten; that costs a conversation its preference, and no more
# Fingerprints of private messages. The oldest is forgotten here as well, some ten thousand private messages later.
PRIVATE_MESSAGES = 65_536
# Characters from which a text is known wherever it stands; a shorter one ("yes", "Paris") is the same only behind the same message. Answers
# are longer where they say little ("Hello! How can I assist you today?").
TELLING = {"user": 20, "tool": 20, "assistant": 80}
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _Last:
    model_id: str
    tokens: int
    at: float


class Mark(NamedTuple):
    """What stands for one message."""

    role: Role
    length: int
    digest: bytes


class Continuity:
    """The memory of one client. Times are on one steady clock, in seconds."""

    def __init__(self) -> None:
        self._key = os.urandom(16)
        self._last: OrderedDict[bytes, _Last] = OrderedDict()
        self._private: OrderedDict[bytes, None] = OrderedDict()

    def marks(self, messages: Iterable[Message]) -> list[Mark]:
        """What stands for each message, in their order: hashed once, and handed to all that follows."""
        marks = []
        for message in messages:
            said = _said(message)
            marks.append(Mark(message.role, len(said), self._digest(said.encode("utf-8", "surrogatepass"))))
        return marks

    def before(self, marks: Sequence[Mark], session_id: str | None, now: float) -> Turn | None:
        """The turn before this one, `None` where the conversation begins or is not known."""
        tokens, last = 0, None
        if begun := _begun(marks):
            last = self._last.get(self._turns(begun))
            tokens = 0 if last is None else last.tokens
        if last is None and session_id is not None:
            last = self._last.get(self._session(session_id))
        return None if last is None else Turn(last.model_id, tokens, round(now - last.at, 3))

    def answered(
        self, marks: Sequence[Mark], session_id: str | None, *, model_id: str, tokens: int, now: float
    ) -> None:
        """A turn is over.

        Args:
            marks: Of the whole conversation with the answer.
            tokens: Of the same.
        """
        last = _Last(model_id, tokens, now)
        _keep(self._last, self._turns(marks), last, CONVERSATIONS)
        if session_id is not None:
            _keep(self._last, self._session(session_id), last, CONVERSATIONS)

    def taint(self, marks: Iterable[Mark]) -> None:
        """Remember what was said in private: the request when it is asked, whatever becomes of it, and then its answer."""
        for signs in self._signs(marks):
            for sign in signs:
                _keep(self._private, sign, None, PRIVATE_MESSAGES)

    def is_tainted(self, marks: Sequence[Mark]) -> bool:
        """Whether its context holds a message of a private request, or the answer to one. The newest message is the caller's to label."""
        if not self._private:
            return False
        return any(sign in self._private for signs in self._signs(marks[:-1]) for sign in signs)

    def _signs(self, marks: Iterable[Mark]) -> Iterator[tuple[bytes, ...]]:
        """What each message is known by: behind the one before it, and where it is long enough by itself.

        A system prompt is shared by many conversations, and may hold a clock: it makes none of them private, and is no part of what a
        message is known by.
        """
        before = b""
        for role, length, digest in marks:
            if role == "system":
                continue
            in_its_place = self._digest(b"place" + before + digest)
            yield (in_its_place, digest) if length >= TELLING[role] else (in_its_place,)
            before = digest

    def _turns(self, marks: Iterable[Mark]) -> bytes:
        return self._digest(b"turns" + b"".join([mark.role.encode() + mark.digest for mark in marks]))

    def _session(self, session_id: str) -> bytes:
        return self._digest(b"session" + session_id.encode("utf-8", "surrogatepass"))

    def _digest(self, data: bytes) -> bytes:
        return blake2b(data, digest_size=16, key=self._key).digest()


def _said(message: Message) -> str:
    """All that a message says; programs strip answers before they send them back."""
    text = message.text.strip()
    if not message.tool_calls:
        return text
    return text + "".join(f"\x02{call.name}\x02{call.arguments}" for call in message.tool_calls)


def _begun(marks: Sequence[Mark]) -> Sequence[Mark]:
    """The conversation up to its last answer, empty where there is none."""
    for position in range(len(marks) - 1, 0, -1):
        if marks[position].role == "assistant":
            return marks[: position + 1]
    return ()


def _keep(kept: OrderedDict[bytes, V], key: bytes, value: V, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)
