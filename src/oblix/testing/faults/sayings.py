"""Answers with thoughts and tool calls, as each provider streams them: pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from oblix.testing.faults.rules import claude_prefix, sign
from oblix.testing.faults.wires import FORMATS, Counts, Wire, encode

TOKENS = 10  # that each is said to have, whatever its length


@dataclass(frozen=True, slots=True, kw_only=True)
class Saying:
    """What a model says.

    Attributes:
        thought: Where its provider signs thoughts, this one is signed for all that was asked.
        calls: Of tools: id, name, and arguments as JSON text. Ollama tells no id where it is empty.
    """

    text: str = ""
    thought: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()


def stream(wire: Wire, saying: Saying, body: dict[str, Any], input_tokens: int) -> bytes:
    """The whole body of an answer to `body`."""
    counts = Counts(input_tokens, TOKENS)
    return {"openai": _openai, "claude": _claude, "ollama": _ollama}[wire](saying, body, counts)


def _openai(saying: Saying, body: dict[str, Any], counts: Counts) -> bytes:
    wire = FORMATS["openai"]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": piece} for piece in _halves(saying.thought)]
    deltas += [{"content": piece} for piece in _halves(saying.text)]
    for at, (call_id, name, arguments) in enumerate(saying.calls):
        function = {"name": name, "arguments": ""}
        call = {"index": at, "id": call_id, "type": "function", "function": function}
        if at == 0 and saying.thought:  # as Gemini does; others pass it over
            call["extra_content"] = {"google": {"thought_signature": sign(body["messages"])}}
        deltas.append({"tool_calls": [call]})
        for piece in _halves(arguments):
            deltas.append({"tool_calls": [{"index": at, "function": {"arguments": piece}}]})
    events = [wire.event(encode({"choices": [{"index": 0, "delta": delta}]})) for delta in deltas]
    reason = "tool_calls" if saying.calls else "stop"
    end = wire.event(encode({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}))
    return b"".join([*events, end, wire.usage(counts), wire.done(counts)])


def _claude(saying: Saying, body: dict[str, Any], counts: Counts) -> bytes:
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    if saying.thought:
        signature = sign(claude_prefix(body))
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in _halves(saying.thought)]
        opened = {"type": "thinking", "thinking": "", "signature": ""}
        blocks.append((opened, [*deltas, {"type": "signature_delta", "signature": signature}]))
        blocks.append(({"type": "redacted_thinking", "data": signature}, []))
    if saying.text:
        pieces = [{"type": "text_delta", "text": piece} for piece in _halves(saying.text)]
        blocks.append(({"type": "text", "text": ""}, pieces))
    for call_id, name, arguments in saying.calls:
        pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in _halves(arguments)]
        blocks.append(({"type": "tool_use", "id": call_id, "name": name, "input": {}}, pieces))
    usage = {"input_tokens": counts.input, "output_tokens": 1}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {"role": "assistant", "usage": usage}}]
    for at, (block, told) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": at, "content_block": block})
        events += [{"type": "content_block_delta", "index": at, "delta": delta} for delta in told]
        events.append({"type": "content_block_stop", "index": at})
    stop = {"stop_reason": "tool_use" if saying.calls else "end_turn"}
    events += [
        {"type": "message_delta", "delta": stop, "usage": {"output_tokens": counts.output}},
        {"type": "message_stop"},
    ]
    return b"".join(FORMATS["claude"].event(encode(event), event["type"]) for event in events)


def _ollama(saying: Saying, body: dict[str, Any], counts: Counts) -> bytes:
    wire = FORMATS["ollama"]
    lines = [wire.thought(piece) for piece in _halves(saying.thought)]
    lines += [wire.piece(piece) for piece in _halves(saying.text)]
    for call_id, name, arguments in saying.calls:
        call: dict[str, Any] = {"function": {"name": name, "arguments": json.loads(arguments)}}
        message = {"role": "assistant", "content": "", "tool_calls": [call | ({"id": call_id} if call_id else {})]}
        lines.append(encode({"model": "played", "message": message, "done": False}) + b"\n")
    return b"".join([*lines, wire.done(counts)])


def _halves(text: str) -> list[str]:
    half = len(text) // 2
    return [piece for piece in (text[:half], text[half:]) if piece]
