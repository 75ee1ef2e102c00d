"""Assembles what the mind may look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from oblix.decision import complexity
from oblix.decision.facts import Asked, Facts, Fit, ModelFacts, Turn
from oblix.decision.policy import Policy
from oblix.decision.tokens import estimate_request
from oblix.execution.hands import Hands
from oblix.models.base import Model
from oblix.models.catalog import PriceBook
from oblix.models.registry import catalogue_of
from oblix.types.money import OnLimit, Room
from oblix.types.privacy import Privacy
from oblix.types.report import AgentReport
from oblix.types.request import Request
from oblix.types.spec import Capability, ModelSpec

ANSWER = (
    300  # tokens that we expect of an answer whose length the caller left open; the mean of chat answers lies there
)

SPACELESS = "\u2e80"  # from here on Unicode has the scripts of East Asia


class Engines(Protocol):
    """What is known of the engines at home, without asking them: each answer is a look-up, and never waits."""

    def fit_of(self, spec: ModelSpec) -> Fit | None:
        """Whether the model has room in the memory that is free there; `None` when that is not known."""

    def queue_of(self, spec: ModelSpec) -> int:
        """How many requests of others wait at its engine, 0 when that is not known. Those that it computes side by side do not wait."""

    def loaded(self, spec: ModelSpec) -> bool | None:
        """Whether it is in memory, as the engine said a moment ago; `None` when that is not known."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What belongs to the request at this moment, beside the models.

    Attributes:
        now: Seconds since the epoch, for the record.
        clock: A steady clock, for what is remembered of failures.
        before: The turn before, where a conversation goes on.
        on_limit: What follows where a budget excludes a model.
        rooms: What the budgets leave for models that cost something: id → room.
        least_tokens: Of the prompt, when all of the conversation is cut that may be; `None` where nothing may.
    """

    now: float
    clock: float
    policy: Policy
    privacy: Privacy
    reports: Mapping[str, AgentReport]
    before: Turn | None = None
    least_tokens: int | None = None
    on_limit: OnLimit = "edge-only"
    rooms: Callable[[Iterable[str]], Mapping[str, Room | None]] = lambda model_ids: {}


def assemble(
    request: Request,
    models: Iterable[Model],
    hands: Hands,
    prices: PriceBook,
    moment: Moment,
    *,
    engines: Engines | None = None,
) -> Facts:
    """The picture at this moment."""
    fingerprint = hands.fingerprint(request, moment.clock)
    health, clock = hands.health, moment.clock
    known = []
    specs = [(model, known_spec(model, prices)) for model in models]
    paid = [spec.id for _, spec in specs if _may_cost(spec)]
    rooms = moment.rooms(paid) if paid else {}
    for model, now_known in specs:
        spec, (loaded, queue, fit) = model.spec, _at_its_engine(model, engines)
        known.append(
            ModelFacts(
                now_known,
                health.of(spec, clock, fingerprint),
                pace=health.pace(spec),
                loaded=loaded,
                busy=hands.busy.get(spec.id, 0),
                queue=queue,
                fit=fit,
                budget=rooms.get(spec.id),
            )
        )
    asked, reports = _asked(request, moment), moment.reports
    return Facts(request.id, moment.now, asked, tuple(known), reports, moment.before, moment.on_limit)


def _may_cost(spec: ModelSpec) -> bool:
    """Whether a model counts to budgets: what costs nothing does not, and what is at home costs nothing unless it has a price."""
    return not spec.is_edge if spec.price is None else not spec.price.is_free


def _asked(request: Request, moment: Moment) -> Asked:
    prompt, limit = request.prompt, request.max_tokens
    listened = moment.policy.words
    return Asked(
        estimate_request(request),
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
        least_tokens=moment.least_tokens,
    )


def _at_its_engine(model: Model, engines: Engines | None) -> tuple[bool | None, int, Fit | None]:
    """Whether a model is loaded, how many wait for it, and whether it fits; what we know ourselves of its load goes first."""
    spec = model.spec
    if not spec.is_edge:
        return None, 0, None
    loaded = model.state().loaded
    if engines is None:
        return loaded, 0, None
    if loaded is None:
        loaded = engines.loaded(spec)
    return loaded, engines.queue_of(spec), None if loaded else engines.fit_of(spec)


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
    if request.asks_about_images:
        needs.add("vision")
    if request.response_format is not None:
        needs.add("json")
    if request.logprobs:
        needs.add("logprobs")
    return frozenset(needs)
