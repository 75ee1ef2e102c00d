"""Ollama's JSON to the engine's (OpenAI's) and back, for the test server: pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Names that Ollama and llama.cpp share. `num_predict`, `num_ctx` and `stop` are dealt with one by one.
_SHARED_OPTIONS = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "repeat_last_n",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
)


class BadRequestError(Exception):
    """What Ollama refuses, in Ollama's words; `status` is the HTTP status that it sends."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class Outcome:
    """What the engine has said so far, and how it ended. Durations are nanoseconds, as in Ollama's answers."""

    text: list[str] = field(default_factory=list)
    calls: dict[int, dict[str, str]] = field(default_factory=dict)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    answer_tokens: int = 0
    prompt_ns: int = 0
    answer_ns: int = 0

    def take(self, chunk: Mapping[str, Any]) -> str:
        """Note one chunk of the engine's stream; returns the text that it adds."""
        usage, timings = chunk.get("usage") or {}, chunk.get("timings") or {}
        self.prompt_tokens = usage.get("prompt_tokens", self.prompt_tokens)
        self.answer_tokens = usage.get("completion_tokens", self.answer_tokens)
        self.prompt_ns = int(timings.get("prompt_ms", self.prompt_ns / 1e6) * 1e6)
        self.answer_ns = int(timings.get("predicted_ms", self.answer_ns / 1e6) * 1e6)
        added = ""
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            added += delta.get("content") or choice.get("text") or ""
            self._take_calls(delta.get("tool_calls") or ())
            self.logprobs += (choice.get("logprobs") or {}).get("content") or ()
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        if added:
            self.text.append(added)
        return added

    def _take_calls(self, deltas: Sequence[Mapping[str, Any]]) -> None:
        for delta in deltas:
            call = self.calls.setdefault(delta.get("index", 0), {"name": "", "arguments": ""})
            function = delta.get("function") or {}
            call["name"] += function.get("name") or ""
            call["arguments"] += function.get("arguments") or ""

    def tool_calls(self) -> list[dict[str, Any]]:
        """The tools the model called, in Ollama's shape: the arguments are an object."""
        return [
            {"function": {"name": call["name"], "arguments": _arguments(call["arguments"])}}
            for _, call in sorted(self.calls.items())
        ]

    def closing(self, total_ns: int, load_ns: int) -> dict[str, Any]:
        """The fields that only the last object of an answer has."""
        return {
            "done": True,
            "done_reason": "length" if self.finish_reason == "length" else "stop",
            "total_duration": total_ns,
            "load_duration": load_ns,
            "prompt_eval_count": self.prompt_tokens,
            "prompt_eval_duration": self.prompt_ns,
            "eval_count": self.answer_tokens,
            "eval_duration": self.answer_ns,
        }


def _arguments(text: str) -> Any:
    try:
        return json.loads(text or "{}")
    except ValueError:
        return {}


def canonical(name: str) -> str:
    """`llama2` and `llama2:latest` are the same model."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def chat_request(body: Mapping[str, Any], max_answer: int | None) -> dict[str, Any]:
    """The body of `/api/chat` as one for `/v1/chat/completions`.

    Args:
        max_answer: The server's own cap on the tokens of an answer, or `None`.

    Raises:
        BadRequestError: A field is not what Ollama takes.
    """
    asked: dict[str, Any] = {"messages": [_message(message) for message in body["messages"]]}
    if body.get("tools"):
        asked["tools"] = body["tools"]
    return asked | _common(body, max_answer)


def generate_request(body: Mapping[str, Any], max_answer: int | None) -> dict[str, Any]:
    """The body of `/api/generate` as one for `/v1/chat/completions`, or with `raw` for `/v1/completions`."""
    if body.get("images"):
        raise BadRequestError("this model is missing data required for image input")
    if body.get("raw"):
        return {"prompt": body["prompt"]} | _common(body, max_answer)
    system = [{"role": "system", "content": body["system"]}] if body.get("system") else []
    return {"messages": [*system, {"role": "user", "content": body["prompt"]}]} | _common(body, max_answer)


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    if message.get("role") not in ("system", "user", "assistant", "tool"):
        raise BadRequestError(f"invalid role: {message.get('role')}")
    if message.get("images"):
        raise BadRequestError("this model is missing data required for image input")
    calls = [
        {
            "id": f"call_{number}",
            "type": "function",
            "function": {
                "name": call["function"]["name"],
                "arguments": json.dumps(call["function"].get("arguments", {})),
            },
        }
        for number, call in enumerate(message.get("tool_calls") or ())
    ]
    turn: dict[str, Any] = {"role": message["role"], "content": message.get("content", "")}
    return turn | ({"tool_calls": calls} if calls else {})


def _common(body: Mapping[str, Any], max_answer: int | None) -> dict[str, Any]:
    if body.get("think"):
        raise BadRequestError(f'"{body.get("model")}" does not support thinking')
    options = body.get("options") or {}
    asked: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}, "timings_per_token": False}
    asked |= {name: options[name] for name in _SHARED_OPTIONS if name in options}
    asked |= {name: body[name] for name in ("logprobs", "top_logprobs") if body.get(name)}
    stop = options.get("stop")
    if stop:
        asked["stop"] = [stop] if isinstance(stop, str) else list(stop)
    # Ollama: -1 and -2 are "without limit" and "to the end of the window".
    wished = options.get("num_predict", -1)
    limits = [limit for limit in (wished if wished > 0 else None, max_answer) if limit is not None]
    if limits:
        asked["max_tokens"] = min(limits)
    return asked | _format(body.get("format"))


def _format(wished: Any) -> dict[str, Any]:
    if not wished:
        return {}
    if wished == "json":
        return {"response_format": {"type": "json_object"}}
    if isinstance(wished, dict):
        return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": wished}}}
    raise BadRequestError(f'invalid format: {json.dumps(wished)}; expected "json" or a valid JSON Schema object')
