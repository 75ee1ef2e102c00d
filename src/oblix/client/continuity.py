"""What a client remembers between the turns of a conversation: who answered last, and which messages were private.

It keeps keyed fingerprints, never a word. The conversation is known by its session, or by its own messages: whoever sends them again,
with the answer that came, goes on with it.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeVar

from oblix.decision.facts import Turn
from oblix.types.messages import Message
from oblix.types.request import Request

CONVERSATIONS = 4096  # the oldest is forgotten; that costs a conversation its preference, and no more
# Fingerprints of private messages. The oldest is forgotten here as well, some ten thousand private messages later.
PRIVATE_MESSAGES = 65_536
V = TypeVar("V")
TELLING = (
    20  # characters; a shorter text ("yes", "Paris") is the same message only where all before it is the same, too
)


@dataclass(frozen=True, slots=True)
class _Last:
    model_id: str
    tokens: int
    at: float


class Continuity:
    """The memory of one client. Times are on one steady clock, in seconds."""

    def __init__(self) -> None:
        self._key = os.urandom(16)
        self._last: OrderedDict[bytes, _Last] = OrderedDict()
        self._private: OrderedDict[bytes, None] = OrderedDict()

    def before(self, request: Request, now: float) -> Turn | None:
        """The turn before this one, `None` where the conversation begins or is not known."""
        last = self._last.get(self._session(request)) if request.session_id is not None else None
        if last is None and (begun := _begun(request.messages)):
            last = self._last.get(self._prefixes(begun)[-1])
        return None if last is None else Turn(last.model_id, last.tokens, round(now - last.at, 3))

    def taint(self, request: Request, answer: str | None = None) -> None:
        """Remember what was said in private: the request when it is asked, whatever becomes of it, and its answer."""
        messages = request.messages if answer is None else (*request.messages, Message("assistant", answer))
        for message, prefix in zip(messages, self._prefixes(messages), strict=True):
            for sign in self._signs(message, prefix):
                _keep(self._private, sign, None, PRIVATE_MESSAGES)

    def answered(self, request: Request, answer: str, *, model_id: str, tokens: int, now: float) -> None:
        """A turn is over.

        Args:
            tokens: Of the whole conversation with the answer.
        """
        last = _Last(model_id, tokens, now)
        _keep(self._last, self._prefixes((*request.messages, Message("assistant", answer)))[-1], last, CONVERSATIONS)
        if request.session_id is not None:
            _keep(self._last, self._session(request), last, CONVERSATIONS)

    def is_tainted(self, request: Request) -> bool:
        """Whether its context holds a message of a private request, or the answer to one. The newest message is the caller's to label."""
        context = request.messages[:-1]
        if not self._private or not context:
            return False
        return any(
            sign in self._private
            for message, prefix in zip(context, self._prefixes(context), strict=True)
            for sign in self._signs(message, prefix)
        )

    def _signs(self, message: Message, prefix: bytes) -> tuple[bytes, ...]:
        """A system prompt is shared by many conversations, and makes none of them private."""
        if message.role == "system":
            return ()
        return (prefix, self._digest(message.text)) if len(message.text) >= TELLING else (prefix,)

    def _prefixes(self, messages: tuple[Message, ...]) -> list[bytes]:
        """For each message what stands for it and all before it."""
        running, found = blake2b(digest_size=16, key=self._key), []
        for message in messages:
            running.update(f"{message.role}\x00{message.text}\x01".encode("utf-8", "surrogatepass"))
            found.append(running.copy().digest())
        return found

    def _session(self, request: Request) -> bytes:
        return self._digest(f"session\x00{request.session_id}")

    def _digest(self, text: str) -> bytes:
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=self._key).digest()


def _begun(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The conversation up to its last answer, empty where there is none."""
    for position in range(len(messages) - 1, 0, -1):
        if messages[position].role == "assistant":
            return messages[: position + 1]
    return ()


def _keep(kept: OrderedDict[bytes, V], key: bytes, value: V, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)
