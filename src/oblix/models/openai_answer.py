"""An answer of OpenAI's chat completions: its chunks as they come, and what they told by the end.

Deviations of compatible servers are marked where they are met.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.hidden import TOKENS_PER_CALL
from oblix.models.openai_thoughts import kept
from oblix.models.wire_tools import count, unseen, whole_calls
from oblix.types.chunk import Chunk, Delta, End, Usage
from oblix.types.messages import Thought, ToolCall
from oblix.types.spec import ModelSpec


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolPiece(msgspec.Struct):
    index: int | None = None  # Gemini leaves it out
    id: str | None = None
    function: _Function | None = None
    extra_content: Any = None  # Gemini's signature of its thought


class _Part(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: Any = None  # parts, in a part of this type


class _Said(msgspec.Struct):
    content: str | list[_Part] | None = None  # Mistral's reasoning models send parts
    reasoning_content: str | None = None  # DeepSeek, llama.cpp, vLLM
    reasoning: str | None = None  # OpenRouter, Groq
    reasoning_details: Any = None  # OpenRouter
    tool_calls: list[_ToolPiece] | None = None


class _Logprobs(msgspec.Struct):
    content: list[dict[str, Any]] | None = None


class Choice(msgspec.Struct):
    """One of the answers side by side; we ask for one only."""

    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: Any = None
    cache_write_tokens: Any = None  # OpenAI since GPT-5.6, OpenRouter


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: Any = None


class _Usage(msgspec.Struct):
    """What servers say on top of the three common counts differs, so that it is read with care: a slip there costs no answer."""

    prompt_tokens: int | None = None  # what was cached is part of it
    completion_tokens: int | None = None
    total_tokens: Any = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    prompt_cache_hit_tokens: Any = None  # DeepSeek
    cached_tokens: Any = None  # Moonshot, Together

    def read(self, provider: str) -> Usage:
        """Our counts, as the provider means its own."""
        details = self.prompt_tokens_details or _PromptDetails()
        told = (details.cached_tokens, self.prompt_cache_hit_tokens, self.cached_tokens)
        cached = next((number for number in map(count, told) if number is not None), None)
        thought = count((self.completion_tokens_details or _OutputDetails()).reasoning_tokens)
        written = count(details.cache_write_tokens)
        apart = (thought or 0) if provider == "xai" else 0
        return Usage(count(self.prompt_tokens), self._output(apart), cached, written, reasoning_tokens=thought)

    def _output(self, apart: int) -> int | None:
        """Gemini and xAI leave thoughts out of `completion_tokens`, but bill them as output; `total_tokens` has them.

        Args:
            apart: Thoughts that are known to be left out.
        """
        prompt, answer, total = map(count, (self.prompt_tokens, self.completion_tokens, self.total_tokens))
        if answer is None or prompt is None or total is None:
            return answer and answer + apart
        return max(answer + apart, total - prompt)


class AnswerChunk(msgspec.Struct):
    """What comes in one event, or as a whole from a server that does not stream."""

    choices: list[Choice] = []
    usage: _Usage | None = None
    error: Any = None


CHUNK = msgspec.json.Decoder(AnswerChunk)


@dataclass(slots=True)
class _Call:
    """A tool call, as far as it has been told."""

    index: int | None
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    extra: Any = None


class Told:
    """What an answer told, gathered until the end."""

    def __init__(self) -> None:
        self.is_done = False  # `[DONE]` was said
        self.usage: _Usage | None = None
        self._finish_reason: str | None = None
        self._pieces = 0
        self._characters = 0
        self._thought: list[str] = []
        self._details: list[object] = []
        self._calls: list[_Call] = []
        self._logprobs: list[dict[str, Any]] = []

    def take(self, choice: Choice) -> tuple[Chunk, ...]:
        """What a choice means; nothing where it says nothing."""
        said = choice.delta or choice.message
        if choice.finish_reason or choice.logprobs:
            self._finish_reason = choice.finish_reason or self._finish_reason
            self._logprobs += (choice.logprobs.content if choice.logprobs else None) or ()
        if said is None:
            return ()
        found: tuple[Chunk, ...] = ()
        if said.tool_calls or said.reasoning_content or said.reasoning or said.reasoning_details:
            found = (self._take_unseen(said, is_whole=choice.message is not None),)
        elif not said.content:
            return ()
        self._pieces += 1
        if not said.content:
            return found
        text, thought = (said.content, "") if isinstance(said.content, str) else _parted(said.content)
        self._characters += len(text) + len(thought)
        if thought or not (text or found):
            found = (*found, unseen(thought))
        return (*found, Delta(text)) if text else found

    def _take_unseen(self, said: _Said, *, is_whole: bool) -> Chunk:
        """Thoughts and tool calls, which are no text of the answer."""
        thought, calls = said.reasoning_content or said.reasoning or "", said.tool_calls or ()
        self._thought.append(thought)
        if isinstance(said.reasoning_details, list):
            self._details += said.reasoning_details
        for number, piece in enumerate(calls):
            self._add(piece, number if is_whole else piece.index)
        return unseen(thought, *(call.function.arguments or "" for call in calls if call.function))

    def _add(self, piece: _ToolPiece, index: int | None) -> None:
        function = piece.function or _Function()
        call = next((call for call in reversed(self._calls) if index in (None, call.index)), None)
        # Gemini gives parallel calls one index, or none (https://github.com/NousResearch/hermes-agent/issues/62937): there, a name with
        # an id of its own starts the next call. An id alone does not: older vLLM puts a new one on every piece.
        other = piece.id != call.id if call and piece.id else index is None
        if call is None or (call.name and function.name and other):
            call = _Call(index)
            self._calls.append(call)
        call.id = call.id or piece.id or ""
        call.name = call.name or function.name or ""
        call.arguments.append(function.arguments or "")
        call.extra = call.extra or piece.extra_content

    @property
    def seen(self) -> int:
        """Tokens that were shown, at the least: a piece is one or more, and few have only two characters."""
        told = sum(map(len, self._thought)) + sum(len(part) for call in self._calls for part in call.arguments)
        return max(self._pieces, (self._characters + told) // 2) + TOKENS_PER_CALL * len(self._calls)

    def end(self, spec: ModelSpec) -> End:
        """The proof of completion.

        Raises:
            AttemptFailed: There is none, or a tool call is not whole.
        """
        if not self._finish_reason:
            raise AttemptFailed(FailureKind.TRUNCATED, f"the answer of {spec.id} ended without a `finish_reason`")
        if not (self.is_done or self.usage):  # a clean end after the closing usage chunk is proof as well
            raise AttemptFailed(FailureKind.TRUNCATED, f"the answer of {spec.id} ended without `[DONE]`")
        self._calls.sort(key=lambda call: call.index or 0)
        found = [
            ToolCall(call.id or f"call_{number}", call.name, "".join(call.arguments))
            for number, call in enumerate(self._calls)
        ]
        calls = whole_calls(found, self._finish_reason, spec.id) if found else ()
        reason = {"function_call": "tool_calls"}.get(self._finish_reason, self._finish_reason)
        return End(
            "tool_calls" if calls and reason == "stop" else reason,
            self.usage.read(spec.provider) if self.usage else Usage(),
            calls,
            tuple(self._logprobs),
            self._thoughts(spec) if calls and len(calls) == len(found) else (),
        )

    def _thoughts(self, spec: ModelSpec) -> tuple[Thought, ...]:
        return kept(spec, "".join(self._thought), self._details, [call.extra for call in self._calls])


def _parted(content: list[_Part]) -> tuple[str, str]:
    """The visible text, and what a model thought: a part of another type is a thought."""
    thoughts = [piece for part in content if isinstance(part.thinking, list) for piece in part.thinking]
    text = "".join(part.text or "" for part in content if part.type == "text")
    return text, "".join(str(piece.get("text", "")) for piece in thoughts if isinstance(piece, dict))
