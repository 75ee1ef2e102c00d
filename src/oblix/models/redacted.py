"""A cloud model that gets one request with placeholders in place of what is private, and whose answer gets the originals back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from functools import cache, partial
from typing import cast

from oblix.decision.privacy.redact import Scan, can_redact, objection, redacted, redacted_text
from oblix.decision.privacy.restore import Restorer, restored_json
from oblix.decision.privacy.texts import is_long
from oblix.decision.privacy.vault import Vault
from oblix.errors import AttemptFailed, FailureKind
from oblix.models.base import Call, Loadable, Model, ModelState, bound_of, hides_tokens
from oblix.types.chunk import Chunk, Delta, End, Progress
from oblix.types.messages import Message
from oblix.types.request import Request
from oblix.types.secret import SecretStr
from oblix.types.spec import ModelSpec


class Redaction:
    """What is taken out of one request, found once for all models that may get it.

    Args:
        scan: Finds what has to be taken out.
    """

    def __init__(self, scan: Scan) -> None:
        self.scan = cache(scan)
        self._done: tuple[Request, Request, Vault, str | None] | None = None

    async def of(self, request: Request) -> tuple[Request, Vault, str | None]:
        """The request with placeholders, what they stand for, and why it may not be sent after all (`None` when it may)."""
        if self._done is None or self._done[0] is not request:
            work = partial(self._take_out, request)
            self._done = (request, *(await asyncio.to_thread(work) if is_long(request) else work()))
        return self._done[1:]

    def _take_out(self, request: Request) -> tuple[Request, Vault, str | None]:
        # Redaction is done here; a label of any other kind stays, and is refused. Thoughts are signed, and cannot be changed.
        bare = tuple(replace(m, thoughts=()) if m.thoughts else m for m in request.messages)
        unsealed = replace(request, redact=False, messages=bare)
        why = can_redact(unsealed, self.scan)
        if why is not None:
            return unsealed, Vault(), why
        clean, vault = redacted(unsealed, self.scan)
        return clean, vault, objection(clean, vault, self.scan)


def redacting(model: Model, redaction: Redaction) -> Redacted:
    """The model, wrapped for one request; it can be loaded if the model can."""
    return RedactedLoadable(model, redaction) if hasattr(model, "load") else Redacted(model, redaction)


class Redacted:
    """Keeps `models.base.Model` for one request, on as many attempts as it takes.

    Fails closed: what cannot be redacted, or holds something private after it was, is not sent.
    """

    def __init__(self, model: Model, redaction: Redaction) -> None:
        self.spec: ModelSpec = model.spec
        self._model = model
        self._redaction = redaction

    async def stream(self, request: Request, call: Call) -> AsyncIterator[Chunk]:
        """Answer piece by piece; see `models.base.Model`.

        Raises:
            AttemptFailed: As the model's own, with placeholders in its message; `policy` when the request may not be sent.
        """
        clean, vault = await self._redacted(request)
        said = self._said(call.said, clean, vault)
        restorer = Restorer(vault, in_json=request.response_format is not None)
        async with aclosing(
            cast("AsyncGenerator[Chunk]", self._model.stream(clean, replace(call, said=said)))
        ) as chunks:
            async for chunk in chunks:
                if type(chunk) is Delta:
                    text = restorer.feed(chunk.text)
                    yield Delta(text) if text else Progress("redaction", 0.0)
                elif type(chunk) is End:
                    if text := restorer.end():
                        yield Delta(text)
                    calls = [replace(each, arguments=restored_json(each.arguments, vault)) for each in chunk.tool_calls]
                    # Its thoughts are on what it was shown, and signed for that: what the caller keeps holds the originals.
                    yield replace(chunk, tool_calls=tuple(calls), thoughts=())
                else:
                    yield chunk

    @property
    def key(self) -> SecretStr | None:
        """The model's, for budgets by key; `None` where it has none."""
        return getattr(self._model, "key", None)

    def bound(self, request: Request) -> int | None:
        """As the model knows it; see `models.base.bound_of`."""
        return bound_of(self._model, request)

    def hides_tokens(self, request: Request) -> bool:
        """As the model knows it; see `models.base.Hiding`."""
        return hides_tokens(self._model, request)

    def state(self) -> ModelState:
        """As the model knows it."""
        return self._model.state()

    async def close(self) -> None:
        """The model is shared with other requests, and is closed by who hooked it."""

    async def _redacted(self, request: Request) -> tuple[Request, Vault]:
        clean, vault, why = await self._redaction.of(request)
        self._guard(why)
        return clean, vault

    def _said(self, said: str, clean: Request, vault: Vault) -> str:
        """The beginning of the answer, redacted as well: an edge model may have written it, with the originals."""
        if not said:
            return said
        text = redacted_text(said, vault, self._redaction.scan)
        if vault.ends_within(text):
            self._guard("its answer broke off in the middle of a private value")
        begun = clean.messages[-1].text if clean.messages[-1].role == "assistant" else ""
        going_on = replace(clean, messages=(Message("assistant", begun + text),))
        self._guard(objection(going_on, vault, self._redaction.scan))
        return text

    def _guard(self, why: str | None) -> None:
        if why is not None:
            raise AttemptFailed(
                FailureKind.POLICY,
                f"{self.spec.id} may not have this prompt, not even redacted: {why}",
                hint="Hook an edge model, which gets it as it is.",
            )


class RedactedLoadable(Redacted):
    """The same for a model that has to be brought into memory, such as one that an Ollama server runs in its cloud."""

    async def load(self, request: Request) -> None:
        """Bring it into memory; see `models.base.Loadable`. It is given the redacted request as well."""
        clean, _ = await self._redacted(request)
        await cast("Loadable", self._model).load(clean)
