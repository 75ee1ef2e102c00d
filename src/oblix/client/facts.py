"""Assembles what the mind may look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from oblix.decision import complexity
from oblix.decision.facts import Asked, Facts, ModelFacts, Turn
from oblix.decision.policy import Policy
from oblix.decision.tokens import estimate_messages
from oblix.execution.hands import Hands
from oblix.models.base import Model
from oblix.models.catalog import PriceBook
from oblix.models.registry import catalogue_of
from oblix.types.privacy import Privacy
from oblix.types.report import AgentReport
from oblix.types.request import Request
from oblix.types.spec import Capability, ModelSpec

ANSWER = (
    300  # tokens that we expect of an answer whose length the caller left open; the mean of chat answers lies there
)

SPACELESS = "\u2e80"  # from here on Unicode has the scripts of East Asia


@dataclass(frozen=True, slots=True)
class Moment:
    """What belongs to the request at this moment, beside the models.

    Attributes:
        now: Seconds since the epoch, for the record.
        clock: A steady clock, for what is remembered of failures.
        before: The turn before, where a conversation goes on.
    """

    now: float
    clock: float
    policy: Policy
    privacy: Privacy
    reports: Mapping[str, AgentReport]
    before: Turn | None = None


def assemble(request: Request, models: Iterable[Model], hands: Hands, prices: PriceBook, moment: Moment) -> Facts:
    """The picture at this moment."""
    fingerprint = hands.fingerprint(request, moment.clock)
    known = tuple(_of(model, hands, prices, moment.clock, fingerprint) for model in models)
    return Facts(request.id, moment.now, _asked(request, moment), known, moment.reports, moment.before)


def _asked(request: Request, moment: Moment) -> Asked:
    prompt, limit = request.prompt, request.max_tokens
    listened = moment.policy.words
    return Asked(
        estimate_messages(request.messages),
        ANSWER if limit is None else min(limit, ANSWER),
        complexity.score(prompt, turns=len(request.messages), tools=len(request.tools)),
        privacy=moment.privacy,
        answer_limit=limit,
        model_id=request.model_id,
        fallback=request.fallback,
        needs=_needs(request),
        max_cost_usd=request.max_cost_usd,
        tags=request.tags,
        said=_said(prompt, listened) if listened else (),
        listened=listened,
    )


def _of(model: Model, hands: Hands, prices: PriceBook, clock: float, fingerprint: bytes | None) -> ModelFacts:
    spec = model.spec
    return ModelFacts(
        known_spec(model, prices),
        hands.health.of(spec, clock, fingerprint),
        pace=hands.health.pace(spec),
        loaded=model.state().loaded if spec.is_edge else None,
        busy=hands.busy.get(spec.id, 0),
    )


def _said(prompt: str, phrases: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the phrases that occur in the prompt, as whole words, wherever its lines break."""
    text = " ".join(prompt.lower().split())
    return tuple(phrase for phrase in phrases if phrase in text and _stands_alone(phrase, text))


def _stands_alone(phrase: str, text: str) -> bool:
    at = text.find(phrase)
    while at >= 0:
        end = at + len(phrase)
        before = at == 0 or not _is_one_word(text[at - 1], phrase[0])
        if before and (end == len(text) or not _is_one_word(phrase[-1], text[end])):
            return True
        at = text.find(phrase, at + 1)
    return False


def _is_one_word(left: str, right: str) -> bool:
    """Whether two characters belong together; scripts that set no spaces say nothing of that."""
    return left.isalnum() and right.isalnum() and max(left, right) < SPACELESS


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
