"""What the server reads of a chat request: whether it wants a stream, how much it costs, whether an answer was begun."""

from __future__ import annotations

from typing import Any

import msgspec


class Question(msgspec.Struct):
    """What of a chat request's body the server looks at."""

    messages: list[dict[str, Any]] = []
    stream: bool = True
    system: Any = None
    tools: Any = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    options: Any = None  # Ollama's

    @property
    def most_tokens(self) -> int | None:
        """The caller's limit of what may be written, thoughts included; `None` without one."""
        own = self.options.get("num_predict") if isinstance(self.options, dict) else None
        told = [n for n in (self.max_tokens, self.max_completion_tokens, own) if type(n) is int and n >= 0]
        return min(told, default=None)

    @property
    def input_tokens(self) -> int:
        """As this server bills: one for each four bytes of text, rounded up, and four for each message. Tools and their calls count."""
        texts = [message.get("content") for message in self.messages] + [self.system]
        calls = [message["tool_calls"] for message in self.messages if message.get("tool_calls")]
        return 4 * len(self.messages) + sum((_size(text) + 3) // 4 for text in (*texts, *calls, self.tools))

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


def _size(found: Any) -> int:
    """Bytes of a text, of the texts of parts, or of JSON."""
    if isinstance(found, str):
        return len(found.encode())
    if isinstance(found, list) and all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in found):
        return sum(len(part["text"].encode()) for part in found)
    return len(msgspec.json.encode(found)) if found else 0
