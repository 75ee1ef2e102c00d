"""An address that models answer at: sends a request there, and lets only an answer through that is one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.base import Call
from oblix.models.classify import classify
from oblix.models.transport import Answer, Permit, Transport
from oblix.models.wire_tools import encode
from oblix.types.spec import ModelSpec


class Endpoint:
    """What the protocols have in common: the connection, the headers, and what is no answer.

    Args:
        types: The content types of an answer.
        headers: Of every request, the key's among them.
        secret: The key, which is never told on.
    """

    def __init__(
        self, transport: Transport, types: tuple[str, ...], *, headers: Mapping[str, str] | None, secret: str | None
    ) -> None:
        self._transport = transport
        self._types = types
        self._headers = headers
        self._secret = secret

    async def ask(self, url: str, body: dict[str, Any], *, permit: Permit, call: Call) -> Answer:
        """A good answer, whose body is still to come. Always `close()` it.

        Raises:
            AttemptFailed: Of the kind that fits, when there is none.
        """
        answer = await self._transport.post(
            url, body=encode(body), permit=permit, headers=self._headers, connect_timeout=call.connect_timeout
        )
        try:
            if answer.status != 200:
                raise self.refused(permit.spec, answer.status, await answer.read(), answer.headers)
            if answer.content_type not in self._types:
                if answer.content_type == "application/json" and b'"error"' in (said := await answer.read()):
                    raise self.refused(permit.spec, 200, said, answer.headers)
                raise AttemptFailed(
                    FailureKind.PROTOCOL,
                    f"{url} answered with {answer.content_type} instead of {self._types[0]}",
                    status=200,
                    hint="A captive portal or a proxy may sit between, or another server listen there.",
                )
        except BaseException:
            answer.close()
            raise
        return answer

    async def fetch(
        self, url: str, body: dict[str, Any] | None, permit: Permit, *, connect_timeout: float, cap: int = 8 << 20
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, whole body (up to `cap` bytes) and headers of a short exchange, whatever they are; without a body it is a GET."""
        settings: dict[str, Any] = {"permit": permit, "headers": self._headers, "connect_timeout": connect_timeout}
        if body is None:
            answer = await self._transport.get(url, **settings)
        else:
            answer = await self._transport.post(url, body=encode(body), **settings)
        try:
            return answer.status, await answer.read(cap), answer.headers
        finally:
            answer.close()

    def refused(
        self, spec: ModelSpec, status: int, body: bytes, headers: Mapping[str, str] | None = None
    ) -> AttemptFailed:
        """What an error answer stands for (see `classify`); status 200 for an error inside of a good one."""
        return classify(status, body, headers=headers, model_id=spec.id, secret=self._secret, now=time.time())
