"""OpenAI's chat completions, and everything that speaks them.

Source: OpenAI API reference, "Chat completions" (2026-11); deviations of compatible servers are marked where they are met.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import msgspec

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.base import Call, ModelState
from oblix.models.dialects import dialect_of
from oblix.models.endpoint import Endpoint, Keyed
from oblix.models.fitting import Ruler, with_numbers
from oblix.models.hidden import Hidden
from oblix.models.openai_answer import CHUNK, AnswerChunk, Told
from oblix.models.openai_body import body, bound
from oblix.models.portable import portable
from oblix.models.sse import Event, SseDecoder
from oblix.models.transport import Permit, Transport
from oblix.models.wire_tools import continued
from oblix.types.chunk import Chunk, End
from oblix.types.request import Request
from oblix.types.secret import SecretStr
from oblix.types.spec import ModelSpec

MAX_BUFFERED = 16 << 20  # bytes of an answer from a server that does not stream


class OpenAIModel(Keyed):
    """A model behind a chat-completions endpoint."""

    def __init__(self, spec: ModelSpec, transport: Transport, *, key: SecretStr | None = None) -> None:
        self.spec = spec
        self._url = f"{spec.endpoint}/chat/completions"
        self._endpoint = Endpoint(transport, ("text/event-stream", "application/json"), key=key)
        self._ruler = Ruler()
        self._dialect = dialect_of(spec)
        self._hidden = Hidden(spec.name)

    async def stream(self, request: Request, call: Call) -> AsyncIterator[Chunk]:
        """Answer piece by piece; see `models.base.Model`."""
        asked = continued(request, call.said, self.spec)
        if asked is None:
            yield End("length")
            return
        if self.spec.is_edge:
            self._ruler.refuse(asked, self.spec.window, model_id=self.spec.id)
        asks = self._body(asked, call.most_tokens) | (self._going_on if call.said else {})
        permit = Permit.of(self.spec, request)
        with with_numbers(asked, self.spec.window):
            answer = await self._endpoint.ask(self._url, asks, permit=permit, call=call)
            try:
                if answer.content_type == "text/event-stream":
                    decoder, told = SseDecoder(), Told()
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

    def _read(self, events: list[Event], told: Told) -> Iterator[Chunk]:
        """What the events say, up to `[DONE]`. No asynchronous generator: closing one inside of another takes a task of its own."""
        for event in events:
            if event.data == b"[DONE]":
                told.is_done = True
                return
            found = self._parse(event.data)
            told.usage = found.usage or told.usage
            for choice in found.choices[:1]:
                yield from told.take(choice)

    def _end(self, told: Told, request: Request) -> End:
        end = told.end(self.spec)
        self._hidden.learn(end.usage, told.seen)
        if self.spec.is_edge:  # a service in the cloud refuses what does not fit; servers at home may cut it
            self._ruler.check(request, end.usage.input_tokens, window=self.spec.window, model_id=self.spec.id)
        return end

    def _buffered(self, body: bytes, request: Request) -> list[Chunk]:
        """A server that ignores `stream` answers in one piece."""
        found, told = self._parse(body), Told()
        told.usage = found.usage
        if not found.choices:
            raise AttemptFailed(FailureKind.PROTOCOL, f"{self.spec.id} answered without any choice")
        said = told.take(found.choices[0])
        told.is_done = True
        return [*said, self._end(told, request)]

    def _parse(self, raw: bytes) -> AnswerChunk:
        try:
            found = CHUNK.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise AttemptFailed(
                FailureKind.PROTOCOL, f"{self.spec.id} sent an event that is no valid chunk: {error}", cause=error
            ) from error
        if found.error is not None:
            raise self._endpoint.refused(self.spec, 200, raw)
        return found

    def _body(self, request: Request, most_tokens: int | None = None) -> dict[str, Any]:
        messages = portable(request.messages, self._dialect, self.spec)
        return body(replace(request, messages=messages), self.spec, most_tokens)

    def bound(self, request: Request) -> int | None:
        """See `models.base.bound_of`."""
        return bound(request, self.spec)

    def hides_tokens(self, request: Request) -> bool:
        """See `models.base.Hiding`."""
        return self._hidden.may(request.provider_options)

    @property
    def _going_on(self) -> dict[str, Any]:
        """What makes the server go on from a last turn of the model's own; llama.cpp does it anyway, and vLLM has to be told."""
        return {"continue_final_message": True, "add_generation_prompt": False} if self.spec.provider == "vllm" else {}

    def state(self) -> ModelState:
        """A service behind an address is taken to be loaded."""
        return ModelState(loaded=True, window=self.spec.window)

    async def close(self) -> None:
        """The connections belong to the transport."""
