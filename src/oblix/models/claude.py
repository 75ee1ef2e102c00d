"""Claude, by the Messages API.

Source: Anthropic API reference, "Messages" and "Streaming", version 2026-10-21. That version has no sampling parameters, so that
`temperature`, `top_p` and `seed` are not sent; who talks to a server of an older version can pass them in `provider_options`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import msgspec

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.base import Call, ModelState
from oblix.models.endpoint import Endpoint
from oblix.models.fitting import with_numbers
from oblix.models.sse import SseDecoder
from oblix.models.transport import Answer, Permit, Transport
from oblix.models.wire_tools import continued, encode, read_arguments, safe, whole_calls
from oblix.types.chunk import Chunk, Delta, End, Progress, Usage
from oblix.types.messages import Image, Message, ToolCall
from oblix.types.request import Request
from oblix.types.spec import ModelSpec

API_VERSION = "2026-10-21"  # the version that the official SDK 2.12 sends
DEFAULT_MAX_TOKENS = 4096  # the API demands a limit; every current model can give this many
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


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _Written | None = None  # the same, by how long it stays


class _Start(msgspec.Struct):
    usage: _Usage | None = None


class _Block(msgspec.Struct):
    type: str = ""
    id: str = ""
    name: str = ""
    text: str | None = None
    input: dict[str, Any] | None = None  # whole here, from servers that do not stream it


class _Delta(msgspec.Struct):
    type: str = ""
    text: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    type: str
    index: int = 0
    message: _Start | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None


_EVENT = msgspec.json.Decoder(_Event)


class ClaudeModel:
    """A model behind a Messages endpoint."""

    def __init__(
        self, spec: ModelSpec, transport: Transport, *, key: str | None = None, max_tokens: int = DEFAULT_MAX_TOKENS
    ) -> None:
        self.spec = spec
        self._url = f"{(spec.endpoint or '').removesuffix('/v1')}/v1/messages"
        self._headers = {"anthropic-version": API_VERSION} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._endpoint = Endpoint(transport, ("text/event-stream",), headers=self._headers, secret=key)
        self._max_tokens = max_tokens

    async def stream(self, request: Request, call: Call) -> AsyncIterator[Chunk]:
        """Answer piece by piece; see `models.base.Model`."""
        asked = continued(request, call.said, self.spec)
        if asked is None:
            yield End("length")
            return
        permit = Permit.of(self.spec, request)
        with with_numbers(asked, self.spec.window):
            answer = await self._endpoint.ask(self._url, self._body(asked), permit=permit, call=call)
            try:
                async with aclosing(self._read(answer)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            finally:
                answer.close()

    async def _read(self, answer: Answer) -> AsyncGenerator[Chunk]:
        decoder, told = SseDecoder(), _Told()
        while data := await answer.next():
            for event in decoder.feed(data):
                found = self._parse(event.data)
                chunk = told.take(found)
                if chunk is not None:
                    yield chunk
                if found.type == "message_stop":
                    await answer.finish()
                    yield told.end(self.spec.id)
                    return
        raise AttemptFailed(FailureKind.TRUNCATED, f"the answer of {self.spec.id} ended without `message_stop`")

    def _parse(self, raw: bytes) -> _Event:
        try:
            found = _EVENT.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise AttemptFailed(
                FailureKind.PROTOCOL, f"{self.spec.id} sent an event that is not valid: {error}", cause=error
            ) from error
        if found.type == "error":
            raise self._endpoint.refused(self.spec, 200, raw)
        return found

    def _body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.spec.name,
            "max_tokens": request.max_tokens or self._max_tokens,
            "messages": _turns(request.messages),
            "stream": True,
        }
        system = "\n\n".join(safe(message.text) for message in request.messages if message.role == "system")
        if system:
            body["system"] = system
        if request.stop:
            body["stop_sequences"] = list(request.stop)
        if request.tools:
            body["tools"] = [
                {
                    "name": t.name,
                    "description": t.description,
                    "input_schema": t.parameters or {"type": "object", "properties": {}},
                }
                for t in request.tools
            ]
            if request.tool_choice:
                body["tool_choice"] = _tool_choice(request.tool_choice)
        if request.response_format and request.response_format.schema is None:
            # The API knows schemas only; any JSON object has to be asked for in words.
            body["system"] = "\n\n".join(filter(None, (system, "Answer with one JSON object and nothing else.")))
        elif request.response_format:
            body["output_config"] = {"format": {"type": "json_schema", "schema": request.response_format.schema}}
        return body | request.provider_options

    def state(self) -> ModelState:
        """A service behind an address is taken to be loaded."""
        return ModelState(loaded=True, window=self.spec.window)

    async def close(self) -> None:
        """The connections belong to the transport."""


class _Told:
    """What an answer told besides its text, gathered until the end. Thinking blocks are signs of life, nothing more."""

    def __init__(self) -> None:
        self._stop_reason: str | None = None
        self._uncached: int | None = None
        self._cached: int | None = None
        self._written: int | None = None
        self._written_1h: int | None = None
        self._output: int | None = None
        self._calls: dict[int, tuple[_Block, list[str]]] = {}

    def take(self, event: _Event) -> Chunk | None:
        if event.type == "content_block_delta" and event.delta is not None:
            return self._piece(event.index, event.delta)
        if event.type == "content_block_start" and event.content_block is not None:
            if event.content_block.type == "tool_use":
                self._calls[event.index] = (event.content_block, [])
            return Delta(event.content_block.text) if event.content_block.text else None
        if event.type == "message_start" and event.message is not None:
            self._count(event.message.usage)
        elif event.type == "message_delta":
            self._count(event.usage)
            if event.delta is not None and event.delta.stop_reason:
                self._stop_reason = event.delta.stop_reason
        return None

    def _piece(self, index: int, delta: _Delta) -> Chunk | None:
        if delta.type == "text_delta":
            return Delta(delta.text) if delta.text else None
        if delta.type == "input_json_delta" and index in self._calls:
            self._calls[index][1].append(delta.partial_json or "")
        return Progress()

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

    def _usage(self) -> Usage:
        """`input_tokens` leaves out what was read from or written to the cache; ours is the whole prompt."""
        prompt = None if self._uncached is None else self._uncached + (self._cached or 0) + (self._written or 0)
        return Usage(prompt, self._output, self._cached, self._written, self._written_1h)

    def end(self, model_id: str) -> End:
        if not self._stop_reason:
            raise AttemptFailed(FailureKind.TRUNCATED, f"the answer of {model_id} ended without a `stop_reason`")
        calls = [
            ToolCall(
                block.id or f"call_{index}",
                block.name,
                "".join(pieces) or (encode(block.input).decode() if block.input else ""),
            )
            for index, (block, pieces) in sorted(self._calls.items())
        ]
        reason = _FINISH.get(self._stop_reason, self._stop_reason)
        return End(reason, self._usage(), whole_calls(calls, reason, model_id) if calls else ())


def _newer(told: int | None, before: int | None) -> int | None:
    return before if told is None else told


def _turns(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    """The conversation as alternating turns: neighbours of one role are joined, tool results are the user's."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(message)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(blocks)
        else:
            turns.append({"role": role, "content": blocks})
    return turns


def _blocks(message: Message) -> list[dict[str, Any]]:
    if message.role == "tool":
        return [{"type": "tool_result", "tool_use_id": message.tool_call_id or "", "content": safe(message.text)}]
    blocks: list[dict[str, Any]] = [_image(image) for image in message.images]
    if message.text:
        blocks.append({"type": "text", "text": safe(message.text)})
    blocks.extend(
        {"type": "tool_use", "id": call.id, "name": call.name, "input": read_arguments(call.arguments)}
        for call in message.tool_calls
    )
    return blocks


def _image(image: Image) -> dict[str, Any]:
    if image.data is None:
        return {"type": "image", "source": {"type": "url", "url": image.url}}
    return {
        "type": "image",
        "source": {"type": "base64", "media_type": image.media_type or "image/png", "data": image.data},
    }


def _tool_choice(choice: str) -> dict[str, Any]:
    if choice in ("auto", "none"):
        return {"type": choice}
    return {"type": "any"} if choice == "required" else {"type": "tool", "name": choice}
