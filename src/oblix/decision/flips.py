"""What would have changed a decision: the nearest single changes of its facts that lead to another model, found by deciding again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import log
from typing import Any, NamedTuple

from oblix.decision import changes
from oblix.decision.changes import Change
from oblix.decision.decide import decide
from oblix.decision.facts import Facts
from oblix.decision.money import usd
from oblix.decision.policy import Policy
from oblix.decision.prediction import highest_cost
from oblix.types.decision import Decision

MOST = 5  # that are told: who reads ten conditions reads none
DECISIONS = 60  # at most; some 30 µs each, and every command that asks for flips pays for them
PROBES = 4  # thresholds of the facts that are looked at in one direction before the far end
# Added to the distance of a change after which nobody could answer: true, but the last thing that one wants to know.
_NOBODY = 2.0


@dataclass(frozen=True, slots=True)
class Flip:
    """A change, and where the request would have gone then: `decide(flip.facts, flip.policy).chosen` is `model_id`.

    Attributes:
        code: What kind of change it is, for programs.
        text: The whole sentence.
        model_id: `None` where nobody could have answered.
        distance: How near it is, in one scale for all: of a figure the logarithm of the factor by which it changes (0.1 is a tenth), of the
            complexity score the difference, and for what is no figure a fixed place: `changes.PASSES`, `CALLS`, `TAKES_SETTING_UP`.
    """

    code: str
    text: str
    model_id: str | None
    distance: float
    facts: Facts
    policy: Policy

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, ready for JSON; without the facts."""
        return {"code": self.code, "text": self.text, "model": self.model_id, "distance": round(self.distance, 4)}


def flips(facts: Facts, policy: Policy) -> tuple[Flip, ...]:
    """The nearest changes that would have led to another model, the nearest first; at most `MOST`, by at most `DECISIONS` decisions."""
    search = _Search(facts, policy)
    found = [
        *search.all_of(changes.passing(facts)),
        *search.all_of(changes.of_the_call(facts, policy)),
        *_complexity(search),
        *_limits(search),
        *search.all_of(changes.settings(facts)),
        *_presets(search),
        *_tokens(search, fewer=True),
        *_tokens(search, fewer=False),
    ]
    # A poor network and none at all lead to the same model: one of them is told. And one way to a dead end is enough.
    nearest: dict[tuple[str | None, str | None], Flip] = {}
    for flip in sorted(found, key=lambda flip: (flip.distance, flip.code)):
        nearest.setdefault((flip.code if flip.model_id else None, flip.model_id), flip)
    return tuple(nearest.values())[:MOST]


class _Search:
    """Decides again, for as long as there are decisions left."""

    def __init__(self, facts: Facts, policy: Policy) -> None:
        self.facts = facts
        self.policy = policy
        self.left = DECISIONS
        self.decision = self._decide(facts, policy)

    def _decide(self, facts: Facts, policy: Policy) -> Decision:
        self.left -= 1
        return decide(facts, policy)

    def flip(self, change: Change) -> Flip | None:
        """What becomes of a change; `None` when it changes nothing, or no decision is left."""
        if not self.left:
            return None
        now = self._decide(change.facts, change.policy or self.policy)
        if now.chosen == self.decision.chosen:
            return None
        distance = change.distance if now.chosen is not None else change.distance + _NOBODY
        text = f"{change.words[0].upper()}{change.words[1:]}, {self._would(now)}."
        return Flip(change.code, text, now.chosen, distance, change.facts, change.policy or self.policy)

    def all_of(self, tried: Iterable[Change]) -> Iterator[Flip]:
        """Those of the changes that lead elsewhere."""
        for change in tried:
            if (flip := self.flip(change)) is not None:
                yield flip

    def first_of(self, tried: Iterable[Change]) -> Iterator[Flip]:
        """The first of the changes that leads elsewhere, if any does."""
        for flip in self.all_of(tried):
            yield flip
            return

    def _would(self, now: Decision) -> str:
        if now.chosen is None:
            return "no model could have answered"
        came_home = self.decision.place == "cloud" and now.place == "edge"
        before = self.facts.before
        stays = came_home or (before is not None and before.model_id == now.chosen)
        return f"it would have {'stayed on' if stays else 'gone to'} {now.chosen}"


def _complexity(search: _Search) -> Iterator[Flip]:
    """A simpler and a harder prompt: the nearest score each that leads elsewhere."""
    # The highest tier may be that of a model which may not answer, and then no candidate tells it.
    told = max((each.tier for each in search.decision.candidates), default=1)
    easier, harder = changes.scores(search.facts, search.policy, {told, len(search.facts.models)})
    yield from search.first_of(easier[:PROBES])
    yield from search.first_of(harder[:PROBES])


def _limits(search: _Search) -> Iterator[Flip]:
    """A cost limit, a higher one, a lower one, or none: at the very amounts at which a model comes in or falls out."""
    facts, limit = search.facts, search.facts.asked.max_cost_usd
    costs = {model.spec.id: highest_cost(facts, model) for model in facts.models}
    if limit is not None:
        above = sorted({changes.rounded_up(cost) for cost in costs.values() if cost is not None and cost > limit})
        yield from search.first_of(
            changes.limit(facts, amount, f"with a cost limit of {usd(amount)}") for amount in above[:3]
        )
        if any(cost is None for cost in costs.values()):
            yield from search.all_of([changes.limit(facts, None, "without a cost limit")])
    own = costs.get(search.decision.chosen or "")
    yield from search.first_of(changes.more_room(facts))
    if own and (amount := changes.rounded_down(own)) is not None:
        lower = search.all_of([changes.limit(facts, amount, f"with a cost limit of {usd(amount)}")])
        yield from (flip for flip in lower if flip.model_id is not None)  # that nobody answers for less, nobody wonders


def _presets(search: _Search) -> Iterator[Flip]:
    """The presets that choose otherwise, told together where they choose the same model."""
    found: dict[str | None, list[Flip]] = {}
    for flip in search.all_of(changes.presets(search.facts, search.policy)):
        found.setdefault(flip.model_id, []).append(flip)
    for same in found.values():
        names = [flip.policy.name for flip in same]
        told = f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
        yield replace(same[0], text=same[0].text.replace(f"policy {names[0]}", f"policy {told}", 1))


class _Step(NamedTuple):
    """A number of tokens with two significant digits: the amounts that are told, so that what is told is what was tried."""

    position: int

    @property
    def tokens(self) -> int:
        """What stands at the position: 1, 2, … 99, 100, 110, … 990, 1,000, 1,100, and so on."""
        if self.position < 10:
            return self.position
        decade, digits = divmod(self.position - 10, 90)
        return int((digits + 10) * 10**decade)

    @classmethod
    def reaching(cls, tokens: int) -> _Step:
        """The smallest step of at least so many tokens."""
        if tokens < 10:
            return cls(max(tokens, 0))
        decade = len(str(tokens)) - 2
        return cls(-(-tokens // 10**decade) + 90 * decade)


def _tokens(search: _Search, *, fewer: bool) -> Iterator[Flip]:
    """The smallest number of tokens fewer (or more) that leads elsewhere, to two digits.

    Between the thresholds of the facts (windows, price tiers, rules) every term moves in one direction, so that halving finds the place.
    """
    has = search.facts.asked.prompt_tokens
    end = _Step.reaching(has) if fewer else _Step.reaching(9 * has)
    while fewer and end.tokens >= has:
        end = _Step(end.position - 1)
    below, above = changes.token_thresholds(search.facts, search.policy)
    reached = (
        [has - total for total in below if total < has] if fewer else [total - has for total in above if total > has]
    )
    stops = sorted({_Step.reaching(tokens) for tokens in reached} - {_Step(0)})[:PROBES]
    tried = [step for step in stops if step < end] + [end]
    same = _Step(0)
    for step in tried:
        if step.position > 0 and (flip := search.flip(_so_many(search, step, fewer))) is not None:
            yield _halved(search, same, step, flip, fewer)
            return
        same = step


def _halved(search: _Search, same: _Step, other: _Step, flip: Flip, fewer: bool) -> Flip:
    """The flip between a step that changes nothing and one that does, brought as near as it goes."""
    while other.position - same.position > 1:
        middle = _Step((same.position + other.position) // 2)
        nearer = search.flip(_so_many(search, middle, fewer))
        if nearer is None and not search.left:
            return flip
        if nearer is None:
            same = middle
        else:
            other, flip = middle, nearer
    return flip


def _so_many(search: _Search, step: _Step, fewer: bool) -> Change:
    facts, tokens = search.facts, step.tokens
    has = facts.asked.prompt_tokens
    total = has - tokens if fewer else has + tokens
    words = f"with {tokens:,} token{'s' if tokens > 1 else ''} {'fewer' if fewer else 'more'}"
    return Change(
        "tokens", words, abs(log(total / max(has, 1))), replace(facts, asked=replace(facts.asked, prompt_tokens=total))
    )
