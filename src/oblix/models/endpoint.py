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
from oblix.types.secret import Concealed, SecretStr
from oblix.types.spec import ModelSpec


class Endpoint:
    """What the protocols have in common: the connection, the headers, and what is no answer.

    Args:
        types: The content types of an answer.
        key: Sent with every request, and never told on. It may be set later.
        headers: Of every request, beside the key's.
    """

    def __init__(
        self,
        transport: Transport,
        types: tuple[str, ...],
        *,
        key: SecretStr | None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.key = key
        self._transport = transport
        self._types = types
        self._plain = dict(headers or {})

    def _headers(self) -> dict[str, str]:
        """Made for each request and kept nowhere, so that the key lies in one place only."""
        if self.key is None:
            return self._plain
        return self._plain | {"Authorization": Concealed(f"Bearer {self.key.reveal()}")}

    async def ask(self, url: str, body: dict[str, Any], *, permit: Permit, call: Call) -> Answer:
        """A good answer, whose body is still to come. Always `close()` it.

        Raises:
            AttemptFailed: Of the kind that fits, when there is none.
        """
        answer = await self._transport.post(
            url, body=encode(body), permit=permit, headers=self._headers(), connect_timeout=call.connect_timeout
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
        settings: dict[str, Any] = {"permit": permit, "headers": self._headers(), "connect_timeout": connect_timeout}
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
        return classify(status, body, headers=headers, model_id=spec.id, secret=self.key, now=time.time())


class Keyed:
    """A model behind an endpoint, seen by who looks after keys: its key may be found after it was hooked."""

    _endpoint: Endpoint

    @property
    def key(self) -> SecretStr | None:
        """The key that its requests carry."""
        return self._endpoint.key

    @key.setter
    def key(self, key: SecretStr | None) -> None:
        self._endpoint.key = key
