"""From scores to words: why the first of the plan is the first, and why each other one is behind it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from oblix.decision import complexity
from oblix.decision.facts import ModelFacts
from oblix.decision.matching import is_meant
from oblix.decision.money import usd
from oblix.decision.scoring import Field, room, spoken_for
from oblix.decision.world import World
from oblix.types.decision import Candidate, Reason
from oblix.types.spec import Place

TOLD = 2  # rejected models that a one-line reason names


class Scored(Struct, frozen=True, gc=False):
    """A candidate that the hard rules left, with the sum of its soft terms."""

    score: float
    terms: dict[str, float]
    model: ModelFacts


def main_reasons(
    world: World, field: Field, scored: Sequence[Scored], rejected: Sequence[Candidate]
) -> tuple[Reason, ...]:
    """Why the first of the plan is the first: what decided, the strongest first."""
    if not scored:
        return _dead_end(rejected)
    chosen = scored[0].model.spec
    found = (
        _explicit(world, chosen.id, rejected),
        _ruled(world, scored[0].model),
        _private(world, chosen.place),
        _budget(rejected) if world.is_budgeted else None,
        _network(world, field, scored) if field.network_is_down else None,
        _fit(scored) if field.is_crowded else None,
        _health(scored) if field.is_ill else None,
    )
    said = [reason for reason in found if reason is not None]
    if len(scored) == 1 and not said:
        said.append(_only(rejected))
    if any([each.model.spec.place != chosen.place for each in scored]):
        said += _votes(world, field, chosen.place)
    if field.is_sparing:
        said += _power(world, scored)
    if len(scored) > 1:
        said += _choice(world, field, scored) or ([] if said else [_complexity(world, field, scored[0])])
    if field.is_crowded and room(scored[0].model) == "no":
        said.append(Reason("fit", f"{chosen.id} {_crowds(scored[0].model)}, and is asked all the same"))
    reports = world.facts.reports.values()
    if not any([report.target != "hybrid" or report.lean or report.sparing for report in reports]):
        said += [Reason("machine", r.reason) for r in reports if r.state == "available" and r.reason]
    return tuple(said)


def _only(rejected: Sequence[Candidate]) -> Reason:
    if not rejected:
        return Reason("only_candidate", "the only model that is hooked")
    told = [f"{each.model_id}: {each.reason.text}" for each in rejected[:TOLD]]
    more = f"; and {len(rejected) - TOLD} more" if len(rejected) > TOLD else ""
    return Reason("only_candidate", f"the only model that may answer ({'; '.join(told)}{more})")


def _dead_end(rejected: Sequence[Candidate]) -> tuple[Reason, ...]:
    if not rejected:
        return (Reason("no_models", "no model is hooked"),)
    told = [candidate for candidate in rejected if candidate.reason.code != "explicit_model"] or rejected
    return tuple(dict.fromkeys(candidate.reason for candidate in told))


def _explicit(world: World, chosen: str, rejected: Sequence[Candidate]) -> Reason | None:
    wanted, fallback = world.asked.model_id, world.asked.fallback
    if wanted is None:
        return None
    if wanted == chosen:
        return Reason("explicit_model", "preferred by model_id" if fallback else "asked for by model_id")
    if all(model.spec.id != wanted for model in world.facts.models):
        return Reason("unknown_model", f"{wanted} is not hooked")
    against = next((each.reason.text for each in rejected if each.model_id == wanted), None)
    return None if against is None else Reason("explicit_model", f"{wanted} was asked for, but: {against}")


def _ruled(world: World, chosen: ModelFacts) -> Reason | None:
    rule = world.rule
    if rule is None or rule.private:  # `_private` names that one
        return None
    if rule.use is not None:
        return Reason("rule", f"rule {rule.name!r} (policy {rule.use})")
    return Reason("rule", f"rule {rule.name!r}") if is_meant(chosen, rule.to or rule.only) else None


def _private(world: World, chosen: Place) -> Reason | None:
    privacy = world.privacy
    if privacy.stays_home:
        return Reason("private", f"private prompt stays at home ({privacy.why})")
    if privacy.is_redacted and chosen == "cloud":
        return Reason("redacted", f"goes out with placeholders ({privacy.why})")
    return None


def _budget(rejected: Sequence[Candidate]) -> Reason | None:
    """A budget that excludes somebody, so that the others answer."""
    found = next((each for each in rejected if each.reason.code == "budget"), None)
    return None if found is None else Reason("budget", f"{found.model_id} was not asked: {found.reason.text}")


def _network(world: World, field: Field, scored: Sequence[Scored]) -> Reason | None:
    chosen = scored[0].model.spec
    if not chosen.is_edge or all(each.model.spec.is_edge for each in scored):
        return None
    reports = world.facts.reports.values()
    return Reason("network_down", next(r.reason or r.state for r in reports if r.state == "disconnected"))


def _health(scored: Sequence[Scored]) -> Reason | None:
    """A model that would stand first, had it not failed a moment ago."""
    best = max(scored, key=lambda each: each.score - each.terms.get("health", 0.0)).model
    if best is scored[0].model or not best.health.failing:
        return None
    return Reason("failing", f"{best.spec.id} failed a moment ago ({best.health.failing})")


def _fit(scored: Sequence[Scored]) -> Reason | None:
    """A model that would stand first, had it room in memory."""
    best = min(scored, key=_place_with_room).model
    return None if best is scored[0].model else Reason("fit", f"{best.spec.id} {_crowds(best)}")


def _place_with_room(scored: Scored) -> tuple[float, int]:
    return -round(scored.score - scored.terms.get("fit", 0.0), 6), scored.model.spec.order


def _crowds(model: ModelFacts) -> str:
    return f"{'does not fit into' if room(model) == 'no' else 'would fill'} the memory that is free"


def _power(world: World, scored: Sequence[Scored]) -> list[Reason]:
    """That energy is scarce, where the chosen one gains by it over another model at home."""
    gained, place = scored[0].terms.get("power", 0.0), scored[0].model.spec.place
    if (place == "edge") != (world.weights.when_sparing == "smallest"):
        return []
    behind = [each for each in scored[1:] if each.terms.get("power", 0.0) < gained]
    return [Reason("power", _spared(world))] if any([each.model.spec.is_edge for each in behind]) else []


def _spared(world: World) -> str:
    """Whom to ask while energy is scarce, and why it is."""
    report = world.facts.sparing
    asked = "a small model at home" if world.weights.when_sparing == "smallest" else "the cloud"
    why = "" if report is None else f" ({report.reason or report.state})"
    return f"to spare this machine, rather {asked}{why}"


def _votes(world: World, field: Field, place: Place) -> list[Reason]:
    """The agents that speak for the chosen place, where all agents together do."""
    if (field.votes > 0) != (place == "edge"):
        return []
    return [
        Reason("vote", f"{name}: {report.reason or report.state}")
        for name, report in world.facts.reports.items()
        if spoken_for(report, field.held) == place and report.state != "disconnected"
    ]


def _choice(world: World, field: Field, scored: Sequence[Scored]) -> list[Reason]:
    """What chose among several: the term on which the first gains most over the second."""
    first, second = scored[0], scored[1]
    term = _decisive(first, second)
    said = []
    if term == "tier" and world.weights.always_top:
        said.append(
            Reason("tier", f"tier {field.tiers[first.model.spec.id]} of {field.highest}, the highest that may answer")
        )
    elif term == "tier":
        said.append(_complexity(world, field, first))
    elif term in _GAINS:
        said += [Reason(term, _gain(term, first, second, field)), _complexity(world, field, first)]
    elif term not in _TOLD_BEFORE:
        said.append(_complexity(world, field, first))
    if world.policy.name != "balanced":
        said.append(Reason("policy", f"policy {world.policy.name}"))
    return said


def _complexity(world: World, field: Field, chosen: Scored) -> Reason:
    score, tier = world.asked.complexity.score, field.tiers[chosen.model.spec.id]
    return Reason("complexity", f"{complexity.word(score)} prompt ({score:.2f}), tier {tier} of {field.highest}")


_TOLD_BEFORE = frozenset({"preference", "network", "rule", "fit", "health", "votes", "power"})
_GAINS = frozenset({"speed", "price", "stay", "edge"})


def _gain(term: str, first: Scored, second: Scored, field: Field) -> str:
    ours, theirs = first.model.spec.id, second.model.spec.id
    match term:
        case "speed":
            return f"faster: about {field.seconds[ours]:.1f} s against {field.seconds[theirs]:.1f} s"
        case "price":
            cost, other = field.costs[ours], field.costs[theirs]
            against = "an unknown price" if other is None else usd(other)
            return f"cheaper: about {'?' if cost is None else usd(cost)} against {against}"
        case "stay":
            return "it answered the turn before"
    return "the policy would rather stay at home"


def _decisive(first: Scored, other: Scored) -> str:
    """The term on which the first gains most over the other, empty where it gains on none."""
    term, most = "", 0.0
    for name, ours in first.terms.items():
        if (more := ours - other.terms.get(name, 0.0)) > most:
            term, most = name, more
    for name, theirs in other.terms.items():
        if name not in first.terms and -theirs > most:
            term, most = name, -theirs
    return term


def behind(first: Scored, other: Scored, world: World, field: Field) -> Reason:
    """Why a candidate is not the first: the term on which it loses most."""
    term = _decisive(first, other)
    if not term:
        return Reason("order", "no better, and hooked later")
    return Reason(term, _in_words(term, first, other, world, field))


_WORDS = {
    "preference": "another model was asked for",
    "network": "the network seems down",
    "rule": "a rule of the policy prefers another",
    "edge": "the policy would rather stay at home",
    "stay": "the conversation is with another",
}


def _in_words(term: str, first: Scored, other: Scored, world: World, field: Field) -> str:
    ours, theirs = first.model.spec.id, other.model.spec.id
    match term:
        case "health":
            return f"it failed a moment ago: {other.model.health.failing}"
        case "fit":
            return f"it {_crowds(other.model)}"
        case "power":
            return _spared(world)
        case "votes":
            return f"the agents speak for the {'edge' if field.votes > 0 else 'cloud'}"
        case "tier":
            tier = field.tiers[theirs]
            asks = "policy" if world.weights.always_top else "prompt"
            side = "above" if tier > field.required else "below"
            return f"tier {tier} is {side} what the {asks} asks for (tier {field.required})"
        case "speed":
            return f"it is slower: about {field.seconds[theirs]:.1f} s against {field.seconds[ours]:.1f} s"
        case "price":
            cost, cheaper = field.costs[theirs], field.costs[ours]
            if cost is None or cheaper is None:
                return "its price is unknown"
            return f"it costs more: about {usd(cost)} against {usd(cheaper)}"
    return _WORDS[term]
