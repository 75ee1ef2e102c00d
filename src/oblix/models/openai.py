"""OpenAI's chat completions, and everything that speaks them.

Source: OpenAI API reference, "Chat completions" (2026-11); deviations of compatible servers are marked where they are met.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.base import Call, ModelState
from oblix.models.endpoint import Endpoint
from oblix.models.fitting import Ruler, with_numbers
from oblix.models.sse import Event, SseDecoder
from oblix.models.transport import Permit, Transport
from oblix.models.wire_tools import continued, function_tools, safe, whole_calls
from oblix.types.chunk import Chunk, Delta, End, Progress, Usage
from oblix.types.messages import Image, Message, ResponseFormat, ToolCall
from oblix.types.request import Request
from oblix.types.spec import ModelSpec

MAX_BUFFERED = 16 << 20  # bytes of an answer from a server that does not stream


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolPiece(msgspec.Struct):
    index: int | None = None  # Gemini leaves it out
    id: str | None = None
    function: _Function | None = None


class _Part(msgspec.Struct):
    type: str = ""
    text: str | None = None


class _Said(msgspec.Struct):
    content: str | list[_Part] | None = None  # Mistral's reasoning models send parts
    reasoning_content: str | None = None  # DeepSeek, llama.cpp, vLLM
    reasoning: str | None = None  # OpenRouter, Groq
    tool_calls: list[_ToolPiece] | None = None


class _Logprobs(msgspec.Struct):
    content: list[dict[str, Any]] | None = None


class _Choice(msgspec.Struct):
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: Any = None
    cache_write_tokens: Any = None  # OpenAI since GPT-5.6, OpenRouter


class _Usage(msgspec.Struct):
    """What servers say on top of the three common counts differs, so that it is read with care: a slip there costs no answer."""

    prompt_tokens: int | None = None  # what was cached is part of it
    completion_tokens: int | None = None
    total_tokens: Any = None
    prompt_tokens_details: _PromptDetails | None = None
    prompt_cache_hit_tokens: Any = None  # DeepSeek
    cached_tokens: Any = None  # Moonshot, Together

    def read(self) -> Usage:
        details = self.prompt_tokens_details or _PromptDetails()
        told = (details.cached_tokens, self.prompt_cache_hit_tokens, self.cached_tokens)
        cached = next((count for count in map(_count, told) if count is not None), None)
        return Usage(self.prompt_tokens, self._output(), cached, _count(details.cache_write_tokens))

    def _output(self) -> int | None:
        """Gemini and xAI leave thoughts out of `completion_tokens`, but bill them as output; `total_tokens` has them."""
        answer, total = self.completion_tokens, _count(self.total_tokens)
        if self.prompt_tokens is None or answer is None or total is None:
            return answer
        return max(answer, total - self.prompt_tokens)


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


_CHUNK = msgspec.json.Decoder(_Chunk)


class OpenAIModel:
    """A model behind a chat-completions endpoint."""

    def __init__(self, spec: ModelSpec, transport: Transport, *, key: str | None = None) -> None:
        self.spec = spec
        self._url = f"{spec.endpoint}/chat/completions"
        self._headers = {"Authorization": f"Bearer {key}"} if key else None
        self._endpoint = Endpoint(
            transport, ("text/event-stream", "application/json"), headers=self._headers, secret=key
        )
        self._ruler = Ruler()

    async def stream(self, request: Request, call: Call) -> AsyncIterator[Chunk]:
        """Answer piece by piece; see `models.base.Model`."""
        asked = continued(request, call.said, self.spec)
        if asked is None:
            yield End("length")
            return
        if self.spec.is_edge:
            self._ruler.refuse(asked, self.spec.window, model_id=self.spec.id)
        body, permit = self._body(asked) | (self._going_on if call.said else {}), Permit.of(self.spec, request)
        with with_numbers(asked, self.spec.window):
            answer = await self._endpoint.ask(self._url, body, permit=permit, call=call)
            try:
                if answer.content_type == "text/event-stream":
                    decoder, told = SseDecoder(), _Told()
                    while not told.is_done and (data := await answer.next()):
                        for chunk in self._read(decoder.feed(data), told):
                            yield chunk
                    if told.is_done:
                        await answer.finish()
                    yield self._end(told, asked)
                elif call.said:  # llama.cpp repeats the beginning in an answer of one piece, others do not
                    raise AttemptFailed(
                        FailureKind.PROTOCOL,
                        f"{self.spec.id} does not stream, so that it cannot go on from a beginning",
                    )
                else:
                    for chunk in self._buffered(await answer.read(MAX_BUFFERED), asked):
                        yield chunk
            finally:
                answer.close()

    def _read(self, events: list[Event], told: _Told) -> Iterator[Chunk]:
        """What the events say, up to `[DONE]`. No asynchronous generator: closing one inside of another takes a task of its own."""
        for event in events:
            if event.data == b"[DONE]":
                told.is_done = True
                return
            found = self._parse(event.data)
            told.usage = found.usage or told.usage
            for choice in found.choices[:1]:
                if choice.finish_reason or choice.logprobs or (choice.delta and choice.delta.tool_calls):
                    told.add(choice)
                said = choice.delta
                if said is None:
                    continue
                if said.content and (text := _text(said.content)):
                    yield Delta(text)
                elif said.content or said.reasoning_content or said.reasoning or said.tool_calls:
                    yield Progress()

    def _end(self, told: _Told, request: Request) -> End:
        end = told.end(self.spec.id)
        if self.spec.is_edge:  # a service in the cloud refuses what does not fit; servers at home may cut it
            self._ruler.check(request, end.usage.input_tokens, window=self.spec.window, model_id=self.spec.id)
        return end

    def _buffered(self, body: bytes, request: Request) -> list[Chunk]:
        """A server that ignores `stream` answers in one piece."""
        found, told = self._parse(body), _Told()
        told.usage = found.usage
        if not found.choices:
            raise AttemptFailed(FailureKind.PROTOCOL, f"{self.spec.id} answered without any choice")
        told.add(found.choices[0])
        told.is_done = True
        said = found.choices[0].message
        text = _text(said.content) if said and said.content else ""
        return [*([Delta(text)] if text else []), self._end(told, request)]

    def _parse(self, raw: bytes) -> _Chunk:
        try:
            found = _CHUNK.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise AttemptFailed(
                FailureKind.PROTOCOL, f"{self.spec.id} sent an event that is no valid chunk: {error}", cause=error
            ) from error
        if found.error is not None:
            raise self._endpoint.refused(self.spec, 200, raw)
        return found

    def _body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.spec.name,
            "messages": [_message(message) for message in request.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        # OpenAI's own service renamed the limit; the compatible ones mostly know the old name only.
        limit = "max_completion_tokens" if "api.openai.com" in self._url else "max_tokens"
        wishes = {
            limit: request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed,
            "stop": list(request.stop) or None,
        }
        body.update((name, value) for name, value in wishes.items() if value is not None)
        if request.tools:
            body["tools"] = function_tools(request.tools)
            if request.tool_choice:
                body["tool_choice"] = _tool_choice(request.tool_choice)
        if request.response_format:
            body["response_format"] = _response_format(request.response_format)
        if request.logprobs:
            body |= {"logprobs": True, "top_logprobs": request.logprobs}
        return body | request.provider_options

    @property
    def _going_on(self) -> dict[str, Any]:
        """What makes the server go on from a last turn of the model's own; llama.cpp does it anyway, and vLLM has to be told."""
        return {"continue_final_message": True, "add_generation_prompt": False} if self.spec.provider == "vllm" else {}

    def state(self) -> ModelState:
        """A service behind an address is taken to be loaded."""
        return ModelState(loaded=True, window=self.spec.window)

    async def close(self) -> None:
        """The connections belong to the transport."""


@dataclass(slots=True)
class _Call:
    """A tool call, as far as it has been told."""

    index: int | None
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class _Told:
    """What an answer told besides its text, gathered until the end."""

    def __init__(self) -> None:
        self.is_done = False  # `[DONE]` was said
        self.finish_reason: str | None = None
        self.usage: _Usage | None = None
        self._calls: list[_Call] = []
        self._logprobs: list[dict[str, Any]] = []

    def add(self, choice: _Choice) -> None:
        if choice.finish_reason:
            self.finish_reason = choice.finish_reason
        if choice.logprobs and choice.logprobs.content:
            self._logprobs.extend(choice.logprobs.content)
        said = choice.delta or choice.message
        for number, piece in enumerate((said.tool_calls if said else None) or ()):
            self._add_piece(piece, number if choice.message else piece.index)

    def _add_piece(self, piece: _ToolPiece, index: int | None) -> None:
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

    def end(self, model_id: str) -> End:
        if not self.finish_reason:
            raise AttemptFailed(FailureKind.TRUNCATED, f"the answer of {model_id} ended without a `finish_reason`")
        if not (self.is_done or self.usage):  # a clean end after the closing usage chunk is proof as well
            raise AttemptFailed(FailureKind.TRUNCATED, f"the answer of {model_id} ended without `[DONE]`")
        found = [
            ToolCall(call.id or f"call_{number}", call.name, "".join(call.arguments))
            for number, call in enumerate(sorted(self._calls, key=lambda call: call.index or 0))
        ]
        calls = whole_calls(found, self.finish_reason, model_id) if found else ()
        reason = {"function_call": "tool_calls"}.get(self.finish_reason, self.finish_reason)
        return End(
            "tool_calls" if calls and reason == "stop" else reason,
            self.usage.read() if self.usage else Usage(),
            calls,
            tuple(self._logprobs),
        )


def _count(told: object) -> int | None:
    return told if type(told) is int and told >= 0 else None


def _text(content: str | list[_Part]) -> str:
    """The visible text; a part of another type is a thought."""
    if isinstance(content, str):
        return content
    return "".join(part.text or "" for part in content if part.type == "text")


def _message(message: Message) -> dict[str, Any]:
    made: dict[str, Any] = {"role": message.role}
    if message.images:
        parts: list[dict[str, Any]] = [{"type": "text", "text": safe(message.text)}] if message.text else []
        made["content"] = parts + [
            {"type": "image_url", "image_url": {"url": _image_url(image)}} for image in message.images
        ]
    else:
        made["content"] = safe(message.text)
    if message.tool_calls:
        made["content"] = made["content"] or None
        made["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        made["tool_call_id"] = message.tool_call_id
    return made


def _image_url(image: Image) -> str:
    return image.url or f"data:{image.media_type or 'image/png'};base64,{image.data}"


def _tool_choice(choice: str) -> str | dict[str, Any]:
    return choice if choice in ("auto", "none", "required") else {"type": "function", "function": {"name": choice}}


def _response_format(wish: ResponseFormat) -> dict[str, Any]:
    if wish.kind == "json_object" or wish.schema is None:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": wish.name, "schema": wish.schema, "strict": True}}
