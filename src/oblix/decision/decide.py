"""One decision: hard rules exclude, soft terms order what is left, and every candidate gets its reason."""

from __future__ import annotations

from oblix.decision import complexity
from oblix.decision.facts import Facts, ModelFacts
from oblix.decision.policy import Policy
from oblix.decision.rules import RULES, estimated_cost
from oblix.decision.scoring import TERMS, Field, survey
from oblix.types.decision import Candidate, Decision, Reason


def decide(facts: Facts, policy: Policy) -> Decision:
    """Where this request runs, and in which order the others are tried when that fails. Pure: no clock, no chance, no I/O."""
    left: list[ModelFacts] = []
    excluded: list[Candidate] = []
    for model in facts.models:
        reason = _against(facts, model, policy)
        if reason is None:
            left.append(model)
        else:
            cost = estimated_cost(facts, model)
            excluded.append(Candidate(model.spec.id, model.spec.place, "excluded", reason, estimated_cost_usd=cost))
    field = survey(facts, left, policy)
    scored = sorted(
        ((_score(facts, model, policy, field), model) for model in left),
        key=lambda pair: (-pair[0][0], pair[1].spec.order),
    )
    reasons = _reasons(facts, policy, field, scored, excluded)
    candidates = [
        Candidate(
            model.spec.id,
            model.spec.place,
            "next" if position else "chosen",
            _behind(scored[0], (score, model), facts, field) if position else reasons[0],
            tier=field.tiers[model.spec.id],
            score=round(score[0], 4),
            terms=score[1],
            estimated_cost_usd=estimated_cost(facts, model),
        )
        for position, (score, model) in enumerate(scored)
    ]
    return Decision(
        facts.id,
        facts.now,
        policy.name,
        tuple(model.spec.id for _, model in scored),
        reasons,
        (*candidates, *excluded),
        checks=facts.reports,
        complexity=facts.asked.complexity.score,
        complexity_evidence=facts.asked.complexity.evidence,
        private=facts.asked.private or policy.always_private,
    )


def _against(facts: Facts, model: ModelFacts, policy: Policy) -> Reason | None:
    for rule in RULES:
        if (reason := rule(facts, model, policy)) is not None:
            return reason
    return None


Scored = tuple[tuple[float, dict[str, float]], ModelFacts]


def _score(facts: Facts, model: ModelFacts, policy: Policy, field: Field) -> tuple[float, dict[str, float]]:
    terms = {name: points for name, term in TERMS if (points := term(facts, model, policy, field))}
    return round(sum(terms.values()), 9), terms  # what is equal but for the order of adding must stay equal


def _reasons(
    facts: Facts, policy: Policy, field: Field, scored: list[Scored], excluded: list[Candidate]
) -> tuple[Reason, ...]:
    """Why the first of the plan is the first: what decided, the strongest first."""
    if not scored:
        return _dead_end(excluded)
    chosen = scored[0][1].spec
    said = [
        reason
        for reason in (
            _explicit(facts, chosen.id),
            Reason("private", "private prompt stays at home") if facts.asked.private or policy.always_private else None,
            _network(facts, chosen.is_edge, scored),
            _health(scored),
        )
        if reason is not None
    ]
    if len(scored) == 1 and not said:
        said.append(Reason("only_candidate", "the only model that may answer"))
    said += _votes(facts, chosen.place) if len({model.spec.place for _, model in scored}) > 1 else []
    if len(scored) > 1:
        said.append(_complexity(facts, field, field.tiers[chosen.id]))
        if policy.name != "balanced":
            said.append(Reason("policy", f"policy {policy.name}"))
    if not any(report.vote or report.lean for report in facts.reports.values()):
        said += [Reason("machine", r.reason) for r in facts.reports.values() if r.state == "available" and r.reason]
    return tuple(said)


def _dead_end(excluded: list[Candidate]) -> tuple[Reason, ...]:
    if not excluded:
        return (Reason("no_models", "no model is hooked"),)
    told = [candidate for candidate in excluded if candidate.reason.code != "explicit_model"] or excluded
    return tuple(dict.fromkeys(candidate.reason for candidate in told))


def _explicit(facts: Facts, chosen: str) -> Reason | None:
    wanted = facts.asked.model_id
    if wanted is not None and facts.asked.fallback and all(model.spec.id != wanted for model in facts.models):
        return Reason("unknown_model", f"{wanted} is not hooked")
    if wanted != chosen:
        return None
    return Reason("explicit_model", "preferred by model_id" if facts.asked.fallback else "asked for by model_id")


def _network(facts: Facts, edge: bool, scored: list[Scored]) -> Reason | None:
    if not facts.network_is_down or not (edge and any(not model.spec.is_edge for _, model in scored)):
        return None
    return Reason(
        "network_down", next(r.reason or r.state for r in facts.reports.values() if r.state == "disconnected")
    )


def _health(scored: list[Scored]) -> Reason | None:
    """A model that would stand first, had it not failed a moment ago."""
    if not any("health" in terms for (_, terms), _ in scored):
        return None
    best = max(scored, key=lambda pair: pair[0][0] - pair[0][1].get("health", 0.0))[1]
    if best is scored[0][1] or not best.health.failing:
        return None
    return Reason("failing", f"{best.spec.id} failed a moment ago ({best.health.failing})")


def _votes(facts: Facts, place: str) -> list[Reason]:
    return [
        Reason("vote", f"{name}: {report.reason or report.state}")
        for name, report in facts.reports.items()
        if (report.vote or report.lean) == place and report.state != "disconnected"
    ]


def _complexity(facts: Facts, field: Field, tier: int) -> Reason:
    kind = complexity.word(facts.asked.complexity.score)
    return Reason("complexity", f"{kind} prompt ({facts.asked.complexity.score:.2f}), tier {tier} of {field.highest}")


_BEHIND = {
    "preference": "another model was asked for",
    "network": "the network seems down",
    "edge": "the policy would rather stay at home",
    "speed": "it is usually slower",
    "price": "it costs more",
}


def _behind(first: Scored, other: Scored, facts: Facts, field: Field) -> Reason:
    """Why a candidate is not the first: the term on which it loses most."""
    (_, ours), (_, theirs) = first[0], other[0]
    term, most = "", 0.0
    for name in _NAMES:
        lost = ours.get(name, 0.0) - theirs.get(name, 0.0)
        if lost > most:
            term, most = name, lost
    model = other[1]
    if not term:
        return Reason("order", "no better, and hooked later")
    if term == "health":
        return Reason("health", f"it failed a moment ago: {model.health.failing}")
    if term == "votes":
        return Reason("votes", f"the agents speak for the {'edge' if field.votes > 0 else 'cloud'}")
    if term == "tier":
        tier = field.tiers[model.spec.id]
        how = "above" if tier > field.required else "below"
        return Reason("tier", f"tier {tier} is {how} what the prompt asks for (tier {field.required})")
    return Reason(term, _BEHIND[term])


_NAMES = tuple(name for name, _ in TERMS)
