"""Three wire protocols as their servers write them: OpenAI chat completions, Anthropic Messages, Ollama. Pure.

Sources: OpenAI API reference "Chat completions", Anthropic API reference "Messages" and "Streaming", docs/api.md of the Ollama
project, each as of 2026-11.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, get_args

import msgspec

Wire = Literal["openai", "claude", "ollama"]
ALL_WIRES: frozenset[Wire] = frozenset(get_args(Wire))
HALF_ARGUMENTS = '{"city": "Par'  # of a tool call that is cut off


def encode(value: Any) -> bytes:
    """JSON as these servers write it: compact, characters beyond ASCII as they are."""
    return msgspec.json.encode(value)


class WireFormat(Protocol):
    """One protocol. Every method gives bytes of a body; `b""` where the protocol has no such thing."""

    content_type: str
    chat_path: str  # what the path of a chat request ends with
    base_path: str  # what clients expect at the end of a base address

    def event(self, data: bytes, name: str = "") -> bytes:
        """Data in the frame of one event or line."""

    def comment(self) -> bytes:
        """What keeps a connection alive and says nothing."""

    def silent(self) -> bytes:
        """A right event without any text."""

    def opening(self, input_tokens: int) -> bytes:
        """What comes before the first piece of text."""

    def piece(self, text: object) -> bytes:
        """One piece of text; anything but a string is wrong on purpose."""

    def thought(self, text: str) -> bytes:
        """One piece of thinking, which is no text of the answer."""

    def tool_half(self) -> bytes:
        """A tool call that breaks off inside of its arguments."""

    def finish(self, output_tokens: int) -> bytes:
        """Why the answer ended."""

    def usage(self, input_tokens: int, output_tokens: int) -> bytes:
        """Token counts, where they come in an event of their own."""

    def done(self, input_tokens: int, output_tokens: int) -> bytes:
        """The proof of completion."""

    def whole(self, text: str, input_tokens: int, output_tokens: int) -> bytes:
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

    def opening(self, input_tokens: int) -> bytes:
        return self._choice(b'{"role":"assistant","content":""}')

    def piece(self, text: object) -> bytes:
        return self._choice(b'{"content":' + encode(text) + b"}")

    def thought(self, text: str) -> bytes:
        return self._choice(b'{"reasoning_content":' + encode(text) + b"}")

    def tool_half(self) -> bytes:
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
        more = {"index": 0, "function": {"arguments": HALF_ARGUMENTS}}
        return b"".join(self._choice(encode({"tool_calls": [part]})) for part in (call, more))

    def finish(self, output_tokens: int) -> bytes:
        return self._choice(b"{}", b'"stop"')

    def usage(self, input_tokens: int, output_tokens: int) -> bytes:
        counts = _openai_counts(input_tokens, output_tokens)
        return self._HEAD + b'[],"usage":' + encode(counts) + b"}\n\n"

    def done(self, input_tokens: int, output_tokens: int) -> bytes:
        return b"data: [DONE]\n\n"

    def whole(self, text: str, input_tokens: int, output_tokens: int) -> bytes:
        message = {"role": "assistant", "content": text}
        return encode(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "model": "played",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": _openai_counts(input_tokens, output_tokens),
            }
        )

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

    def opening(self, input_tokens: int) -> bytes:
        message = _claude_message([], input_tokens, 1) | {"stop_reason": None}
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

    def finish(self, output_tokens: int) -> bytes:
        delta = {"stop_reason": "end_turn", "stop_sequence": None}
        end = {"type": "message_delta", "delta": delta, "usage": {"output_tokens": output_tokens}}
        return self._event({"type": "content_block_stop", "index": 0}) + self._event(end)

    def usage(self, input_tokens: int, output_tokens: int) -> bytes:
        return b""

    def done(self, input_tokens: int, output_tokens: int) -> bytes:
        return self._event({"type": "message_stop"})

    def whole(self, text: str, input_tokens: int, output_tokens: int) -> bytes:
        return encode(_claude_message([{"type": "text", "text": text}], input_tokens, output_tokens))

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

    def opening(self, input_tokens: int) -> bytes:
        return b""

    def piece(self, text: object) -> bytes:
        return self._HEAD + encode(text) + b'},"done":false}\n'

    def thought(self, text: str) -> bytes:
        return self._HEAD + b'"","thinking":' + encode(text) + b'},"done":false}\n'

    def tool_half(self) -> bytes:
        return self._HEAD + b'"","tool_calls":[{"function":{"name":"weather","arguments":' + HALF_ARGUMENTS.encode()

    def finish(self, output_tokens: int) -> bytes:
        return b""

    def usage(self, input_tokens: int, output_tokens: int) -> bytes:
        return b""

    def done(self, input_tokens: int, output_tokens: int) -> bytes:
        return self.whole("", input_tokens, output_tokens) + b"\n"

    def whole(self, text: str, input_tokens: int, output_tokens: int) -> bytes:
        counts = {
            "total_duration": 1_000_000 * output_tokens,
            "load_duration": 1_000,
            "prompt_eval_count": input_tokens,
            "prompt_eval_duration": 1_000 * input_tokens,
            "eval_count": output_tokens,
            "eval_duration": 1_000_000 * output_tokens,
        }
        return self._HEAD + encode(text) + b'},"done":true,"done_reason":"stop",' + encode(counts)[1:]

    def error(self, words: ErrorWords) -> bytes:
        return encode({"error": words.ollama})


def _openai_counts(input_tokens: int, output_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
    }


def _claude_message(content: list[dict[str, Any]], input_tokens: int, output_tokens: int) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "played",
        "content": content,
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": input_tokens, "output_tokens": output_tokens},
    }


FORMATS: dict[Wire, WireFormat] = {"openai": _OpenAI(), "claude": _Claude(), "ollama": _Ollama()}
