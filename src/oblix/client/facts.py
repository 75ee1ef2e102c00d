"""Assembles what the mind may look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from oblix.decision import complexity
from oblix.decision.facts import Asked, Facts, ModelFacts
from oblix.decision.tokens import estimate_messages
from oblix.execution.hands import Hands
from oblix.models.base import Model
from oblix.models.catalog import PriceBook
from oblix.models.registry import catalogue_of
from oblix.types.report import AgentReport
from oblix.types.request import Request
from oblix.types.spec import Capability, ModelSpec

ANSWER = (
    300  # tokens that we expect of an answer whose length the caller left open; the mean of chat answers lies there
)


def assemble(
    request: Request,
    models: Iterable[Model],
    reports: Mapping[str, AgentReport],
    hands: Hands,
    prices: PriceBook,
    *,
    now: float,
    clock: float,
) -> Facts:
    """The picture at this moment.

    Args:
        now: Seconds since the epoch, for the record.
        clock: A steady clock, for what is remembered of failures.
    """
    prompt = request.prompt
    asked = Asked(
        estimate_messages(request.messages),
        request.max_tokens or ANSWER,
        complexity.score(prompt, turns=len(request.messages), tools=len(request.tools)),
        private=request.private,
        model_id=request.model_id,
        fallback=request.fallback,
        needs=_needs(request),
        max_cost_usd=request.max_cost_usd,
    )
    health, fingerprint = hands.health, hands.fingerprint(request, clock)
    known = tuple(ModelFacts(known_spec(model, prices), health.of(model.spec, clock, fingerprint)) for model in models)
    return Facts(request.id, now, asked, known, reports)


def known_spec(model: Model, prices: PriceBook) -> ModelSpec:
    """The spec with what has been learned since: the catalogue's price and window, the window that is loaded."""
    spec = model.spec
    catalogue = catalogue_of(spec.provider)
    if catalogue is not None and spec.price is None:
        entry = prices.entry(catalogue, spec.name)
        if entry.price is not None or entry.window is not None:
            return replace(spec, price=entry.price, window=spec.window or entry.window)
    if spec.window is None and spec.provider == "embedded" and (window := model.state().window):
        return replace(spec, window=window)
    return spec


def _needs(request: Request) -> frozenset[Capability]:
    needs: set[Capability] = set()
    if request.tools:
        needs.add("tools")
    if request.has_images:
        needs.add("vision")
    if request.response_format is not None:
        needs.add("json")
    if request.logprobs:
        needs.add("logprobs")
    return frozenset(needs)
