"""What the server reads of a chat request: whether it wants a stream, how much it costs, whether an answer was begun."""

from __future__ import annotations

from typing import Any

import msgspec


class Question(msgspec.Struct):
    """What of a chat request's body the server looks at."""

    messages: list[dict[str, Any]] = []
    stream: bool = True
    system: Any = None

    @property
    def input_tokens(self) -> int:
        """As this server bills: one for each four bytes of text, rounded up, and four for each message."""
        texts = [message.get("content") for message in self.messages] + [self.system]
        return 4 * len(self.messages) + sum((_size(text) + 3) // 4 for text in texts)

    @property
    def prefix(self) -> int:
        """Characters of an answer that the caller wants continued (a prefill), else 0."""
        last = self.messages[-1] if self.messages else {}
        text = last.get("content")
        if last.get("role") != "assistant":
            return 0
        return len(text) if isinstance(text, str) else sum(len(str(block.get("text", ""))) for block in text or ())


_QUESTION = msgspec.json.Decoder(Question)


def read_question(body: bytes) -> Question:
    """The body of a chat request; one that cannot be read asks nothing."""
    try:
        return _QUESTION.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Question()


def _size(text: Any) -> int:
    return len(text.encode()) if isinstance(text, str) else len(msgspec.json.encode(text)) if text else 0
