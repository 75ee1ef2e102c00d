"""A conversation and its place: a sensor at its threshold does not make it flap, a full vote moves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from hypothesis import assume, given
from hypothesis import strategies as st

from oblix.decision.decide import decide
from oblix.decision.facts import Facts, Turn
from oblix.decision.policy import PRESETS, Policy
from oblix.types.decision import Decision
from oblix.types.report import AgentReport
from oblix.types.spec import Place

from .drawn import (
    often,
    policies,
    worlds,
)
from .oracle import harmless, held
from .world import CHARGED, CRITICAL, LOW, with_report

other_place: dict[Place, Place] = {"edge": "cloud", "cloud": "edge"}
SILENT = AgentReport(state="available", target="hybrid")


def leaning(place: Place) -> AgentReport:
    """One step from silence: `constrained` for the cloud, `degraded` for the edge."""
    return replace(SILENT, state="leaning", lean=place)


def converse(facts: Facts, policy: Policy, sensor: Sequence[AgentReport]) -> list[Decision]:
    """A turn for each of the sensor's readings, each after the answer of the one before."""
    turns: list[Decision] = []
    for report in sensor:
        decision = decide(with_report(facts, "sensor", report), policy)
        turns.append(decision)
        if decision.chosen is not None:
            facts = replace(facts, before=Turn(decision.chosen, facts.asked.prompt_tokens, 10.0))
    return turns


@often
@given(worlds(talking=True), policies)
def test_a_lean_never_moves_a_conversation(facts: Facts, policy: Policy) -> None:
    """Against the place where it is, a lean changes nothing, not even a score; towards it, it keeps it there."""
    at = held(facts, decide(facts, policy))
    assume(at is not None)
    assert at is not None
    silent, against, towards = (
        decide(with_report(facts, "sensor", report), policy)
        for report in (SILENT, leaning(other_place[at]), leaning(at))
    )
    assert [(each.model_id, each.terms) for each in against.candidates] == [
        (each.model_id, each.terms) for each in silent.candidates
    ]
    if silent.place == at:
        assert towards.place == at


@often
@given(worlds(), policies, st.sampled_from(["edge", "cloud"]), st.lists(st.booleans(), min_size=2, max_size=12))
def test_a_sensor_that_flips_never_takes_a_conversation_to_and_fro(
    facts: Facts, policy: Policy, towards: Place, readings: list[bool]
) -> None:
    """It may let go of a place that it alone held; once there, the conversation stays."""
    facts = replace(facts, before=None)
    turns = converse(facts, policy, [leaning(towards) if leans else SILENT for leans in readings])
    places = [turn.place for turn in turns]
    moves = sum(one != other for one, other in pairwise(places))
    assert moves <= 1


@often
@given(worlds(talking=True), policies)
def test_a_low_battery_never_moves_a_conversation_that_is_at_home(facts: Facts, policy: Policy) -> None:
    """It changes nothing, not even a score; but where the smallest answers, and is to be asked, that one is held the more."""
    facts = replace(facts, reports={name: replace(report, sparing=False) for name, report in facts.reports.items()})
    charged, low = (decide(with_report(facts, "power", report), policy) for report in (CHARGED, LOW))
    assume(held(facts, charged) == "edge")
    assert facts.before is not None
    tiers = {each.model_id: each.tier for each in charged.candidates if each.place == "edge" and each.score is not None}
    if tiers[facts.before.model_id] == min(tiers.values()) and low != charged:
        assert charged.chosen != facts.before.model_id or low.chosen == charged.chosen
        return
    assert [(each.model_id, each.terms) for each in low.candidates] == [
        (each.model_id, each.terms) for each in charged.candidates
    ]


@often
@given(worlds(), st.sampled_from(["edge", "cloud"]))
def test_a_full_vote_moves_a_conversation(facts: Facts, towards: Place) -> None:
    """Where nothing else speaks against it: healthy models of the usual pace, tiers by hooking."""
    models = tuple(replace(each, spec=replace(each.spec, tier=None), pace=None, busy=0) for each in facts.models)
    facts = harmless(replace(facts, models=models))
    start = next((each.spec.id for each in facts.models if each.spec.place != towards), None)
    assume(start is not None and any(each.spec.place == towards for each in facts.models))
    assert start is not None
    facts = replace(facts, before=Turn(start, 500, 10.0))
    vote = CRITICAL if towards == "cloud" else AgentReport(state="budget_critical", target="local")
    assert decide(with_report(facts, "sensor", vote), PRESETS["balanced"]).place == towards


@often
@given(worlds(), policies, st.integers(3, 8))
def test_a_conversation_settles_when_nothing_changes(facts: Facts, policy: Policy, turns: int) -> None:
    """Whoever answers may be left once for a better one, never to and fro."""
    plans = [turn.chosen for turn in converse(replace(facts, before=None), policy, [SILENT] * turns)]
    moves = sum(one != other for one, other in pairwise(plans))
    assert moves <= 1
