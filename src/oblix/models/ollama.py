"""Ollama, by its native chat endpoint: the compatible one ignores the context window.

Source: docs/api.md and api/types.go of the Ollama project (2026-08).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import msgspec

from oblix.decision.tokens import estimate_messages
from oblix.errors import AttemptFailed, FailureKind
from oblix.models.base import Call, ModelState
from oblix.models.classify import classify
from oblix.models.ndjson import NdjsonDecoder
from oblix.models.transport import Answer, Permit, Transport
from oblix.models.wire_tools import encode, function_tools, read_arguments, safe
from oblix.types.chunk import Chunk, Delta, End, Progress, Usage
from oblix.types.messages import Message, ToolCall
from oblix.types.request import Request
from oblix.types.spec import ModelSpec

MIN_WINDOW = 4096  # tokens; Ollama's own default on machines with less than 24 GiB of VRAM
MAX_WINDOW = 32768  # tokens; as far as we grow it when the window was not declared
DEFAULT_ANSWER = 1024  # tokens kept free for an answer whose length the caller left open


class _Function(msgspec.Struct):
    name: str = ""
    arguments: Any = None


class _ToolCall(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Said(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Line(msgspec.Struct):
    message: _Said | None = None
    done: bool = False
    done_reason: str | None = None
    error: Any = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    logprobs: list[dict[str, Any]] | None = None
    remote_host: str | None = None


_LINE = msgspec.json.Decoder(_Line)


def is_remote_name(name: str) -> bool:
    """Whether Ollama itself runs the model in its cloud, by the tag (`gpt-oss:120b-cloud`, `kimi:cloud`)."""
    tag = name.rpartition("/")[2].partition(":")[2].lower()
    return tag == "cloud" or tag.endswith("-cloud")


class OllamaModel:
    """A model of an Ollama server."""

    def __init__(
        self, spec: ModelSpec, transport: Transport, *, key: str | None = None, keep_alive: str | int = "5m"
    ) -> None:
        self.spec = spec
        self._transport = transport
        self._url = spec.endpoint or ""
        self._headers = {"Authorization": f"Bearer {key}"} if key else None
        self._key = key
        self._keep_alive = keep_alive
        self._window = MIN_WINDOW

    async def stream(self, request: Request, call: Call) -> AsyncIterator[Chunk]:
        """Answer piece by piece; see `models.base.Model`."""
        permit = Permit(self.spec, request.private)
        if request.private:
            await self._verify_local(permit, call)
        answer = await self._transport.post(
            f"{self._url}/api/chat",
            body=encode(self._body(request)),
            permit=permit,
            headers=self._headers,
            connect_timeout=call.connect_timeout,
        )
        try:
            if answer.status != 200:
                raise self._refused(answer.status, await answer.read(), answer.headers)
            if answer.content_type not in ("application/x-ndjson", "application/json"):
                raise AttemptFailed(
                    FailureKind.PROTOCOL,
                    f"{self._url} answered with {answer.content_type}, which is not Ollama's NDJSON",
                    status=200,
                )
            async with aclosing(self._read(answer)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            answer.close()

    async def _read(self, answer: Answer) -> AsyncGenerator[Chunk]:
        decoder, calls, logprobs = NdjsonDecoder(), list[ToolCall](), list[dict[str, Any]]()
        while True:
            data = await answer.next()
            # The last line may lack its line ending.
            lines = decoder.feed(data) if data else [decoder.rest] if decoder.rest else []
            for raw in lines:
                line = self._parse(raw)
                if line.logprobs:
                    logprobs.extend(line.logprobs)
                if line.message is not None:
                    if line.message.tool_calls:
                        # A list, because a generator would count the calls that it adds.
                        calls += [_tool_call(call, n) for n, call in enumerate(line.message.tool_calls, len(calls))]
                    if line.message.content:
                        yield Delta(line.message.content)
                    elif line.message.thinking:
                        yield Progress()
                if line.done:
                    await answer.finish()
                    yield _end(line, calls, logprobs)
                    return
            if not data:
                raise AttemptFailed(FailureKind.TRUNCATED, f"the answer of {self.spec.id} ended without `done`")

    def _parse(self, raw: bytes) -> _Line:
        try:
            line = _LINE.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise AttemptFailed(
                FailureKind.PROTOCOL, f"{self.spec.id} sent a line that is no valid JSON: {error}", cause=error
            ) from error
        if line.error is not None:
            raise self._refused(200, raw)
        if line.remote_host and self.spec.is_edge:
            # From now on it is what it turned out to be, so that the next decision knows.
            self.spec = replace(
                self.spec, place="cloud", place_reason=f"Ollama forwards it to {line.remote_host}", price=None
            )
            raise AttemptFailed(
                FailureKind.POLICY,
                f"{self.spec.id} is not run here: Ollama forwards it to {line.remote_host}",
                hint="Hook it with place='cloud'.",
            )
        return line

    def _refused(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> AttemptFailed:
        error = classify(status, body, headers=headers, model_id=self.spec.id, secret=self._key)
        if error.kind is FailureKind.MODEL_MISSING and b"model" in body:
            error.hint = f"ollama pull {self.spec.name}"
        elif status == 404:  # not in Ollama's words: the route is missing, not the model
            error.kind, error.hint = FailureKind.PROTOCOL, f"Is it an Ollama server that listens at {self._url}?"
        return error

    async def _verify_local(self, permit: Permit, call: Call) -> None:
        """Ask the server whether it forwards the model, before every private prompt: a model can be made anew under its name."""
        answer = await self._transport.post(
            f"{self._url}/api/show",
            body=encode({"model": self.spec.name}),
            permit=permit,
            headers=self._headers,
            connect_timeout=call.connect_timeout,
        )
        try:
            body = await answer.read(8 << 20)
        finally:
            answer.close()
        if answer.status != 200:
            raise self._refused(answer.status, body, answer.headers)
        try:
            found = msgspec.json.decode(body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise AttemptFailed(
                FailureKind.PROTOCOL, f"{self._url}/api/show gave no JSON object", cause=error
            ) from error
        remote = found.get("remote_host") or found.get("remote_model")
        if remote:
            raise AttemptFailed(
                FailureKind.POLICY,
                f"{self.spec.id} is forwarded by Ollama to {remote}; a private prompt may not be sent to it",
            )

    def _body(self, request: Request) -> dict[str, Any]:
        options: dict[str, Any] = {"num_ctx": self._fitting_window(request)}
        wishes = {
            "temperature": request.temperature,
            "top_p": request.top_p,
            "num_predict": request.max_tokens,
            "seed": request.seed,
            "stop": list(request.stop) or None,
        }
        options.update((name, value) for name, value in wishes.items() if value is not None)
        body: dict[str, Any] = {
            "model": self.spec.name,
            "messages": _messages(request.messages),
            "stream": True,
            "keep_alive": self._keep_alive,
            "truncate": False,  # a prompt that does not fit is an error, not a shorter prompt
            "shift": False,
            "options": options,
        }
        if request.tools and request.tool_choice != "none":  # the API has no `tool_choice`
            body["tools"] = function_tools(request.tools)
        if request.response_format:
            body["format"] = request.response_format.schema or "json"
        if request.logprobs:
            body |= {"logprobs": True, "top_logprobs": request.logprobs}
        extra = dict(request.provider_options)
        options.update(extra.pop("options", {}))
        return body | extra

    def _fitting_window(self, request: Request) -> int:
        """A window that the prompt and its answer fit; it never shrinks, because each change makes Ollama load the model anew."""
        if self.spec.window:
            return self.spec.window
        need = estimate_messages(request.messages) + (request.max_tokens or DEFAULT_ANSWER)
        while self._window < min(need, MAX_WINDOW):
            self._window *= 2
        return self._window

    def state(self) -> ModelState:
        """The window that we last asked for; whether the model is loaded is not known here."""
        return ModelState(window=self.spec.window or self._window)

    async def close(self) -> None:
        """The connections belong to the transport."""


def _messages(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    """Templates ask for the name of the tool that a result comes from; our messages know its call's id."""
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    return [_message(message, names) for message in messages]


def _message(message: Message, names: Mapping[str, str]) -> dict[str, Any]:
    made: dict[str, Any] = {"role": message.role, "content": safe(message.text)}
    if message.tool_call_id:
        made["tool_call_id"] = message.tool_call_id
        if message.tool_call_id in names:
            made["tool_name"] = names[message.tool_call_id]
    if message.images:
        missing = [image for image in message.images if image.data is None]
        if missing:
            raise AttemptFailed(
                FailureKind.BAD_REQUEST, "Ollama takes images as data, not as addresses", hint="Pass the image's bytes."
            )
        made["images"] = [image.data for image in message.images]
    if message.tool_calls:
        made["tool_calls"] = [
            {"id": call.id, "function": {"name": call.name, "arguments": read_arguments(call.arguments)}}
            for call in message.tool_calls
        ]
    return made


def _tool_call(found: _ToolCall, number: int) -> ToolCall:
    arguments = found.function.arguments
    return ToolCall(
        found.id or f"call_{number}",
        found.function.name,
        arguments if isinstance(arguments, str) else msgspec.json.encode(arguments or {}).decode(),
    )


def _end(line: _Line, calls: list[ToolCall], logprobs: list[dict[str, Any]]) -> End:
    reason = "tool_calls" if calls else ("length" if line.done_reason == "length" else "stop")
    return End(reason, Usage(line.prompt_eval_count, line.eval_count), tuple(calls), tuple(logprobs))
