"""What the mind promises, whatever the facts: who may answer, and what never helps or harms whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from oblix.decision.decide import decide
from oblix.decision.facts import Facts, Fit, ModelFacts
from oblix.decision.policy import PRESETS, WEIGHTS, Policy, Rule, When, WhenSparing
from oblix.decision.prediction import highest_cost
from oblix.types.decision import Decision
from oblix.types.report import AgentReport, Target
from oblix.types.spec import Place

from .drawn import (
    MACHINE,
    NETWORK,
    often,
    policies,
    presets,
    prices,
    reports,
    worlds,
)
from .oracle import asking, changing, first, harmless, lead, may_answer, places, ranks, slowed
from .world import CHARGED, DISCONNECTED, LOW, PRIVATE, with_report

ROUNDED = 1e-5  # scores are rounded

# --- the same facts, the same decision ---


@often
@given(worlds(1), policies)
def test_the_same_facts_give_the_same_decision_also_read_back_from_their_json(facts: Facts, policy: Policy) -> None:
    """What `oblix why` and a replay rest on."""
    read = msgspec.json.decode(msgspec.json.encode(facts), type=Facts)
    again = msgspec.json.decode(msgspec.json.encode(policy), type=Policy)
    assert (read, again) == (facts, policy)
    assert decide(read, again) == decide(facts, policy)


@often
@given(worlds(), policies, st.randoms(use_true_random=False))
def test_models_may_be_named_in_any_order(facts: Facts, policy: Policy, chance: Any) -> None:
    """Only `spec.order` counts. (A text may name the first that it comes upon.)"""
    models = list(facts.models)
    chance.shuffle(models)
    one, other = decide(facts, policy), decide(replace(facts, models=tuple(models)), policy)
    assert other.plan == one.plan
    assert {reason.code for reason in other.reasons} == {reason.code for reason in one.reasons}
    told, again = (
        {each.model_id: (each.verdict, each.reason.code, each.tier, each.terms) for each in decision.candidates}
        for decision in (one, other)
    )
    assert again == told


# --- who may answer ---


# Whatever a policy file may hold.
weights: st.SearchStrategy[dict[str, Any]] = st.builds(dict, **{name: st.floats(0, 1000) for name in WEIGHTS})


@often
@given(worlds(1), policies, weights)
def test_the_plan_is_exactly_who_no_hard_rule_excludes(facts: Facts, policy: Policy, drawn: dict[str, Any]) -> None:
    """Nothing soft ever leaves the user without an answer that a hard rule would have allowed: for any weights."""
    policy = replace(policy, **drawn)
    decision = decide(facts, policy)
    rule = first(facts, policy)
    home = decision.privacy.stays_home
    expected = {each.spec.id for each in facts.models if may_answer(facts, rule, each, stays_home=home)}
    assert set(decision.plan) == expected
    assert len(decision.plan) == len(expected)


@often
@given(worlds(1), policies, st.booleans())
def test_a_private_prompt_has_no_cloud_model_in_its_plan(facts: Facts, policy: Policy, fallback: bool) -> None:
    """Fail closed: whatever the reports, the policy, its rules and the wishes say."""
    facts = asking(facts, privacy=PRIVATE, fallback=fallback)
    decision = decide(facts, policy)
    assert "cloud" not in places(facts, decision)
    assert decision.privacy.stays_home
    assert decision.place != "cloud"


@often
@given(worlds(1), policies)
def test_no_policy_and_no_rule_lets_out_what_stays_at_home(facts: Facts, policy: Policy) -> None:
    """Labels join upwards only."""
    decision = decide(facts, policy)
    if facts.asked.privacy.stays_home:
        assert decision.privacy == facts.asked.privacy
    if decision.privacy.stays_home:
        assert "cloud" not in places(facts, decision)


@often
@given(worlds(1), policies, st.booleans())
def test_under_the_preset_private_every_prompt_stays_at_home(facts: Facts, policy: Policy, by_rule: bool) -> None:
    """Also when a rule names it."""
    private = replace(policy, rules=(Rule("all", When(), use="private"),)) if by_rule else PRESETS["private"]
    decision = decide(facts, private)
    assert decision.privacy.stays_home
    assert "cloud" not in places(facts, decision)


@often
@given(worlds(), policies, st.data())
def test_model_id_is_obeyed_or_explained(facts: Facts, policy: Policy, data: st.DataObject) -> None:
    """Strict, unless `fallback=True`; a name that is not hooked included."""
    wanted = data.draw(st.sampled_from([each.spec.id for each in facts.models] + ["p:nobody"]))
    decision = decide(asking(facts, model_id=wanted, fallback=False), policy)
    assert set(decision.plan) <= {wanted}
    others = [each for each in decision.candidates if each.model_id != wanted]
    assert {each.reason.code for each in others} == {"explicit_model"}
    if not decision.plan:
        assert all(each.reason.text for each in decision.candidates)
        assert decision.reasons


@often
@given(worlds(), policies, st.data())
def test_model_id_with_fallback_comes_first_and_excludes_nobody(
    facts: Facts, policy: Policy, data: st.DataObject
) -> None:
    wanted = data.draw(st.sampled_from([each.spec.id for each in facts.models]))
    preferred = decide(asking(facts, model_id=wanted, fallback=True), policy)
    free = decide(asking(facts, model_id=None, fallback=False), policy)
    assert sorted(preferred.plan) == sorted(free.plan)
    if wanted in preferred.plan:
        assert preferred.chosen == wanted
        assert preferred.reasons[0].code == "explicit_model"


@often
@given(worlds(1), policies, reports)
def test_a_veto_excludes_everything_and_names_the_agent(facts: Facts, policy: Policy, report: AgentReport) -> None:
    facts = asking(facts, model_id=None)
    refused = replace(report, proceed=False, reason="not on a Sunday")
    decision = decide(with_report(facts, "clergyman", refused), policy)
    assert decision.plan == ()
    assert decision.chosen is None
    assert decision.place is None
    assert {each.reason.code for each in decision.candidates} == {"veto"}
    assert decision.why() == "clergyman refused: not on a Sunday"


@often
@given(worlds(1), policies, st.floats(0, 1), st.floats(0, 1))
def test_a_cost_limit_is_kept_and_a_higher_one_never_costs_a_model(
    facts: Facts, policy: Policy, one: float, other: float
) -> None:
    limit, higher = sorted((one, other))
    plan = decide(asking(facts, max_cost_usd=limit), policy).plan
    costs = {each.spec.id: highest_cost(facts, each) for each in facts.models}
    assert all((cost := costs[model_id]) is not None and cost <= limit for model_id in plan)
    assert set(plan) <= set(decide(asking(facts, max_cost_usd=higher), policy).plan)
    assert set(plan) <= set(decide(asking(facts, max_cost_usd=None), policy).plan)


# --- better news about a place never harms it ---


def assert_no_worse(worse: Facts, better: Facts, policy: Policy, place: Place) -> None:
    """No model of the place loses a rank, nor a point on any model of the other place."""
    before, after = decide(worse, policy), decide(better, policy)
    old, new = ranks(worse, before, place), ranks(better, after, place)
    assert old.keys() == new.keys()
    assert all(new[model_id] <= rank for model_id, rank in old.items())
    for mine in old:
        for other in set(before.plan) - set(old):
            assert lead(after, mine, other) >= lead(before, mine, other) - ROUNDED


@often
@given(
    worlds(),
    policies,
    st.sampled_from([("machine", MACHINE, "edge"), ("network", NETWORK, "cloud")]),
    st.integers(0, 1),
)
def test_a_better_report_about_a_place_never_makes_its_models_worse(
    facts: Facts, policy: Policy, sensor: tuple[str, tuple[AgentReport, ...], Place], step: int
) -> None:
    """Critical, constrained, available; disconnected, degraded, optimal: also in mid-conversation, where a lean may be held back."""
    name, states, place = sensor
    worse, better = (with_report(facts, name, state) for state in states[step : step + 2])
    assert_no_worse(worse, better, policy, place)


@often
@given(worlds(), policies, reports, st.sampled_from(["edge", "cloud"]))
def test_a_vote_more_never_makes_its_own_place_worse(
    facts: Facts, policy: Policy, report: AgentReport, place: Place
) -> None:
    """Silent, leaning, voting: a custom agent's word weighs like a built-in one's."""
    target: Target = "cloud" if place == "cloud" else "local"
    silent = with_report(facts, "voter", replace(report, target="hybrid", lean=None))
    leaning = with_report(facts, "voter", replace(report, target="hybrid", lean=place))
    voting = with_report(facts, "voter", replace(report, target=target))
    assert_no_worse(silent, leaning, policy, place)
    assert_no_worse(leaning, voting, policy, place)


@often
@given(worlds(), policies, st.integers(0, 50))
def test_a_network_that_is_down_puts_the_cloud_last_and_keeps_it(facts: Facts, policy: Policy, voters: int) -> None:
    """However many agents speak for the cloud."""
    up = replace(facts, reports={f"voter{n}": AgentReport(target="cloud") for n in range(voters)})
    down = with_report(up, "network", DISCONNECTED)
    decision = decide(down, policy)
    order = places(down, decision)
    assert order == sorted(order, key=lambda place: place == "cloud")
    assert sorted(decision.plan) == sorted(decide(up, policy).plan)


# --- worse news about a model never helps it ---


def assert_no_better(facts: Facts, worse: Facts, policy: Policy, model_id: str) -> None:
    """It may leave the plan; it gains neither a rank nor a point on any other."""
    before, after = decide(facts, policy), decide(worse, policy)
    if model_id in after.plan:
        assert model_id in before.plan
        assert after.plan.index(model_id) >= before.plan.index(model_id)
        for other in before.plan:
            assert lead(after, model_id, other) <= lead(before, model_id, other) + ROUNDED


RATES = ("input_per_mtok", "output_per_mtok", "cached_input_per_mtok")
more = st.floats(0, 1000)


@often
@given(worlds(), policies, st.data())
def test_a_higher_price_never_makes_a_model_more_likely(facts: Facts, policy: Policy, data: st.DataObject) -> None:
    """Of input, output, or what a cache keeps; a cost limit may then exclude it."""
    model_id = data.draw(st.sampled_from(facts.models)).spec.id
    price = data.draw(prices)
    rate = data.draw(st.sampled_from([name for name in RATES if getattr(price, name) is not None]))
    dearer = replace(price, **{rate: getattr(price, rate) + data.draw(more)})
    one, other = (
        changing(facts, model_id, lambda each, at=at: replace(each, spec=replace(each.spec, price=at)))  # type: ignore[misc]
        for at in (price, dearer)
    )
    assert_no_better(one, other, policy, model_id)


def slower(model: ModelFacts, data: st.DataObject) -> ModelFacts:
    return slowed(model, data.draw(st.sampled_from(["start", "read", "write", "load"])), data.draw(more))


def busier(model: ModelFacts, data: st.DataObject) -> ModelFacts:
    return replace(model, busy=model.busy + data.draw(st.integers(1, 50)))


def colder(model: ModelFacts, data: st.DataObject) -> ModelFacts:
    return replace(model, loaded=False)


def waited_for(model: ModelFacts, data: st.DataObject) -> ModelFacts:
    return replace(model, queue=model.queue + data.draw(st.integers(1, 50)))


def sicker(model: ModelFacts, data: st.DataObject) -> ModelFacts:
    return replace(model, health=replace(model.health, failing="connection refused"))


@often
@given(worlds(), policies, st.data(), st.sampled_from([slower, busier, waited_for, colder, sicker]))
def test_a_model_that_is_slower_busier_colder_or_failing_never_gets_ahead(
    facts: Facts, policy: Policy, data: st.DataObject, change: Callable[[ModelFacts, st.DataObject], ModelFacts]
) -> None:
    model_id = data.draw(st.sampled_from(facts.models)).spec.id
    worse = changing(facts, model_id, lambda each: change(each, data))
    assert_no_better(facts, worse, policy, model_id)


ROOM: tuple[Fit | None, ...] = ("no", "tight", "fits")


def with_fit(facts: Facts, model_id: str, fit: Fit | None) -> Facts:
    return changing(facts, model_id, lambda each: replace(each, fit=fit))


@often
@given(worlds(), policies, st.data(), st.integers(0, 1))
def test_a_model_with_less_room_never_gets_ahead(facts: Facts, policy: Policy, data: st.DataObject, step: int) -> None:
    """What is not known, and what a model that is loaded would need, counts as room enough."""
    model_id = data.draw(st.sampled_from(facts.models)).spec.id
    worse, better = (with_fit(facts, model_id, fit) for fit in ROOM[step : step + 2])
    assert_no_better(better, worse, policy, model_id)
    assert decide(with_fit(facts, model_id, None), policy) == decide(with_fit(facts, model_id, "fits"), policy)
    loaded = changing(facts, model_id, lambda each: replace(each, loaded=True))
    assert decide(with_fit(loaded, model_id, "no"), policy) == decide(with_fit(loaded, model_id, "fits"), policy)


@often
@given(worlds(), policies)
def test_who_has_no_room_comes_after_all_who_have_it_and_is_tried(facts: Facts, policy: Policy) -> None:
    """Unless the network seems down, or it was asked for by name."""
    facts = asking(facts, model_id=None)
    decision = decide(facts, policy)
    known = {each.spec.id: each for each in facts.models}
    reached = [
        model_id for model_id in decision.plan if not (facts.network_is_down and known[model_id].spec.place == "cloud")
    ]
    crowded = [(each := known[model_id]).fit == "no" and each.spec.is_edge and not each.loaded for model_id in reached]
    assert crowded == sorted(crowded)
    roomy = decide(replace(facts, models=tuple(replace(each, fit=None) for each in facts.models)), policy)
    assert sorted(decision.plan) == sorted(roomy.plan)


# --- scarce energy ---


def sparing(facts: Facts) -> tuple[Facts, Facts]:
    """The same picture with a charged battery, and with a low one."""
    reports = {name: replace(report, sparing=False) for name, report in facts.reports.items()}
    calm = replace(facts, reports=reports)
    return with_report(calm, "power", CHARGED), with_report(calm, "power", LOW)


@often
@given(worlds(3), presets, weights, st.sampled_from(["cloud", "smallest", "smallest"]))
def test_scarce_energy_never_makes_a_larger_model_at_home_win(
    facts: Facts, policy: Policy, drawn: dict[str, Any], when_sparing: WhenSparing
) -> None:
    """It gains no point on a smaller one, for any weights."""
    policy = replace(policy, when_sparing=when_sparing, **drawn)
    *home, last = facts.models
    models = (*(replace(each, spec=replace(each.spec, place="edge")) for each in home), last)
    charged, low = sparing(harmless(replace(facts, models=models)))
    before, after = decide(charged, policy), decide(low, policy)
    tiers = {each.model_id: each.tier for each in before.candidates}
    at_home = list(ranks(charged, before, "edge"))
    for larger in at_home:
        for smaller in at_home:
            if tiers[smaller] < tiers[larger]:
                assert lead(after, larger, smaller) <= lead(before, larger, smaller) + ROUNDED
    assert sorted(after.plan) == sorted(before.plan)


@often
@given(worlds(), policies)
def test_scarce_energy_speaks_for_the_cloud_or_leaves_it_where_it_was(facts: Facts, policy: Policy) -> None:
    """As the policy says, or the preset that its rule names.

    Where the smallest is wanted, home is worth what it was, by the tier that the prompt asks for; only that the smallest is worth it now.
    """
    charged, low = sparing(replace(facts, before=None))
    rule = first(low, policy)
    preset = policy if rule is None or rule.use is None else PRESETS[rule.use]
    if preset.when_sparing == "cloud":
        assert_no_worse(charged, low, policy, "cloud")
        return
    before, after = decide(charged, policy), decide(low, policy)
    assert worth(before, "cloud") == worth(after, "cloud")
    home, then = worth(before, "edge"), worth(after, "edge")
    if home:
        smallest = min(home)
        assert abs(max(home.values()) - max(then.values())) <= ROUNDED
        assert then[smallest] == max(then.values())


def worth(decision: Decision, place: Place) -> dict[int, float]:
    """Tier → what its models in that place are given for it, and for sparing energy."""
    left = [each for each in decision.candidates if each.place == place and each.score is not None]
    return {each.tier: each.terms.get("tier", 0.0) + each.terms.get("power", 0.0) for each in left}


@often
@given(worlds(), st.floats(0, 1))
def test_under_a_policy_that_says_so_the_smallest_at_home_is_asked_first(facts: Facts, score: float) -> None:
    """However hard the prompt: all else equal, which it is for healthy models of the usual pace in one place."""
    models = tuple(
        replace(each, pace=None, busy=0, loaded=None, spec=replace(each.spec, place="edge", price=None))
        for each in facts.models
    )
    facts = asking(
        harmless(replace(facts, models=models, before=None)), complexity=replace(facts.asked.complexity, score=score)
    )
    for name in ("offline_first", "private", "cheapest"):
        decision = decide(with_report(facts, "power", LOW), PRESETS[name])
        assert decision.candidates[0].tier == 1


@often
@given(worlds(), st.floats(0, 1), st.floats(0, 1))
def test_a_harder_prompt_never_gets_a_lower_tier(facts: Facts, one: float, other: float) -> None:
    """All else equal: healthy models in one place."""
    models = tuple(replace(each, spec=replace(each.spec, place="edge")) for each in facts.models)
    facts = harmless(replace(facts, models=models))
    tiers = []
    for score in sorted((one, other)):
        hard = asking(facts, complexity=replace(facts.asked.complexity, score=score))
        tiers.append(decide(hard, PRESETS["balanced"]).candidates[0].tier)
    assert tiers[0] <= tiers[1]


@often
@given(worlds(3), presets)
def test_a_third_model_does_not_turn_the_choice_between_two_others(facts: Facts, policy: Policy) -> None:
    """With tiers that are given, what two models are worth to each other does not depend on who else is hooked."""
    models = tuple(replace(each, spec=replace(each.spec, tier=1)) for each in facts.models)
    facts = replace(facts, models=models, before=None)
    plan = decide(facts, policy).plan
    for gone in models:
        fewer = decide(replace(facts, models=tuple(each for each in models if each is not gone)), policy).plan
        assert fewer == tuple(each for each in plan if each != gone.spec.id)
