"""Single changes of a picture that one may ask about: what if the network were back, the prompt private, the key there?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import ceil, floor, log, log10

from oblix.decision.facts import Facts, ModelFacts
from oblix.decision.matching import first_match
from oblix.decision.money import usd
from oblix.decision.policy import PRESETS, Policy
from oblix.decision.prediction import least_cost
from oblix.decision.rules import SURELY
from oblix.decision.scoring import room
from oblix.types.money import Room
from oblix.types.privacy import Privacy
from oblix.types.report import AgentReport

# How far away a change is that is no figure, on the scale of those that are: what passes by itself is nearer than what the caller wished,
# and that is nearer than what somebody has to set up.
PASSES = 0.5
CALLS = 0.7
TAKES_SETTING_UP = 1.0


@dataclass(frozen=True, slots=True)
class Change:
    """A picture that differs in one thing.

    Attributes:
        words: The condition, as a sentence begins: `with 3,100 tokens fewer`.
        distance: See `Flip.distance`.
        policy: Another policy, where that is what changes.
    """

    code: str
    words: str
    distance: float
    facts: Facts
    policy: Policy | None = None


def passing(facts: Facts) -> Iterator[Change]:
    """What passes by itself: the state of machine and network, an agent's opinion, a failure, a rest, a cold start, a full memory."""
    for name, report in facts.reports.items():
        for code, words, now in _otherwise(facts, name, report):
            yield Change(code, words, PASSES, replace(facts, reports={**facts.reports, name: now}))
    for model in facts.models:
        for words, health in _recovered(model):
            changed = replace(model, health=replace(model.health, **{health: None}))
            yield Change(health, words, PASSES, _with(facts, changed))
        if model.loaded is False:
            yield Change("loaded", f"with {model.spec.id} in memory", PASSES, _with(facts, replace(model, loaded=True)))
        if room(model) in ("tight", "no"):
            yield Change(
                "fit", f"with room for {model.spec.id} in memory", PASSES, _with(facts, replace(model, fit="fits"))
            )


_FREE = ("machine", "with a free machine", AgentReport(state="available"))
_CRITICAL = ("machine", "with a critical machine", AgentReport(state="critical", target="cloud"))
_GOOD = ("network", "with a good network", AgentReport(state="optimal"))
_BACK = ("network", "with the network back", AgentReport(state="optimal"))
_POOR = ("network", "with a poor network", AgentReport(state="degraded", lean="edge"))
_AWAY = ("network", "without a network", AgentReport(state="disconnected", target="local"))
# State of an agent that asks to spare energy → what would have to be otherwise.
_SPARED = {"low": "with the battery charged", "hot": "with a cooler machine"}
# State that an agent reports → what else it might report.
_OTHER_STATES = {
    "available": (_CRITICAL,),
    "constrained": (_FREE, _CRITICAL),
    "critical": (_FREE,),
    "optimal": (_POOR, _AWAY),
    "degraded": (_GOOD, _AWAY),
    "disconnected": (_BACK,),
}


def _otherwise(facts: Facts, name: str, report: AgentReport) -> Iterator[tuple[str, str, AgentReport]]:
    """What else an agent might have said."""
    if not report.proceed:
        yield "veto", f"had {name} not refused", replace(report, proceed=True)
    elif report.sparing:
        yield (
            "power",
            _SPARED.get(report.state, f"had {name} not asked to spare energy"),
            replace(report, sparing=False),
        )
    elif report.state == "sufficient" and report.metrics.get("battery_percent") is not None:
        yield "power", "with a low battery", replace(report, state="low", sparing=True)
    elif report.state in _OTHER_STATES:
        for code, words, other in _OTHER_STATES[report.state]:
            yield code, words + _whose(facts, name, code), other
    elif report.vote is not None or report.lean is not None:
        yield "vote", f"had {name} abstained", replace(report, target="hybrid", lean=None)


def _whose(facts: Facts, name: str, code: str) -> str:
    """The agent's name, where more than one speaks of the same."""
    others = (_OTHER_STATES.get(report.state) for report in facts.reports.values())
    alike = sum(other is not None and other[0][0] == code for other in others)
    return f" ({name})" if alike > 1 else ""


def _recovered(model: ModelFacts) -> Iterator[tuple[str, str]]:
    name, health = model.spec.id, model.health
    if health.failing:
        yield f"had {name} not failed a moment ago", "failing"
    if health.resting:
        yield f"were {name} not resting", "resting"
    if health.quarantined:
        yield f"had this request not crashed {name} before", "quarantined"


def of_the_call(facts: Facts, policy: Policy) -> Iterator[Change]:
    """What the caller said: a model by name, private or not, in this conversation; and the rule that matched it."""
    asked = facts.asked
    if asked.model_id is not None:
        words = "had no model been asked for by name"
        yield Change("model_id", words, CALLS, replace(facts, asked=replace(asked, model_id=None)))
    if asked.privacy.stays_home:
        public = replace(asked, privacy=Privacy("public", by="caller"))
        yield Change("not_private", "had it not been private", CALLS, replace(facts, asked=public))
    else:
        private = replace(asked, privacy=Privacy("private", by="caller", why="private=True"))
        yield Change("private", "had it been marked private", CALLS, replace(facts, asked=private))
    if facts.before is not None:
        yield Change("conversation", "in a new conversation", CALLS, replace(facts, before=None))
    if (rule := first_match(facts, policy)) is not None:
        others = tuple(each for each in policy.rules if each is not rule)
        yield Change("rule", f"without the rule {rule.name!r}", TAKES_SETTING_UP, facts, replace(policy, rules=others))


def settings(facts: Facts) -> Iterator[Change]:
    """What has to be set up: a key, a model on its server."""
    for model in facts.models:
        name, spec = model.spec.id, model.spec
        if spec.key == "missing":
            given = replace(model, spec=replace(spec, key="given"))
            yield Change("key_missing", f"with an API key for {name}", TAKES_SETTING_UP, _with(facts, given))
        if model.health.key_refused:
            accepted = replace(model, health=replace(model.health, key_refused=None))
            yield Change("key_refused", f"with a valid API key for {name}", TAKES_SETTING_UP, _with(facts, accepted))
        if model.health.missing:
            there = replace(model, health=replace(model.health, missing=None))
            yield Change("model_missing", f"with {name} on its server", TAKES_SETTING_UP, _with(facts, there))


def presets(facts: Facts, policy: Policy) -> Iterator[Change]:
    """The presets that are not in use; as where a request names one, the rules of one's own stay."""
    for preset in PRESETS.values():
        other = replace(preset, rules=policy.rules)
        if other != policy:
            yield Change("policy", f"under the policy {preset.name}", TAKES_SETTING_UP, facts, other)


def limit(facts: Facts, amount: float | None, words: str) -> Change:
    """Another cost limit in USD, or none."""
    asked = facts.asked
    told = asked.max_cost_usd
    distance = CALLS if not amount or not told else abs(log(amount / told))
    return Change("limit", words, distance, replace(facts, asked=replace(asked, max_cost_usd=amount)))


def more_room(facts: Facts) -> Iterator[Change]:
    """Budgets with so much more that a model gets in which they exclude, the least first."""
    short: dict[str, tuple[float, Room]] = {}
    for model in facts.models:
        room, least = model.budget, least_cost(facts, model)
        if room is None or least is None:
            continue
        if (lack := least - room.left_usd - room.held_usd + _overdrawn(room)) > 0:
            short.setdefault(room.name, (lack, room))
            short[room.name] = min(short[room.name], (lack, room), key=lambda each: each[0])
    for name, (lack, room) in sorted(short.items(), key=lambda row: row[1][0]):
        more = rounded_up(lack)
        left = room.left_usd + more - _overdrawn(room)
        raised = replace(room, limit_usd=room.limit_usd + more, left_usd=max(0.0, left))
        models = tuple(
            replace(model, budget=raised) if model.budget is not None and model.budget.name == name else model
            for model in facts.models
        )
        distance = abs(log(raised.limit_usd / room.limit_usd)) if room.limit_usd else TAKES_SETTING_UP
        words = f"with {usd(more)} more in the budget {name!r}"
        yield Change("room", words, distance, replace(facts, models=models))


def _overdrawn(room: Room) -> float:
    """USD by which more was charged than a budget had: what is left is told as nothing then."""
    return max(0.0, room.spent_usd + room.held_usd - room.limit_usd) if not room.left_usd else 0.0


def rounded_up(amount: float) -> float:
    """The next amount that `usd` writes exactly."""
    scale = _scale(amount)
    return ceil(amount * scale) / scale


def rounded_down(amount: float) -> float | None:
    """The next lower amount that `usd` writes exactly, `None` where that would be nothing."""
    scale = _scale(amount)
    return (ceil(amount * scale) - 1) / scale or None


def _scale(amount: float) -> float:
    """One over the unit of the last digit that is told: cents, or two significant digits below one."""
    return 100.0 if amount >= 0.01 else float(10 ** min(300, 1 - floor(log10(amount))))


def scores(facts: Facts, policy: Policy, tiers: Iterable[int]) -> tuple[list[Change], list[Change]]:
    """Simpler and harder prompts, at the thresholds of rules and of so many tiers, the nearest first.

    Scores are told with two digits, and rounded so that what is told is what is tried.
    """
    has = facts.asked.complexity.score
    bounds = {step / highest for highest in tiers for step in range(1, highest)}
    bounds |= _bounds(policy, ("complexity_above", "complexity_below"))
    easier = sorted({_down(bound) for bound in bounds if 0.0 < _down(bound) <= has}, reverse=True)
    harder = sorted({score for bound in bounds for score in (_up(bound), _down(bound) + 0.01) if has < score <= 1.0})
    return (
        [_score(facts, below - _BELOW, f"with a simpler prompt (below {below:.2f})") for below in easier],
        [_score(facts, score, f"with a harder prompt ({score:.2f} or above)") for score in harder],
    )


_BELOW = 1e-9  # what "below" a threshold is, for trying


def _score(facts: Facts, score: float, words: str) -> Change:
    asked = facts.asked
    changed = replace(asked, complexity=replace(asked.complexity, score=score))
    return Change("complexity", words, abs(score - asked.complexity.score), replace(facts, asked=changed))


def _down(score: float) -> float:
    return floor(100 * score + 1e-9) / 100


def _up(score: float) -> float:
    return ceil(100 * score - 1e-9) / 100


def token_thresholds(facts: Facts, policy: Policy) -> tuple[set[int], set[int]]:
    """Sizes of a prompt at which something may change: those that must not be passed, and those that must be reached."""
    most = {floor(SURELY * model.spec.window) for model in facts.models if model.spec.window is not None}
    most |= {tier.above for model in facts.models if model.spec.price is not None for tier in model.spec.price.tiers}
    most |= {int(bound) for bound in _bounds(policy, ("tokens_above",))}
    most |= {int(bound) - 1 for bound in _bounds(policy, ("tokens_below",))}
    if facts.before is not None:
        most.add(facts.before.tokens)
    return {total for total in most if total > 0}, {total + 1 for total in most}


def _bounds(policy: Policy, names: Iterable[str]) -> set[float]:
    """The limits that the rules of a policy set."""
    wanted = tuple(names)
    found = (getattr(rule.when, name) for rule in policy.rules for name in wanted)
    return {bound for bound in found if bound is not None}


def _with(facts: Facts, changed: ModelFacts) -> Facts:
    models = tuple(changed if model.spec.id == changed.spec.id else model for model in facts.models)
    return replace(facts, models=models)
