"""Ollama, by its native chat endpoint: the compatible one ignores the context window.

Source: docs/api.md and api/types.go of the Ollama project (2026-08).
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any
from weakref import WeakSet

import msgspec

from oblix.decision.tokens import estimate_messages
from oblix.errors import AttemptFailed, ConfigurationError, FailureKind
from oblix.models.base import Call, ModelState
from oblix.models.dialects import dialect_of
from oblix.models.endpoint import Endpoint, Keyed
from oblix.models.fitting import Ruler, with_numbers
from oblix.models.ndjson import NdjsonDecoder
from oblix.models.ollama_memory import OllamaMemory, keep_seconds
from oblix.models.portable import portable
from oblix.models.transport import Answer, Permit, Transport
from oblix.models.wire_tools import (
    bounded,
    continued,
    count,
    function_tools,
    least_limit,
    read_arguments,
    safe,
    unseen,
    whole_calls,
)
from oblix.types.chunk import Chunk, Delta, End, Usage
from oblix.types.messages import Message, ToolCall
from oblix.types.request import Request
from oblix.types.secret import SecretStr
from oblix.types.spec import ModelSpec

MIN_WINDOW = 4096  # tokens; Ollama's own default on machines with less than 24 GiB of VRAM
MAX_WINDOW = 32768  # tokens; as far as we grow it when the window was not declared
DEFAULT_ANSWER = 1024  # tokens kept free for an answer whose length the caller left open

# Ollama has words only. What it says when the runner of a model dies, and when it cannot even start one.
_TROUBLES = (
    (re.compile(rb"requires more system memory|unable to load model|out of memory"), FailureKind.MODEL_UNLOADABLE),
    (re.compile(rb"runner process|signal: |unexpected EOF"), FailureKind.ENGINE_CRASH),
)


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
    prompt_eval_cached_count: int | None = None  # part of it; older servers do not tell
    eval_count: int | None = None
    logprobs: list[dict[str, Any]] | None = None
    remote_host: str | None = None


_LINE = msgspec.json.Decoder(_Line)


def is_remote_name(name: str) -> bool:
    """Whether Ollama itself runs the model in its cloud, by the tag (`gpt-oss:120b-cloud`, `kimi:cloud`)."""
    tag = name.rpartition("/")[2].partition(":")[2].lower()
    return tag == "cloud" or tag.endswith("-cloud")


class _Server(Endpoint):
    """An Ollama server, which has words of its own for what went wrong."""

    def refused(
        self, spec: ModelSpec, status: int, body: bytes, headers: Mapping[str, str] | None = None
    ) -> AttemptFailed:
        error = super().refused(spec, status, body, headers)
        if error.kind is FailureKind.MODEL_MISSING and b"model" in body:
            error.hint = f"ollama pull {spec.name}"
        elif error.kind is FailureKind.SERVER_ERROR:
            error.kind = next((kind for words, kind in _TROUBLES if words.search(body)), error.kind)
        elif status == 404:  # not in Ollama's words: the route is missing, not the model
            error.kind, error.hint = FailureKind.PROTOCOL, f"Is it an Ollama server that listens at {spec.endpoint}?"
        return error


class OllamaModel(Keyed):
    """A model of an Ollama server."""

    def __init__(
        self, spec: ModelSpec, transport: Transport, *, key: SecretStr | None = None, keep_alive: str | int = "5m"
    ) -> None:
        self.spec = spec
        self._url = spec.endpoint or ""
        self._endpoint = _Server(transport, ("application/x-ndjson", "application/json"), key=key)
        self._keep_alive = keep_alive
        with suppress(ValueError):
            self._keep_alive = int(keep_alive)  # a number in quotes is none to Ollama
        self._memory = OllamaMemory(
            spec,
            self._endpoint,
            keep=keep_seconds(keep_alive),
            neighbours=transport.shared.setdefault(self._url, WeakSet()),
        )
        self._ruler = Ruler()
        self._window = MIN_WINDOW

    async def stream(self, request: Request, call: Call) -> AsyncIterator[Chunk]:
        """Answer piece by piece; see `models.base.Model`."""
        permit = Permit.of(self.spec, request)
        asked = continued(request, call.said, self.spec)
        if asked is None:
            yield End("length")
            return
        body = self._body(asked, call.most_tokens)
        window = _window(body)
        self._ruler.refuse(asked, window, model_id=self.spec.id)
        if permit.private:
            await self._verify_local(permit, call)
        if window and self._memory.loaded and self._memory.window not in (None, window):
            # It is in memory, so that nobody called `load`; but Ollama loads a model anew for another window.
            call.watch.reached("load")
            await self._memory.load(window, exact=True)
            call.watch.reached("first_token")
        try:
            with with_numbers(asked, window):
                answer = await self._endpoint.ask(f"{self._url}/api/chat", body, permit=permit, call=call)
                try:
                    async with aclosing(self._read(answer, asked, body)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                finally:
                    answer.close()
        except AttemptFailed as error:
            if error.kind is not FailureKind.CONTEXT_OVERFLOW:
                self._memory.lost()  # whether a model that failed is still loaded, is not known
            raise

    async def _read(self, answer: Answer, request: Request, body: dict[str, Any]) -> AsyncGenerator[Chunk]:
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
                    # A list, because a generator would count the calls that it adds.
                    more = [_tool_call(call, n) for n, call in enumerate(line.message.tool_calls or (), len(calls))]
                    calls += more
                    if line.message.thinking or more:
                        yield unseen(line.message.thinking or "", *(call.arguments for call in more))
                    if line.message.content:
                        yield Delta(line.message.content)
                if line.done:
                    await answer.finish()
                    yield self._end(line, calls, logprobs, request, body)
                    return
            if not data:
                raise AttemptFailed(FailureKind.TRUNCATED, f"the answer of {self.spec.id} ended without `done`")

    def _end(
        self, line: _Line, calls: list[ToolCall], logprobs: list[dict[str, Any]], request: Request, body: dict[str, Any]
    ) -> End:
        window, keep = _window(body), None
        if body.get("keep_alive") != self._keep_alive:
            with suppress(ConfigurationError):
                keep = keep_seconds(body.get("keep_alive", ""))
        self._memory.answered(window, keep)
        usage = Usage(count(line.prompt_eval_count), count(line.eval_count), count(line.prompt_eval_cached_count))
        if body.get("truncate") is not True:  # who asks for it may have the prompt cut
            self._ruler.check(request, usage.input_tokens, window=window, model_id=self.spec.id)
        reason = "length" if line.done_reason == "length" else "stop"
        whole = whole_calls(calls, reason, self.spec.id) if calls else ()
        reason = "tool_calls" if whole and reason == "stop" else reason
        return End(reason, usage, whole, tuple(logprobs))

    def _parse(self, raw: bytes) -> _Line:
        try:
            line = _LINE.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise AttemptFailed(
                FailureKind.PROTOCOL, f"{self.spec.id} sent a line that is no valid JSON: {error}", cause=error
            ) from error
        if line.error is not None:
            raise self._endpoint.refused(self.spec, 200, raw)
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

    async def _verify_local(self, permit: Permit, call: Call) -> None:
        """Ask the server whether it forwards the model, before every private prompt: a model can be made anew under its name."""
        status, body, headers = await self._endpoint.fetch(
            f"{self._url}/api/show", {"model": self.spec.name}, permit, connect_timeout=call.connect_timeout
        )
        if status != 200:
            raise self._endpoint.refused(self.spec, status, body, headers)
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

    def _body(self, request: Request, most_tokens: int | None = None) -> dict[str, Any]:
        own = _own_options(request)
        options: dict[str, Any] = {} if "num_ctx" in own else {"num_ctx": self._fitting_window(request)}
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
            "messages": _messages(portable(request.messages, dialect_of(self.spec), self.spec)),
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
        options.update(own)
        body["options"] = bounded(options, ("num_predict",), most_tokens)
        return body | {name: value for name, value in request.provider_options.items() if name != "options"}

    def _fitting_window(self, request: Request) -> int:
        """A window that the prompt and its answer fit; it never shrinks, because each change makes Ollama load the model anew.

        Raises:
            AttemptFailed: kind `context_overflow`, when none fits.
        """
        if self.spec.window:
            return self.spec.window
        need = estimate_messages(request.messages) + (request.max_tokens or DEFAULT_ANSWER)
        window = self._window
        while window < min(need, MAX_WINDOW):
            window *= 2
        loaded = self._memory.window if self._memory.loaded else None
        window = max(window, loaded or 0)  # somebody else may have had it loaded with a wider one
        self._ruler.refuse(request, window, model_id=self.spec.id)  # what cannot fit needs no room
        self._window = window
        return window

    def bound(self, request: Request) -> int | None:
        """See `models.base.bound_of`."""
        own = {"num_predict": request.max_tokens} | dict(_own_options(request))
        return least_limit(own, ("num_predict",))

    def state(self) -> ModelState:
        """What is known of the server's memory; a service in the cloud is taken to be loaded."""
        loaded = True if self.spec.place == "cloud" else self._memory.loaded
        return ModelState(loaded=loaded, loading=self._memory.loading, window=self.spec.window or self._window)

    async def load(self, request: Request) -> None:
        """Have the server bring the model into memory, with the window that `request` needs; see `models.base.Loadable`.

        For one that can never fit, nothing is loaded: it is refused as `stream` would.
        """
        if self.spec.place == "cloud":
            return
        own = _own_options(request).get("num_ctx")
        exact = isinstance(own, int) or self.spec.window is not None
        window = own if isinstance(own, int) else self._fitting_window(request)
        self._ruler.refuse(request, window, model_id=self.spec.id)
        await self._memory.load(window, exact=exact)

    async def close(self) -> None:
        """Stop waiting for a load. The connections belong to the transport."""
        await self._memory.close()


def _own_options(request: Request) -> Mapping[str, Any]:
    """What the caller sets of Ollama's `options`.

    Raises:
        AttemptFailed: kind `bad_request`, when it is no mapping.
    """
    own = request.provider_options.get("options", {})
    if not isinstance(own, Mapping):
        raise AttemptFailed(FailureKind.BAD_REQUEST, f"provider_options['options'] is {own!r}, expected a dict")
    return own


def _window(body: Mapping[str, Any]) -> int | None:
    """The window that is asked for, which the caller may have set as an option."""
    window = body["options"].get("num_ctx")
    return window if isinstance(window, int) else None


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
