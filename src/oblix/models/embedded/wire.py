"""Our request as the engine's, the engine's chunks as ours: pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.dialects import dialect_of
from oblix.models.portable import portable
from oblix.models.wire_tools import unseen, whole_calls
from oblix.types.chunk import Chunk, Delta, End, Progress, Usage
from oblix.types.messages import Message, ResponseFormat, Tool, ToolCall
from oblix.types.request import Request
from oblix.types.spec import ModelSpec

_REASONS = {"stop": "stop", "length": "length", "tool_calls": "tool_calls", "content_filter": "content_filter"}
_ERRORS = {
    400: FailureKind.BAD_REQUEST,
    404: FailureKind.BAD_REQUEST,
    501: FailureKind.BAD_REQUEST,
    503: FailureKind.OVERLOADED,
}


def must_call(request: Request) -> tuple[Tool, ...]:
    """The tools of which one has to be called: all with `required`, one when it is named, none otherwise.

    Raises:
        AttemptFailed: A tool is named that is not there.
    """
    if request.tool_choice in (None, "auto", "none") or not request.tools:
        return ()
    if request.tool_choice == "required":
        return request.tools
    chosen = tuple(tool for tool in request.tools if tool.name == request.tool_choice)
    if not chosen:
        raise AttemptFailed(
            FailureKind.BAD_REQUEST, f"tool_choice names {request.tool_choice!r}, which is not among the tools."
        )
    return chosen


def body(request: Request, spec: ModelSpec) -> dict[str, Any]:
    """The request in OpenAI's form, with the engine's own additions.

    A tool that has to be called is asked for through a JSON schema: the engine's own `required` lets a small model write
    text without end before the call (tried with SmolLM2, xllamacpp 2026.10.11549).
    """
    forced = must_call(request)
    messages = request.messages
    if forced:
        messages = (Message("system", _instruction(forced)), *messages)
    found: dict[str, Any] = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens,
        "stop": list(request.stop) or None,
        "seed": request.seed,
        # What was read for another prompt leaves other roundings: with it the same seed may give another text.
        "cache_prompt": False if request.seed is not None else None,
        "logprobs": True if request.logprobs else None,
        "top_logprobs": request.logprobs or None,
        "response_format": _format(request.response_format) if request.response_format else None,
    }
    if forced:
        found["response_format"] = _format(ResponseFormat("json_schema", _call_schema(forced), "call"))
    elif request.tools and request.tool_choice != "none":
        found["tools"] = [_tool(tool) for tool in request.tools]
    return {
        **{key: value for key, value in found.items() if value is not None},
        **request.provider_options,
        "messages": [_message(message) for message in portable(messages, dialect_of(spec), spec)],
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,  # else nothing is heard, and nothing can be stopped, while the prompt is read
        "n": 1,
    }


@dataclass(slots=True)
class Reader:
    """Reads the chunks of one answer. `end` is set by the engine's own end, and by nothing else.

    Attributes:
        forced: The answer is a tool call in JSON (see `body`).
        call_id: For a call that the engine gave no id.
    """

    forced: bool
    call_id: str
    _reason: str | None = None
    _usage: Usage = field(default_factory=Usage)
    _text: list[str] = field(default_factory=list)
    _calls: dict[int, dict[str, str]] = field(default_factory=dict)
    _logprobs: list[dict[str, Any]] = field(default_factory=list)

    def read(self, chunk: Mapping[str, Any]) -> Iterator[Chunk]:
        """What one chunk means.

        Raises:
            AttemptFailed: It is an error, or nothing that we know.
        """
        if (error := chunk.get("error")) is not None:
            raise failure(error)
        try:
            yield from self._read(chunk)
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as exc:
            why = f"The engine wrote a chunk of an unknown form: {exc!r}."
            raise AttemptFailed(FailureKind.PROTOCOL, why, cause=exc) from exc

    def _read(self, chunk: Mapping[str, Any]) -> Iterator[Chunk]:
        if "prompt_progress" in chunk:
            yield Progress("prompt", 0.0)
        if usage := chunk.get("usage"):
            details = usage.get("prompt_tokens_details") or {}
            self._usage = Usage(usage["prompt_tokens"], usage["completion_tokens"], details.get("cached_tokens"))
        for choice in chunk.get("choices", ()):
            yield from self._choice(choice)

    def _choice(self, choice: Mapping[str, Any]) -> Iterator[Chunk]:
        delta = choice.get("delta") or {}
        for entry in (choice.get("logprobs") or {}).get("content") or ():
            self._logprobs.append(_logprob(entry))
        if thought := delta.get("reasoning_content"):
            yield unseen(thought)
        if text := delta.get("content"):
            if self.forced:
                self._text.append(text)
                yield unseen(text, what="tool_call")
            else:
                yield Delta(text)
        for piece in delta.get("tool_calls") or ():
            yield unseen(self._gather(piece), what="tool_call")
        if reason := choice.get("finish_reason"):
            self._reason = _REASONS.get(reason, "stop")

    def _gather(self, piece: Mapping[str, Any]) -> str:
        call = self._calls.setdefault(int(piece.get("index", 0)), {"id": "", "name": "", "arguments": ""})
        function = piece.get("function") or {}
        call["id"] = call["id"] or piece.get("id") or ""
        call["name"] += function.get("name") or ""
        arguments: str = function.get("arguments") or ""
        call["arguments"] += arguments
        return arguments

    def end(self) -> End:
        """The proof of completion, with tool calls that are whole (see `whole_calls`).

        Raises:
            AttemptFailed: The engine gave none: the answer is cut off. Or it called a tool in a way that cannot be carried out.
        """
        if self._reason is None:
            raise AttemptFailed(FailureKind.TRUNCATED, "The engine's answer stopped without a finish reason.")
        calls = whole_calls(self._tool_calls(), self._reason, "the embedded model")
        reason = "tool_calls" if calls and self._reason == "stop" else self._reason
        return End(reason, self._usage, calls, tuple(self._logprobs))

    def _tool_calls(self) -> tuple[ToolCall, ...]:
        if self.forced and self._reason == "stop":
            try:
                found = json.loads("".join(self._text))
                return (ToolCall(self.call_id, found["name"], json.dumps(found["arguments"], ensure_ascii=False)),)
            except (ValueError, KeyError, TypeError, RecursionError) as exc:
                why = "The engine's tool call is not of the form that was asked for."
                raise AttemptFailed(FailureKind.PROTOCOL, why, cause=exc) from exc
        return tuple(
            ToolCall(call["id"] or f"{self.call_id}_{index}", call["name"], call["arguments"])
            for index, call in sorted(self._calls.items())
        )


def failure(error: object) -> AttemptFailed:
    """What an `{"error": …}` chunk means."""
    known = error if isinstance(error, dict) else {"message": str(error)}
    text, code = str(known.get("message", "no message")), known.get("code")
    if known.get("type") == "exceed_context_size_error":
        tokens, window = known.get("n_prompt_tokens"), known.get("n_ctx")
        failed = AttemptFailed(
            FailureKind.CONTEXT_OVERFLOW,
            f"The prompt has {tokens} tokens, the embedded engine's window {window}.",
            hint="shorten the prompt, or hook the model with a larger window",
        )
        failed.tokens = tokens if isinstance(tokens, int) else None
        failed.window = window if isinstance(window, int) else None
        return failed
    kind = _ERRORS.get(code, FailureKind.INTERNAL) if isinstance(code, int) else FailureKind.INTERNAL
    return AttemptFailed(kind, f"The embedded engine refused the request: {text}.")


def _message(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.tool_calls:
        found["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        found["tool_call_id"] = message.tool_call_id
    return found


def _tool(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters or {"type": "object"}}
    return {"type": "function", "function": function}


def _format(wish: ResponseFormat) -> dict[str, Any]:
    if wish.kind == "json_object" or wish.schema is None:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": wish.name, "schema": wish.schema, "strict": True}}


def _call_schema(tools: tuple[Tool, ...]) -> dict[str, Any]:
    """A JSON object that says which function is called, and with what."""
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": tool.name}, "arguments": tool.parameters or {"type": "object"}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    return calls[0] if len(calls) == 1 else {"anyOf": calls}


def _instruction(tools: tuple[Tool, ...]) -> str:
    described = json.dumps([_tool(tool)["function"] for tool in tools], ensure_ascii=False)
    return f'Call one of these functions. Answer with JSON only: {{"name": …, "arguments": …}}. Functions: {described}'


def _logprob(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "token": entry["token"],
        "logprob": entry["logprob"],
        "top_logprobs": [{"token": e["token"], "logprob": e["logprob"]} for e in entry.get("top_logprobs") or ()],
    }
