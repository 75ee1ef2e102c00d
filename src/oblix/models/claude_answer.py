"""An answer of Claude's Messages API: its events as they come, and what they told by the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.hidden import TOKENS_PER_CALL
from oblix.models.wire_tools import count, encode, unseen, whole_calls
from oblix.types.chunk import Chunk, Delta, End, Usage
from oblix.types.messages import Thought, ToolCall
from oblix.types.spec import ModelSpec

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class _Written(msgspec.Struct):
    ephemeral_1h_input_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _Written | None = None  # the same, by how long it stays
    output_tokens_details: _OutputDetails | None = None


class _Start(msgspec.Struct):
    usage: _Usage | None = None


class _Block(msgspec.Struct):
    type: str = ""
    id: str = ""
    name: str = ""
    text: str | None = None
    input: dict[str, Any] | None = None  # whole here, from servers that do not stream it
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None  # of a thought that is not shown


class _Delta(msgspec.Struct):
    type: str = ""
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    stop_reason: str | None = None


class Event(msgspec.Struct):
    """What comes in one event."""

    type: str
    index: int = 0
    message: _Start | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None


EVENT = msgspec.json.Decoder(Event)


class Told:
    """What an answer told, gathered until the end."""

    def __init__(self) -> None:
        self._stop_reason: str | None = None
        self._uncached: int | None = None
        self._cached: int | None = None
        self._written: int | None = None
        self._written_1h: int | None = None
        self._output: int | None = None
        self._thinking: int | None = None
        self._calls: dict[int, tuple[_Block, list[str]]] = {}
        self._thoughts: dict[int, _Thinking] = {}
        self._pieces = 0
        self._characters = 0

    def take(self, event: Event) -> Chunk | None:
        """What an event means; `None` where it says nothing."""
        if event.type == "content_block_delta" and event.delta is not None:
            return self._piece(event.index, event.delta)
        if event.type == "content_block_start" and event.content_block is not None:
            return self._opened(event.index, event.content_block)
        if event.type == "message_start" and event.message is not None:
            self._count(event.message.usage)
        elif event.type == "message_delta":
            self._count(event.usage)
            if event.delta is not None and event.delta.stop_reason:
                self._stop_reason = event.delta.stop_reason
        return None

    def _opened(self, index: int, block: _Block) -> Chunk | None:
        if block.type == "tool_use":
            self._calls[index] = (block, [])
            if block.input:
                return self._unseen(encode(block.input).decode())
        elif block.type in ("thinking", "redacted_thinking"):
            self._thoughts[index] = _Thinking(block, [block.thinking or ""], block.signature or "")
            if block.thinking:
                return self._unseen(block.thinking)
        return self._said(block.text)

    def _piece(self, index: int, delta: _Delta) -> Chunk | None:
        if delta.type == "text_delta":
            return self._said(delta.text)
        if delta.type == "input_json_delta" and index in self._calls:
            self._calls[index][1].append(delta.partial_json or "")
        elif delta.type in ("thinking_delta", "signature_delta") and index in self._thoughts:
            self._thoughts[index].pieces.append(delta.thinking or "")
            self._thoughts[index].signature += delta.signature or ""
        return self._unseen(delta.partial_json or delta.thinking or "")

    def _unseen(self, text: str) -> Chunk:
        self._pieces += 1
        self._characters += len(text)
        return unseen(text)

    def _said(self, text: str | None) -> Chunk | None:
        if not text:
            return None
        self._pieces += 1
        self._characters += len(text)
        return Delta(text)

    def _count(self, usage: _Usage | None) -> None:
        """Counts are of the whole answer each time, and one that is not repeated stands."""
        if usage is None:
            return
        self._uncached = _newer(usage.input_tokens, self._uncached)
        self._cached = _newer(usage.cache_read_input_tokens, self._cached)
        self._written = _newer(usage.cache_creation_input_tokens, self._written)
        self._output = _newer(usage.output_tokens, self._output)
        if usage.cache_creation is not None:
            self._written_1h = _newer(usage.cache_creation.ephemeral_1h_input_tokens, self._written_1h)
        if usage.output_tokens_details is not None:
            self._thinking = _newer(usage.output_tokens_details.thinking_tokens, self._thinking)

    def _usage(self) -> Usage:
        """`input_tokens` leaves out what was read from or written to the cache; ours is the whole prompt."""
        prompt = None if self._uncached is None else self._uncached + (self._cached or 0) + (self._written or 0)
        return Usage(prompt, self._output, self._cached, self._written, self._written_1h, self._thinking)

    @property
    def seen(self) -> int:
        """Tokens that were shown, at the least. Most models show a summary of their thoughts, which is shorter than these."""
        return max(self._pieces, self._characters // 2) + TOKENS_PER_CALL * len(self._calls)

    def end(self, spec: ModelSpec, behind: Callable[[], str]) -> End:
        """The proof of completion.

        Args:
            behind: Gives a digest of what was asked, for the thoughts; see `claude_body`.

        Raises:
            AttemptFailed: There is none, or a tool call is not whole.
        """
        if not self._stop_reason:
            raise AttemptFailed(FailureKind.TRUNCATED, f"the answer of {spec.id} ended without a `stop_reason`")
        calls = [
            ToolCall(
                block.id or f"call_{index}",
                block.name,
                "".join(pieces) or (encode(block.input).decode() if block.input else ""),
            )
            for index, (block, pieces) in sorted(self._calls.items())
        ]
        reason = _FINISH.get(self._stop_reason, self._stop_reason)
        blocks = [block for _, thought in sorted(self._thoughts.items()) if (block := thought.block)]
        place = behind() if blocks else ""
        thoughts = tuple([Thought(spec.provider, block, model=spec.name, behind=place) for block in blocks])
        return End(reason, self._usage(), whole_calls(calls, reason, spec.id) if calls else (), thoughts=thoughts)


@dataclass(slots=True)
class _Thinking:
    """A thought, as far as it has been told."""

    opened: _Block
    pieces: list[str]
    signature: str

    @property
    def block(self) -> dict[str, Any] | None:
        """As it goes back; `None` where the signature is missing, without which it is refused."""
        if self.opened.type == "redacted_thinking":
            return {"type": "redacted_thinking", "data": self.opened.data} if self.opened.data else None
        if not self.signature:
            return None
        return {"type": "thinking", "thinking": "".join(self.pieces), "signature": self.signature}


def _newer(told: int | None, before: int | None) -> int | None:
    found = count(told)
    return before if found is None else found
