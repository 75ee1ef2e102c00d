"""Policies as data: through JSON and back they are equal, and nothing that would change their meaning is left out."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.decision.policy import PRESETS, SWITCHES, WEIGHTS, Policy, Rule, When, WhenSparing
from oblix.decision.policy_table import MOST_TARGETS, checked_policy, from_mapping, parse_policy, put_on_top, to_mapping
from oblix.decision.scoring import FAILING, OUT_OF_REACH, PREFERRED, RULED, TOO_LARGE
from oblix.decision.section import Misfit
from oblix.errors import ConfigurationError
from oblix.types.spec import Capability

TEXTS = st.text(max_size=5)
WORDS = st.lists(TEXTS, max_size=3).map(tuple)
SCORES = st.none() | st.floats(0, 1)
COUNTS = st.none() | st.integers(0, 1 << 40)
WHENS = st.builds(
    When,
    tags=WORDS,
    words=WORDS,
    needs=st.lists(st.sampled_from(get_args(Capability)), max_size=3).map(tuple),
    found=WORDS,
    private=st.none() | st.booleans(),
    complexity_above=SCORES,
    complexity_below=SCORES,
    tokens_above=COUNTS,
    tokens_below=COUNTS,
    agents=st.lists(st.tuples(TEXTS, TEXTS), max_size=3).map(tuple),
)
RULES = st.builds(
    Rule, TEXTS, WHENS, to=WORDS, only=WORDS, private=st.booleans(), use=st.none() | TEXTS, refuse=st.none() | TEXTS
)
WEIGHT = st.floats(allow_nan=False, allow_infinity=False)
POLICIES = st.builds(
    Policy,
    TEXTS,
    rules=st.lists(RULES, max_size=3).map(tuple),
    **dict.fromkeys(WEIGHTS, WEIGHT),
    **dict.fromkeys(SWITCHES, st.booleans()),
    when_sparing=st.sampled_from(get_args(WhenSparing)),
)


@given(POLICIES)
def test_a_policy_survives_json(policy: Policy) -> None:
    """Any policy, also one that no file could describe: it took decisions, and must be known again."""
    again = from_mapping(json.loads(json.dumps(to_mapping(policy))))
    assert again == policy
    assert again.digest == policy.digest


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("vote",), "3"),
        (("rules",), 5),
        (("rules", 0), "x"),
        (("rules", 0, "when", "needs"), ["eyes"]),
        (("name",), None),
    ],
)
def test_what_is_no_policy(where: tuple[str | int, ...], value: object) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        from_mapping(changed(where, value))


@pytest.mark.parametrize("where", [("mood",), ("rules", 0, "unless"), ("rules", 0, "when", "weekday")])
def test_parts_of_a_later_version_are_not_left_out(where: tuple[str | int, ...]) -> None:
    """A rule that lost a condition would match more than its author meant."""
    with pytest.raises(ConfigurationError, match="does not know"):
        from_mapping(changed(where, "new"))


def test_what_an_earlier_version_did_not_know_has_its_usual_value() -> None:
    assert from_mapping({"name": "old", "rules": [{"name": "r", "when": {}}]}) == Policy(
        "old", rules=(Rule("r", When()),)
    )


def changed(where: tuple[str | int, ...], value: object) -> dict[str, Any]:
    stored = json.loads(json.dumps(to_mapping(Policy("x", rules=(Rule("r", When(), refuse="no"),)))))
    *way, last = where
    table = stored
    for key in way:
        table = table[key]
    table[last] = value
    found: dict[str, Any] = stored
    return found


def test_a_misfit_tells_the_way_to_it() -> None:
    with pytest.raises(Misfit) as wrong:
        parse_policy({"rule": [{"name": "a", "to": "edge"}, {"name": "b", "to": ["cloud", "moon"]}]}, name="x")
    assert wrong.value.path == ("rule", 1, "to", 1)


@pytest.mark.parametrize("wish", ["to", "only"])
def test_a_rule_names_fifty_targets_at_most(wish: str) -> None:
    """Its first one is preferred by points for each that follows; with more of them a rule would outweigh a model's health."""
    most, too_many = ([f"ollama:m{number}" for number in range(count)] for count in (MOST_TARGETS, MOST_TARGETS + 1))
    rule = parse_policy({"rule": [{"name": "a", wish: most}]}, name="x").rules[0]
    assert getattr(rule, wish) == tuple(most)
    with pytest.raises(Misfit, match=f"'{wish}' names 51 targets; at most 50 make sense.") as wrong:
        parse_policy({"rule": [{"name": "a", wish: too_many}]}, name="x")
    assert wrong.value.path == ("rule", 0, wish)
    assert "places" in str(wrong.value.hint)
    built: dict[str, Any] = {wish: tuple(too_many)}
    with pytest.raises(ConfigurationError, match="names 51 targets"):
        checked_policy(Policy("x", rules=(Rule("a", **built),)))


def test_fifty_targets_do_not_outweigh_a_failure_and_a_failure_no_model_that_has_no_room() -> None:
    assert RULED * MOST_TARGETS + 1000 < -FAILING
    assert RULED * MOST_TARGETS + 1000 < FAILING - TOO_LARGE
    assert -TOO_LARGE - FAILING + RULED * MOST_TARGETS < PREFERRED < -OUT_OF_REACH


def test_who_is_asked_while_energy_is_scarce() -> None:
    assert parse_policy({}, name="x").when_sparing == "cloud"
    assert parse_policy({"when_sparing": "smallest"}, name="x").when_sparing == "smallest"
    assert parse_policy({"like": "private"}, name="x").when_sparing == "smallest"
    assert parse_policy({"like": "private", "when_sparing": "cloud"}, name="x").when_sparing == "cloud"
    with pytest.raises(Misfit, match="'smalest' is no way to spare energy") as wrong:
        parse_policy({"when_sparing": "smalest"}, name="x")
    assert "smallest" in str(wrong.value.hint)
    with pytest.raises(Misfit) as misplaced:
        parse_policy({"weights": {"when_sparing": "cloud"}}, name="x")
    assert "top of a policy file" in str(misplaced.value.hint)
    built = Policy("x", when_sparing="smallest", edge=1.0)
    assert checked_policy(built) == built


# Of the version before there was `when_sparing`: logs name their policies by these.
EARLIER = {
    "balanced": "ace87a6e3306f3dd",
    "offline_first": "46a5e6933819e190",
    "fastest": "46c8df1e2b90a60e",
    "cheapest": "933b543d09341f8f",
    "best": "b59686f3b5d54edb",
    "private": "5cc97ca9206ab221",
}


@pytest.mark.parametrize("name", EARLIER)
def test_a_policy_that_an_earlier_version_kept_is_known_by_its_digest(name: str) -> None:
    """It said nothing of scarce energy; the facts of its time did not, either."""
    kept = to_mapping(PRESETS[name])
    del kept["when_sparing"]
    assert from_mapping(kept).digest == EARLIER[name]
    assert (PRESETS[name].digest == EARLIER[name]) == (PRESETS[name].when_sparing == "cloud")


def test_nothing_on_top_is_the_same_policy() -> None:
    for preset in PRESETS.values():
        assert put_on_top(preset, {}, origin="here") is preset
        assert put_on_top(preset, {"weights": {}, "rule": []}, origin="here") is preset
    lighter = put_on_top(PRESETS["best"], {"weights": {"edge": 1}}, origin="here")
    assert lighter == replace(PRESETS["best"], name="best + here", edge=1.0)


def test_importing_the_mind_loads_no_json_and_no_detectors() -> None:
    """Both are for those who store policies, or ask for what detectors find."""
    told = "import oblix.decision.policy_table, sys; print('msgspec' in sys.modules, 'oblix.decision.privacy.scan' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.split() == ["False", "False"]
