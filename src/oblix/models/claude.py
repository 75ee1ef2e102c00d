"""Claude, by the Messages API.

Source: Anthropic API reference, "Messages" and "Streaming", version 2026-10-21. That version has no sampling parameters, so that
`temperature`, `top_p` and `seed` are not sent; who talks to a server of an older version can pass them in `provider_options`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.base import Call, ModelState
from oblix.models.claude_answer import EVENT, Event, Told
from oblix.models.claude_body import behind, body
from oblix.models.dialects import CLAUDE
from oblix.models.endpoint import Endpoint, Keyed
from oblix.models.fitting import with_numbers
from oblix.models.hidden import Hidden
from oblix.models.portable import portable
from oblix.models.sse import SseDecoder
from oblix.models.transport import Answer, Permit, Transport
from oblix.models.wire_tools import continued, least_limit
from oblix.types.chunk import Chunk, End
from oblix.types.request import Request
from oblix.types.secret import SecretStr
from oblix.types.spec import ModelSpec

API_VERSION = "2026-10-21"  # the version that the official SDK 2.12 sends
DEFAULT_MAX_TOKENS = 4096  # the API demands a limit; every current model can give this many


class ClaudeModel(Keyed):
    """A model behind a Messages endpoint."""

    def __init__(
        self,
        spec: ModelSpec,
        transport: Transport,
        *,
        key: SecretStr | None = None,
        max_tokens: int = DEFAULT_MAX_TOKENS,
    ) -> None:
        self.spec = spec
        self._url = f"{(spec.endpoint or '').removesuffix('/v1')}/v1/messages"
        self._endpoint = Endpoint(
            transport, ("text/event-stream",), key=key, headers={"anthropic-version": API_VERSION}
        )
        self._max_tokens = max_tokens
        self._hidden = Hidden(spec.name)

    async def stream(self, request: Request, call: Call) -> AsyncIterator[Chunk]:
        """Answer piece by piece; see `models.base.Model`."""
        asked = continued(request, call.said, self.spec)
        if asked is None:
            yield End("length")
            return
        permit, asks = Permit.of(self.spec, request), self._body(asked, call.most_tokens)
        with with_numbers(asked, self.spec.window):
            answer = await self._endpoint.ask(self._url, asks, permit=permit, call=call)
            try:
                async with aclosing(self._read(answer, asks)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            finally:
                answer.close()

    async def _read(self, answer: Answer, asks: dict[str, Any]) -> AsyncGenerator[Chunk]:
        decoder, told = SseDecoder(), Told()
        while data := await answer.next():
            for event in decoder.feed(data):
                found = self._parse(event.data)
                chunk = told.take(found)
                if chunk is not None:
                    yield chunk
                if found.type == "message_stop":
                    await answer.finish()
                    end = told.end(self.spec, partial(behind, asks))
                    self._hidden.learn(end.usage, told.seen)
                    yield end
                    return
        raise AttemptFailed(FailureKind.TRUNCATED, f"the answer of {self.spec.id} ended without `message_stop`")

    def _parse(self, raw: bytes) -> Event:
        try:
            found = EVENT.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise AttemptFailed(
                FailureKind.PROTOCOL, f"{self.spec.id} sent an event that is not valid: {error}", cause=error
            ) from error
        if found.type == "error":
            raise self._endpoint.refused(self.spec, 200, raw)
        return found

    def _body(self, request: Request, most_tokens: int | None = None) -> dict[str, Any]:
        messages = portable(request.messages, CLAUDE, self.spec)
        asked = replace(request, messages=messages, max_tokens=request.max_tokens or self._max_tokens)
        return body(asked, self.spec.name, most_tokens)

    def bound(self, request: Request) -> int | None:
        """See `models.base.bound_of`."""
        own = {"max_tokens": request.max_tokens or self._max_tokens} | request.provider_options
        return least_limit(own, ("max_tokens",))

    def hides_tokens(self, request: Request) -> bool:
        """See `models.base.Hiding`."""
        return self._hidden.may(request.provider_options)

    def state(self) -> ModelState:
        """A service behind an address is taken to be loaded."""
        return ModelState(loaded=True, window=self.spec.window)

    async def close(self) -> None:
        """The connections belong to the transport."""
