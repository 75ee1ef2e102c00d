"""History decided again: the same facts under another policy, and what that would have changed. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from oblix.decision.decide import decide
from oblix.decision.facts import Facts, ModelFacts
from oblix.decision.matching import meets
from oblix.decision.policy import Policy
from oblix.decision.prediction import cost, seconds
from oblix.decision.record import answered_by
from oblix.types.decision import Decision, Reason

TOLD = 8  # transitions that are told


class Case(NamedTuple):
    """A decision of the past, and the policy under which it is taken again.

    Attributes:
        record: In today's shape.
        outcome: What became of it, `None` where that is not known.
    """

    facts: Facts
    policy: Policy
    record: Mapping[str, Any]
    outcome: Mapping[str, Any] | None = None


class Skipped(NamedTuple):
    """A decision of the past that cannot be taken again, and why."""

    why: str


class Transition(NamedTuple):
    """Requests that would go elsewhere, for one reason.

    Attributes:
        reason: Why the old choice is not the choice any more; its text is that of the example.
        example: The id of the first.
    """

    before: str | None
    after: str | None
    reason: Reason
    requests: int
    example: str


@dataclass(slots=True)
class Sides:
    """The sum of something, as it was and as it would be; only of requests where both are known."""

    old: float = 0.0
    new: float = 0.0
    count: int = 0

    def add(self, old: float | None, new: float | None) -> None:
        """One more request."""
        if old is not None and new is not None:
            self.old += old
            self.new += new
            self.count += 1

    @property
    def mean_old(self) -> float:
        """For one request."""
        return self.old / max(1, self.count)

    @property
    def mean_new(self) -> float:
        """For one request."""
        return self.new / max(1, self.count)

    def to_dict(self) -> dict[str, float | int]:
        """A plain dict, ready for JSON."""
        return {"old": self.old, "new": self.new, "requests": self.count}


@dataclass(slots=True)
class Report:
    """What deciding again showed.

    Attributes:
        same, changed: Whether the first choice is the same; for a check, whether the whole decision is.
        skipped: Why → how many could not be decided again.
        edge: Requests whose first choice is at home, of those that have one on both sides.
        cost: USD. Where the first choice is the same it is what was paid; else the price of the new one for the tokens that were used. The
            answer of another model may be longer or shorter; nobody knows.
        seconds: Predicted for both sides from what was known then, so that they can be compared.
        refused: Requests that no model may answer.
        crossings: Private requests with a cloud model in their plan. There must be none.
        released: Requests that the old policy called private, and this one does not.
    """

    decisions: int = 0
    same: int = 0
    changed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    edge: Sides = field(default_factory=Sides)
    cost: Sides = field(default_factory=Sides)
    seconds: Sides = field(default_factory=Sides)
    refused: Sides = field(default_factory=Sides)
    crossings: int = 0
    released: int = 0
    _transitions: dict[tuple[str | None, str | None, str], Transition] = field(default_factory=dict)

    def transitions(self) -> list[Transition]:
        """The most frequent first."""
        return sorted(self._transitions.values(), key=lambda each: (-each.requests, each.example))

    def differs(self, case: Case, now: Decision) -> None:
        """Note a decision that changed."""
        self.changed += 1
        before, reason = case.record["chosen"], _why_not(case.record["chosen"], now)
        key = (before, now.chosen, reason.code)
        known = self._transitions.get(key) or Transition(before, now.chosen, reason, 0, now.id)
        self._transitions[key] = known._replace(requests=known.requests + 1)

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, ready for JSON."""
        return {
            "decisions": self.decisions,
            "same": self.same,
            "changed": self.changed,
            "skipped": dict(self.skipped),
            "edge": self.edge.to_dict(),
            "cost_usd": self.cost.to_dict(),
            "predicted_seconds": self.seconds.to_dict(),
            "refused": self.refused.to_dict(),
            "privacy_crossings": self.crossings,
            "released": self.released,
            "transitions": [{**each._asdict(), "reason": each.reason.to_dict()} for each in self.transitions()],
        }


def replay(history: Iterable[Case | Skipped]) -> Report:
    """Decide history again, and compare the first choices."""
    report = Report()
    for case, now in _again(history, report):
        if now.chosen == case.record["chosen"]:
            report.same += 1
        else:
            report.differs(case, now)
        _compare(report, case, now)
    return report


def check(history: Iterable[Case | Skipped]) -> Report:
    """Decide history again under its own policies: each decision must come out the same, in all of its verdicts."""
    report = Report()
    for case, now in _again(history, report):
        if essence(case.record) == essence(now.verdicts()):
            report.same += 1
        else:
            report.differs(case, now)
        report.crossings += _crosses(case, now)
    return report


def _again(history: Iterable[Case | Skipped], report: Report) -> Iterator[tuple[Case, Decision]]:
    for case in history:
        report.decisions += 1
        if isinstance(case, Skipped):
            report.skipped[case.why] += 1
        elif (rule := unheard(case.facts, case.policy)) is not None:
            report.skipped[f"rule {rule!r} listens for words that were not listened for then"] += 1
        else:
            yield case, decide(case.facts, case.policy)


def essence(record: Mapping[str, Any]) -> tuple[object, ...]:
    """What a decision comes down to, without its words, which may be written better one day."""
    verdicts = tuple((each["model"], each["verdict"], each["by"], each["score"]) for each in record["candidates"])
    codes = tuple(reason["code"] for reason in record["reasons"])
    return tuple(record["plan"]), verdicts, codes, record["rule"], record["privacy"]["class"], record["policy_digest"]


def unheard(facts: Facts, policy: Policy) -> str | None:
    """The rule that cannot be judged: all but its words holds, and nobody listened for those when the facts were written."""
    for rule in policy.rules:
        when = rule.when
        was_said = any(word in facts.asked.said for word in when.words)
        if not was_said and any(word not in facts.asked.listened for word in when.words):
            if meets(facts, replace(when, words=())):
                return rule.name
        elif meets(facts, when):
            return None
    return None


def _compare(report: Report, case: Case, now: Decision) -> None:
    models = {model.spec.id: model for model in case.facts.models}
    old, new = models.get(case.record["chosen"] or ""), models.get(now.chosen or "")
    report.refused.add(old is None, new is None)
    report.crossings += _crosses(case, now)
    report.released += case.record["privacy"]["class"] == "private" and now.privacy.label != "private"
    if old is not None and new is not None:
        report.edge.add(old.spec.is_edge, new.spec.is_edge)
        report.seconds.add(seconds(case.facts, old), seconds(case.facts, new))
        report.cost.add(*_costs(case, old, new))


def _crosses(case: Case, now: Decision) -> bool:
    """Whether a request that must stay at home has a cloud model in its plan."""
    at_home = {model.spec.id for model in case.facts.models if model.spec.is_edge}
    is_private = case.facts.asked.privacy.stays_home or now.privacy.stays_home
    return is_private and any(model_id not in at_home for model_id in now.plan)


def _costs(case: Case, old: ModelFacts, new: ModelFacts) -> tuple[float | None, float | None]:
    """USD of both sides."""
    figures = case.outcome.get("metrics") if case.outcome else None
    if not figures:  # it was not answered: what was expected then
        return cost(case.facts, old), cost(case.facts, new)
    paid: float | None = figures["cost_usd"]
    if new is old or new.spec.id == answered_by(case.outcome):
        return paid, paid
    price = new.spec.price
    return paid, None if price is None else price.cost(figures["input_tokens"], figures["output_tokens"])


def _why_not(before: str | None, now: Decision) -> Reason:
    """Why the old choice is not the choice any more; where there was none, why there is one now."""
    found = next((each.reason for each in now.candidates if each.model_id == before and each.verdict != "chosen"), None)
    return found or now.reasons[0]
