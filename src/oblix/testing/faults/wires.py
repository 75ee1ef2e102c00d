"""Three wire protocols as their servers write them: OpenAI chat completions, Anthropic Messages, Ollama. Pure.

Sources: OpenAI API reference "Chat completions", Anthropic API reference "Messages" and "Streaming", docs/api.md of the Ollama
project, each as of 2026-11.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import msgspec

Wire = Literal["openai", "claude", "ollama"]
ALL_WIRES: frozenset[Wire] = frozenset(get_args(Wire))
HALF_ARGUMENTS = '{"city": "Par'  # of a tool call that is cut off


def encode(value: Any) -> bytes:
    """JSON as these servers write it: compact, characters beyond ASCII as they are."""
    return msgspec.json.encode(value)


@dataclass(frozen=True, slots=True)
class Counts:
    """Tokens of one answer; `cached` are part of the input, `thoughts` of the output."""

    input: int
    output: int
    cached: int = 0
    thoughts: int = 0


class WireFormat(Protocol):
    """One protocol. Every method gives bytes of a body; `b""` where the protocol has no such thing.

    Without counts an answer tells none. One that is `cut` ended at the caller's limit.
    """

    content_type: str
    chat_path: str  # what the path of a chat request ends with
    base_path: str  # what clients expect at the end of a base address

    def event(self, data: bytes, name: str = "") -> bytes:
        """Data in the frame of one event or line."""

    def comment(self) -> bytes:
        """What keeps a connection alive and says nothing."""

    def silent(self) -> bytes:
        """A right event without any text."""

    def opening(self, counts: Counts | None) -> bytes:
        """What comes before the first piece of text."""

    def piece(self, text: object) -> bytes:
        """One piece of text; anything but a string is wrong on purpose."""

    def thought(self, text: str) -> bytes:
        """One piece of thinking, which is no text of the answer."""

    def tool_half(self) -> bytes:
        """A tool call that breaks off inside of its arguments."""

    def finish(self, counts: Counts | None, *, cut: bool = False) -> bytes:
        """Why the answer ended."""

    def usage(self, counts: Counts | None) -> bytes:
        """Token counts, where they come in an event of their own."""

    def done(self, counts: Counts | None, *, cut: bool = False) -> bytes:
        """The proof of completion."""

    def whole(self, text: str, counts: Counts | None, *, cut: bool = False) -> bytes:
        """The answer to a request that wants no stream."""

    def error(self, words: ErrorWords) -> bytes:
        """An error as JSON."""


class ErrorWords(msgspec.Struct, frozen=True):
    """One error in the words of each provider: OpenAI's type, code and message, Anthropic's type and message, Ollama's message."""

    openai: tuple[str, str | None, str]
    claude: tuple[str, str]
    ollama: str


class _Sse:
    """What the two protocols with server-sent events share."""

    content_type = "text/event-stream; charset=utf-8"

    def comment(self) -> bytes:
        return b": still here\n\n"


class _OpenAI(_Sse):
    """Chat completions."""

    chat_path, base_path = "/chat/completions", "/v1"
    _HEAD = (
        b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1794000000,"model":"played","choices":'
    )

    def event(self, data: bytes, name: str = "") -> bytes:
        return b"data: " + data + b"\n\n"

    def silent(self) -> bytes:
        return self._choice(b"{}")

    def opening(self, counts: Counts | None) -> bytes:
        return self._choice(b'{"role":"assistant","content":""}')

    def piece(self, text: object) -> bytes:
        return self._choice(b'{"content":' + encode(text) + b"}")

    def thought(self, text: str) -> bytes:
        return self._choice(b'{"reasoning_content":' + encode(text) + b"}")

    def tool_half(self) -> bytes:
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
        more = {"index": 0, "function": {"arguments": HALF_ARGUMENTS}}
        return b"".join(self._choice(encode({"tool_calls": [part]})) for part in (call, more))

    def finish(self, counts: Counts | None, *, cut: bool = False) -> bytes:
        return self._choice(b"{}", b'"length"' if cut else b'"stop"')

    def usage(self, counts: Counts | None) -> bytes:
        return b"" if counts is None else self._HEAD + b'[],"usage":' + encode(_openai_counts(counts)) + b"}\n\n"

    def done(self, counts: Counts | None, *, cut: bool = False) -> bytes:
        return b"data: [DONE]\n\n"

    def whole(self, text: str, counts: Counts | None, *, cut: bool = False) -> bytes:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "length" if cut else "stop"}
        told = {"id": "chatcmpl-1", "object": "chat.completion", "model": "played", "choices": [choice]}
        return encode(told if counts is None else told | {"usage": _openai_counts(counts)})

    def error(self, words: ErrorWords) -> bytes:
        kind, code, message = words.openai
        return encode({"error": {"message": message, "type": kind, "param": None, "code": code}})

    def _choice(self, delta: bytes, finish: bytes = b"null") -> bytes:
        return self._HEAD + b'[{"index":0,"delta":' + delta + b',"finish_reason":' + finish + b"}]}\n\n"


class _Claude(_Sse):
    """Messages."""

    chat_path, base_path = "/v1/messages", ""

    def event(self, data: bytes, name: str = "content_block_delta") -> bytes:
        return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"

    def silent(self) -> bytes:
        return self._event({"type": "ping"})

    def opening(self, counts: Counts | None) -> bytes:
        message = _claude_message([], counts) | {"stop_reason": None}
        block = {"type": "text", "text": ""}
        start = {"type": "content_block_start", "index": 0, "content_block": block}
        return self._event({"type": "message_start", "message": message}) + self._event(start) + self.silent()

    def piece(self, text: object) -> bytes:
        said = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":' + encode(text) + b"}}"
        return self.event(said)

    def thought(self, text: str) -> bytes:
        delta = {"type": "thinking_delta", "thinking": text}
        return self._event({"type": "content_block_delta", "index": 0, "delta": delta})

    def tool_half(self) -> bytes:
        block = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
        delta = {"type": "input_json_delta", "partial_json": HALF_ARGUMENTS}
        start = {"type": "content_block_start", "index": 1, "content_block": block}
        return self._event(start) + self._event({"type": "content_block_delta", "index": 1, "delta": delta})

    def finish(self, counts: Counts | None, *, cut: bool = False) -> bytes:
        delta = {"stop_reason": "max_tokens" if cut else "end_turn", "stop_sequence": None}
        end: dict[str, Any] = {"type": "message_delta", "delta": delta}
        if counts is not None:
            end["usage"] = {"output_tokens": counts.output}
        return self._event({"type": "content_block_stop", "index": 0}) + self._event(end)

    def usage(self, counts: Counts | None) -> bytes:
        return b""

    def done(self, counts: Counts | None, *, cut: bool = False) -> bytes:
        return self._event({"type": "message_stop"})

    def whole(self, text: str, counts: Counts | None, *, cut: bool = False) -> bytes:
        message = _claude_message([{"type": "text", "text": text}], counts)
        return encode(message | {"stop_reason": "max_tokens"} if cut else message)

    def error(self, words: ErrorWords) -> bytes:
        kind, message = words.claude
        return encode({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"})

    def _event(self, value: dict[str, Any]) -> bytes:
        return self.event(encode(value), value["type"])


class _Ollama:
    """Ollama's own chat endpoint: one object a line."""

    content_type = "application/x-ndjson"
    chat_path, base_path = "/api/chat", ""
    _HEAD = b'{"model":"played","created_at":"2026-11-01T00:00:00.000000Z","message":{"role":"assistant","content":'

    def event(self, data: bytes, name: str = "") -> bytes:
        return data + b"\n"

    def comment(self) -> bytes:
        return b"\n"

    def silent(self) -> bytes:
        return self.piece("")

    def opening(self, counts: Counts | None) -> bytes:
        return b""

    def piece(self, text: object) -> bytes:
        return self._HEAD + encode(text) + b'},"done":false}\n'

    def thought(self, text: str) -> bytes:
        return self._HEAD + b'"","thinking":' + encode(text) + b'},"done":false}\n'

    def tool_half(self) -> bytes:
        return self._HEAD + b'"","tool_calls":[{"function":{"name":"weather","arguments":' + HALF_ARGUMENTS.encode()

    def finish(self, counts: Counts | None, *, cut: bool = False) -> bytes:
        return b""

    def usage(self, counts: Counts | None) -> bytes:
        return b""

    def done(self, counts: Counts | None, *, cut: bool = False) -> bytes:
        return self.whole("", counts, cut=cut) + b"\n"

    def whole(self, text: str, counts: Counts | None, *, cut: bool = False) -> bytes:
        told = {"done_reason": "length" if cut else "stop"} | ({} if counts is None else _ollama_counts(counts))
        return self._HEAD + encode(text) + b'},"done":true,' + encode(told)[1:]

    def error(self, words: ErrorWords) -> bytes:
        return encode({"error": words.ollama})


def _openai_counts(counts: Counts) -> dict[str, Any]:
    told: dict[str, Any] = {
        "prompt_tokens": counts.input,
        "completion_tokens": counts.output,
        "total_tokens": counts.input + counts.output,
    }
    if counts.cached:
        told["prompt_tokens_details"] = {"cached_tokens": counts.cached}
    if counts.thoughts:
        told["completion_tokens_details"] = {"reasoning_tokens": counts.thoughts}
    return told


def _claude_message(content: list[dict[str, Any]], counts: Counts | None) -> dict[str, Any]:
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "played",
        "content": content,
        "stop_reason": "end_turn",
        "stop_sequence": None,
    }
    if counts is not None:  # what came from the cache is counted apart
        usage = {"input_tokens": counts.input - counts.cached, "output_tokens": counts.output}
        message["usage"] = usage | ({"cache_read_input_tokens": counts.cached} if counts.cached else {})
    return message


def _ollama_counts(counts: Counts) -> dict[str, int]:
    told = {
        "total_duration": 1_000_000 * counts.output,
        "load_duration": 1_000,
        "prompt_eval_count": counts.input,
        "prompt_eval_duration": 1_000 * counts.input,
        "eval_count": counts.output,
        "eval_duration": 1_000_000 * counts.output,
    }
    return told | ({"prompt_eval_cached_count": counts.cached} if counts.cached else {})


FORMATS: dict[Wire, WireFormat] = {"openai": _OpenAI(), "claude": _Claude(), "ollama": _Ollama()}
