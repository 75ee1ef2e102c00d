"""From a table, as a policy file holds it, to a policy; and from a policy to JSON and back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, get_args

from oblix.decision.policy import HEAVIEST, PRESETS, SWITCHES, WEIGHTS, Policy, Rule, When, WhenSparing
from oblix.decision.section import Misfit, Section, show
from oblix.errors import ConfigurationError
from oblix.types.spec import Capability, Place

_ON_TOP = ("name", "like", *SWITCHES, "when_sparing")
_KEYS = (*_ON_TOP, "weights", "rule")
_CONDITIONS = tuple(field.name for field in fields(When))
_WISHES = ("to", "only", "private", "use", "refuse")
_PLACES: tuple[Place, ...] = get_args(Place)
_SPARING: tuple[WhenSparing, ...] = get_args(WhenSparing)
MOST_TARGETS = 50  # of a rule: what its first target is preferred by stays below the weight of a model's health

_BELOW_WEIGHTS = dict.fromkeys(WEIGHTS, "It is a weight: write it below [weights].")
_IN_A_RULE = dict.fromkeys(("when", "to", "only", "use", "refuse"), "It is part of a rule: write it below [[rule]].")
_IN_WHEN = {key: f"It is a condition: write when = {{ {key} = … }}." for key in _CONDITIONS if key not in _WISHES}
_AT_THE_TOP = dict.fromkeys(
    _ON_TOP,
    "It speaks of the whole policy: it stands at the top of a policy file, above the first [.",
)


def parse_policy(values: Mapping[str, Any], *, name: str) -> Policy:
    """The policy that a file describes.

    Args:
        name: Of the policy, where the file gives none.

    Raises:
        Misfit: A value does not fit; its `path` leads to it.
    """
    top = Section(values)
    top.expect(_KEYS, "key of a policy", elsewhere={**_BELOW_WEIGHTS, **_IN_A_RULE})
    like = PRESETS[top.choice("like", PRESETS, "policy to start from", '"balanced"') or "balanced"]
    changes: dict[str, Any] = {key: value for key in SWITCHES if (value := top.switch(key)) is not None}
    if sparing := top.choice("when_sparing", _SPARING, "way to spare energy", '"smallest"'):
        changes["when_sparing"] = sparing
    changes.update(_weights(top), rules=_rules(top), name=top.text("name", '"office"') or name)
    return replace(like, **changes)


def put_on_top(policy: Policy, values: Mapping[str, Any], *, origin: str) -> Policy:
    """A policy with the `weights` and the `rule`s of a table put on top: its rules are asked first. The same one where it has none.

    Args:
        origin: Where the table stands, said in the policy's new name.
    """
    top = Section(values)
    weights, rules = _weights(top), _rules(top, taken=[rule.name for rule in policy.rules])
    if not weights and not rules:
        return policy
    return replace(policy, **weights, name=f"{policy.name} + {origin}", rules=(*rules, *policy.rules))


def _weights(top: Section) -> dict[str, Any]:
    section = top.section("weights", "[weights] on a line, and price = 2.0 below it")
    if section is None:
        return {}
    section.expect(WEIGHTS, "weight", elsewhere=_AT_THE_TOP)
    found = {key: section.number(key, 0.0, HEAVIEST, example="2.0") for key in WEIGHTS}
    return {key: value for key, value in found.items() if value is not None}


def _rules(top: Section, *, taken: list[str] | None = None) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    names = set(taken or ())
    for section in top.sections("rule"):
        rule = _rule(section)
        if rule.name in names:
            said = f"There are two rules of the name {show(rule.name)}."
            raise section.misfit("name", said, hint="A decision names the rule that made it: give each its own.")
        names.add(rule.name)
        rules.append(rule)
    return tuple(rules)


def _rule(section: Section) -> Rule:
    section.expect(("name", "when", *_WISHES), "key of a rule", elsewhere={**_IN_WHEN, **_BELOW_WEIGHTS, **_AT_THE_TOP})
    name = section.text("name", '"code stays here"')
    if name is None:
        said = "A rule has no name."
        raise section.misfit(
            None, said, hint='Write name = "…": it is said in the reason of each decision of the rule.'
        )
    wishes = [key for key in _WISHES if key in section.values]
    if len(wishes) != 1:
        said = f"The rule {show(name)} has {' and '.join(wishes) or 'nothing to do'}."
        raise section.misfit(wishes[1] if wishes else None, said, hint=f"Give it exactly one of: {', '.join(_WISHES)}.")
    if section.switch("private") is False:
        said = "'private' is false, but no rule makes a request public."
        raise section.misfit("private", said, hint="Write private = true, or another wish.")
    return Rule(
        name,
        _when(section.section("when", 'when = { tags = ["code"] }')),
        to=_targets(section, "to"),
        only=_targets(section, "only"),
        private="private" in wishes,
        use=section.choice("use", PRESETS, "policy whose weights to use", '"cheapest"'),
        refuse=section.text("refuse", '"not on this machine"'),
    )


def _targets(section: Section, key: str) -> tuple[str, ...]:
    targets = tuple(_canonical(target) for target in section.texts(key, '"edge"'))
    if len(targets) > MOST_TARGETS:
        said = f"{key!r} names {len(targets)} targets; at most {MOST_TARGETS} make sense."
        raise Misfit((*section.path, key), said, hint='Name places ("edge", "cloud") or fewer models.')
    for position, target in enumerate(targets):
        provider, colon, model = target.partition(":")
        if target not in _PLACES and not (provider.strip() and colon and model.strip()):
            path = (key,) if isinstance(section.values[key], str) else (key, position)
            said = f"{show(target)} in {key!r} is neither a place nor a model."
            raise Misfit((*section.path, *path), said, hint='Write "edge", "cloud", or "provider:name".')
    return targets


def _canonical(target: str) -> str:
    """`ollama:llama2` and `ollama:llama2:latest` are the same model."""
    return target.removesuffix(":latest") if target.startswith("ollama:") else target


def _when(section: Section | None) -> When:
    if section is None:
        return When()
    section.expect(_CONDITIONS, "condition of a rule")
    above, below = (section.number(f"complexity_{limit}", 0.0, 1.0, example="0.6") for limit in ("above", "below"))
    over, under = (section.whole(f"tokens_{limit}", 0, example="4000") for limit in ("above", "below"))
    if above is not None and below is not None and above >= below:
        raise _empty(section, "complexity", above, below)
    if over is not None and under is not None and over + 1 >= under:
        raise _empty(section, "tokens", over, under)
    return When(
        tags=section.texts("tags", '["code"]'),
        words=tuple(word.lower() for word in section.texts("words", '["contract"]')),
        needs=_needs(section),
        found=_found(section),
        private=section.switch("private"),
        complexity_above=above,
        complexity_below=below,
        tokens_above=over,
        tokens_below=under,
        agents=_agents(section.section("agents", 'agents = { resource_monitor = "available" }')),
    )


def _empty(section: Section, what: str, above: float, below: float) -> Misfit:
    said = f"No prompt has {what} above {above:g} and below {below:g}."
    return section.misfit(f"{what}_below", said, hint="Both are exclusive; the first must be the smaller one.")


def _needs(section: Section) -> tuple[Capability, ...]:
    known: tuple[Capability, ...] = get_args(Capability)
    words = section.choices("needs", known, "capability of a model", '["tools"]')
    return tuple(known[known.index(word)] for word in words)


def _agents(section: Section | None) -> tuple[tuple[str, str], ...]:
    if section is None:
        return ()
    if not section.values:
        raise section.misfit(
            None, "'agents' is an empty table.", hint='Write agents = { resource_monitor = "available" }.'
        )
    for name in section.values:
        if not name.strip():
            raise section.misfit(
                name, "An agent has no name.", hint='Write agents = { resource_monitor = "available" }.'
            )
    return tuple((name, state) for name in section.values for state in section.texts(name, '"available"'))


def _found(section: Section) -> tuple[str, ...]:
    if "found" not in section.values:
        return ()  # the detectors are loaded for those who ask for them
    return section.choices("found", (*private_kinds(), "any"), "kind of private thing", '["email"]')


def private_kinds() -> tuple[str, ...]:
    """The kinds of private things that the detectors know."""
    from oblix.decision.privacy.scan import KINDS

    return tuple(KINDS)


def to_mapping(policy: Policy) -> dict[str, Any]:
    """Everything about a policy, ready for JSON: it is stored with the decisions that it took."""
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(policy)
    return found


def from_mapping(stored: Mapping[str, Any]) -> Policy:
    """The policy that `to_mapping` told of, equal to it.

    Raises:
        ConfigurationError: It is no policy, or has parts that this version does not know and must not leave out: a rule that loses a
            condition would match more than it was meant to.
    """
    import msgspec

    try:
        found = msgspec.convert(stored, Policy)
    except msgspec.ValidationError as error:
        raise ConfigurationError(
            f"The stored policy cannot be read: {error}.", hint="It must come from to_mapping.", cause=error
        ) from None
    if not _covers(to_mapping(found), stored):
        said = f"The stored policy {show(found.name)} has parts that this version of Oblix does not know."
        raise ConfigurationError(said, hint="Read it with the version that stored it.")
    return found


def _covers(known: Any, stored: Any) -> bool:
    """Whether every key of the stored value is known."""
    if isinstance(stored, Mapping):
        return isinstance(known, Mapping) and all(key in known and _covers(known[key], stored[key]) for key in stored)
    if isinstance(stored, list | tuple):
        return all(_covers(mine, theirs) for mine, theirs in zip(known, stored, strict=True))
    return True


def checked_policy(policy: Policy) -> Policy:
    """A policy that was built in Python, if a file could say the same: held against the same limits, lists taken as well.

    Raises:
        ConfigurationError: A weight, a target, a condition or a wish cannot be right.
    """
    return _checked(policy) if policy.rules or policy not in PRESETS.values() else policy


def _checked(policy: Policy) -> Policy:
    values: dict[str, Any] = {
        "name": policy.name,
        "weights": {key: getattr(policy, key) for key in WEIGHTS},
        **{key: getattr(policy, key) for key in SWITCHES},
        "when_sparing": policy.when_sparing,
        "rule": [_as_table(rule) for rule in policy.rules],
    }
    try:
        return parse_policy(values, name="")
    except Misfit as error:
        raise ConfigurationError(f"The policy {show(policy.name)}: {error.message}", hint=error.hint) from None


def _as_table(rule: Rule) -> dict[str, Any]:
    """A rule as a file has it; what it leaves open is left out."""
    table = {key: _plain(getattr(rule, key)) for key in _WISHES if getattr(rule, key) not in ((), [], False, None)}
    when = {
        key: _plain(getattr(rule.when, key)) for key in _CONDITIONS if getattr(rule.when, key) not in ((), [], None)
    }
    if "agents" in when:
        states: dict[str, list[str]] = {}
        for agent, state in rule.when.agents:
            states.setdefault(agent, []).append(state)
        when["agents"] = states
    return {"name": rule.name, "when": when, **table}


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
