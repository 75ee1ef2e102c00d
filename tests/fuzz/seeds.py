"""Inputs to begin from: well-formed answers of each protocol, and the oddities that a mutation would find late."""

from __future__ import annotations

import json
from typing import Any

from .driving import Wire

SSE = (
    b"\x00data: a\n\ndata: b\n\n",
    b"\x03\xef\xbb\xbfevent: ping\r\ndata: {}\r\n\r\n",
    b"\x05: comment\rdata\rdata:x\r\rid: 1\n",
)
NDJSON = (b'\x03{"a":1}\n\n{"b":2}\r\n{"c"', b"\x02\xef\xbb\xbf{}\r  \r\n")
BODIES = (  # a byte for the status, a line for the header, the body
    b'\x64 12\n{"error":{"message":"maximum context length is 10 tokens, you sent 20 tokens","code":"context_length_exceeded"}}',
    b"\x721e3\nsk-secret and plain text",
    b'\x00Wed, 21 Oct 2026 07:28:00 GMT\n{"error":{"code":"503","type":null,"n_prompt_tokens":9,"n_ctx":8}}',
)
WAIT_HEADERS = (
    "retry-after",
    "retry-after-ms",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "anthropic-ratelimit-tokens-remaining",
    "anthropic-ratelimit-tokens-reset",
)
WAITS = (  # a byte, a line for each of these headers, the text
    b"\x01Wed, 21 Oct 2026 07:28:00 GMT\n",
    b"\x01Sunday, 06-Nov-94 08:49:37 GMT\n1500\nplease try again in 1m3.5s",
    b"\x01Sun Nov  6 08:49:37 2026\n\n0\n6m0s\n0\n2026-10-21T07:28:00Z\n",
    b'\x00 12.5\n-3\n1\n20ms\n3\nnever\n{"retryDelay": "34s"} regain access on 2026-12-01 at 00:00 UTC',
)
TO_CHILD = (b"\x83\xa4type\xa3Ask\xa2id\x01\xa4body\x80", b"\x82\xa4type\xa4Stop\xa2id\x01")
FROM_CHILD = (
    b"\x83\xa4type\xa5Piece\xa2id\x01\xa5chunk\x81\xa7choices\x91\x81\xa5delta\x81\xa7content\xa2hi",
    b"\x83\xa4type\xa5Piece\xa2id\x01\xa5chunk\x81\xa5error\x82\xa4code\xcd\x01\x90\xa7message\xa2no",
    b"\x82\xa4type\xa4Done\xa2id\x01",
)

_TOOL = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
_LOGPROBS = {"content": [{"token": "a", "logprob": -1, "top_logprobs": [{"token": "a", "logprob": -1}]}]}
_OPENAI: tuple[dict[str, Any], ...] = (
    {"choices": [{"delta": {"content": "hi"}, "finish_reason": None, "logprobs": _LOGPROBS}]},
    {"choices": [{"delta": {"reasoning_content": "hm", "tool_calls": [_TOOL]}}]},
    {"choices": [{"message": {"content": "all", "tool_calls": [_TOOL]}, "finish_reason": "stop"}]},
    {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
    {
        "choices": [],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}},
    },
    {"error": {"message": "no", "code": 429, "type": "server_error"}},
)
_CLAUDE: tuple[dict[str, Any], ...] = (
    {"type": "message_start", "message": {"usage": {"input_tokens": 1, "cache_read_input_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "id": "c", "name": "f", "input": {}},
    },
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
    {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}},
)
_OLLAMA: tuple[dict[str, Any], ...] = (
    {"message": {"content": "hi"}, "done": False, "logprobs": [{"token": "a", "logprob": -1}]},
    {"message": {"content": "", "thinking": "hm", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}},
    {"done": True, "done_reason": "stop", "prompt_eval_count": 1, "eval_count": 2},
    {"remote_host": "away", "done": False},
    {"error": "model not found"},
)
# The engine's chunks have OpenAI's form, with additions of its own.
ENGINE: tuple[dict[str, Any], ...] = (
    {"prompt_progress": {"total": 9, "processed": 4}},
    *_OPENAI,
    {"error": {"code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 8, "message": "no"}},
)
EVENTS: dict[Wire, tuple[dict[str, Any], ...]] = {"openai": _OPENAI, "claude": _CLAUDE, "ollama": _OLLAMA}


def wired(wire: Wire, events: list[Any]) -> bytes:
    """These events as the protocol sends them."""
    lines = [json.dumps(event).encode() for event in events]
    if wire == "ollama":
        return b"".join(line + b"\n" for line in lines)
    ended = [*lines, b"[DONE]"] if wire == "openai" else lines
    return b"".join(b"data: " + line + b"\n\n" for line in ended)


def answers(wire: Wire) -> tuple[bytes, ...]:
    """A good answer, and each event alone, each with a byte before it that says how it is cut."""
    events = EVENTS[wire]
    good = [event for event in events if "error" not in event and "remote_host" not in event]
    return (b"\x02" + wired(wire, good), *(b"\x04" + wired(wire, [event]) for event in events))
