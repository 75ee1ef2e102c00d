"""Worlds drawn at random for the mind's promises: models, reports, rules, paces, queues and conversations.

What has few values is drawn from a list, because a property asks for hundreds of worlds and a draw costs more than a decision.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

from hypothesis import settings
from hypothesis import strategies as st

from oblix.decision.facts import HEALTHY, Asked, Complexity, Facts, Health, ModelFacts, Pace, Turn
from oblix.decision.policy import PRESETS, Policy, Rule, When
from oblix.types.privacy import Mode, Privacy
from oblix.types.report import AgentReport
from oblix.types.spec import FREE, Capability, KeyState, ModelSpec, Place, Price

from .world import AVAILABLE, CAPABILITIES, CONSTRAINED, CRITICAL, DEGRADED, DISCONNECTED, NOW, OPTIMAL, engines

often = settings(max_examples=300, deadline=None)  # a shared machine has its pauses
NAMES = ("p:a", "p:b", "p:c", "p:d")
MACHINE = (CRITICAL, CONSTRAINED, AVAILABLE)  # worst first
NETWORK = (DISCONNECTED, DEGRADED, OPTIMAL)
NO_NEEDS: frozenset[Capability] = frozenset()

# --- models: what excludes one is drawn more seldom than what does not, for most worlds should leave several candidates ---

places: st.SearchStrategy[Place] = st.sampled_from(get_args(Place))
healths = st.sampled_from(
    [HEALTHY] * 6 + [Health(failing="reset")] * 2 + [Health(**{why: "so"}) for why in Health.__slots__]
)
keys: st.SearchStrategy[KeyState] = st.sampled_from(["given", "given", "given", "given", "not_needed", "missing"])
prices = st.builds(
    lambda read, write, kept: Price(read, write, "drawn", cached_input_per_mtok=None if kept is None else kept * read),
    st.floats(0, 100),
    st.floats(0, 100),
    st.sampled_from([None, 0.0, 0.1, 0.5, 1.0]),
)
paces = st.builds(Pace, st.floats(0, 60), st.floats(0, 1), st.floats(0, 5), st.none() | st.floats(0, 600))
_names = st.sampled_from([NAMES, NAMES[::-1], ("p:b", "p:d", "p:a", "p:c")])
_ALL = frozenset(CAPABILITIES)
_abilities: st.SearchStrategy[frozenset[Capability]] = st.sampled_from(
    [_ALL, _ALL, _ALL, NO_NEEDS, frozenset({"tools"}), frozenset({"json", "vision"})]
)
_tiers = st.sampled_from([None, None, None, 1, 2, 3, 4])
_windows = st.sampled_from([None, None, None, 1, 4096, 128_000])


@st.composite
def models(draw: st.DrawFn, min_size: int) -> tuple[ModelFacts, ...]:
    """Hooked models."""
    names = draw(_names)[: draw(st.integers(min_size, len(NAMES)))]
    return tuple(
        ModelFacts(
            ModelSpec(
                name,
                "p",
                name[2:],
                draw(places),
                order=order,
                tier=draw(_tiers),
                window=draw(_windows),
                capabilities=draw(_abilities),
                price=draw(st.sampled_from([None, FREE]) | prices),
                key=draw(keys),
            ),
            draw(healths),
            pace=draw(st.none() | paces),
            **draw(engines),
        )
        for order, name in enumerate(names)
    )


# --- what is asked, and what the agents say ---

reports = st.builds(
    AgentReport,
    state=st.sampled_from(["available", "critical", "error", "x"]),
    target=st.sampled_from(["hybrid", "hybrid", "local", "local_gpu", "cloud"]),
    reason=st.sampled_from(["", "so it is"]),
    lean=st.sampled_from([None, "edge", "cloud"]),
    sparing=st.sampled_from([False, False, True]),
)
_told = st.dictionaries(st.sampled_from(["machine", "network", "mine", "yours"]), reports, max_size=3)
privacies = st.builds(
    Privacy,
    st.sampled_from(["public", "unknown", "unknown", "private"]),
    by=st.sampled_from(["caller", "message", "detector", "size"]),
    found=st.sampled_from([{}, {"card": 2}, {"email": 1, "iban": 1}]),
    mode=st.sampled_from(get_args(Mode)),
    why=st.just("so it is"),
)
_tokens = st.sampled_from([1, 20, 1000, 30_000])
_needs: st.SearchStrategy[frozenset[Capability]] = st.sampled_from(
    [NO_NEEDS, NO_NEEDS, NO_NEEDS, frozenset({"tools"}), frozenset({"json"})]
)


@st.composite
def worlds(draw: st.DrawFn, min_models: int = 2, talking: bool = False) -> Facts:
    """Any facts; no agent vetoes.

    Args:
        talking: A conversation always goes on.
    """
    hooked = draw(models(min_models))
    names = st.sampled_from([each.spec.id for each in hooked])
    turns = st.builds(Turn, names, st.sampled_from([0, 500, 30_000]), st.sampled_from([0.0, 60.0, 900.0]))
    asked = Asked(
        draw(_tokens),
        draw(st.sampled_from([1, 300, 5000])),
        Complexity(draw(st.floats(0, 1)), ("drawn",)),
        privacy=draw(privacies),
        answer_limit=draw(st.sampled_from([None, 100, 10_000])),
        tags=draw(st.sampled_from([(), ("code",), ("x", "code")])),
        said=draw(st.sampled_from([(), ("patient",), ("falcon",)])),
        model_id=draw(st.sampled_from([None, None, None, "p:gone"]) | names),
        fallback=draw(st.booleans()),
        needs=draw(_needs),
        max_cost_usd=draw(st.sampled_from([None, None, None, 0.0, 0.05, 5.0])),
    )
    before = draw(turns) if talking else draw(st.none() | turns)
    return Facts("01D", NOW, asked, hooked, draw(_told), before)


# --- policies ---

presets = st.sampled_from(list(PRESETS.values()))
_targets = st.sampled_from([("edge",), ("cloud",), ("p:a",), ("p:b", "edge"), ("cloud", "p:c"), ("p:gone",)])
Wishes = st.SearchStrategy[dict[str, Any]]
to: Wishes = st.fixed_dictionaries({"to": _targets})
only: Wishes = st.fixed_dictionaries({"only": _targets})
use: Wishes = st.fixed_dictionaries({"use": st.sampled_from(list(PRESETS))})
private: Wishes = st.just({"private": True})
refuse: Wishes = st.just({"refuse": "not today"})
_harmless = st.one_of(to, only, use, private)
conditions: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"tags": st.sampled_from([("code",), ("mail", "x")])}),
    st.fixed_dictionaries({"words": st.sampled_from([("patient",), ("falcon", "patient")])}),
    st.fixed_dictionaries({"needs": st.sampled_from([("tools",), ("vision", "json")])}),
    st.fixed_dictionaries({"found": st.sampled_from([("card",), ("any",), ("email", "phone")])}),
    st.fixed_dictionaries({"private": st.booleans()}),
    st.fixed_dictionaries({"complexity_above": st.floats(0, 1)}),
    st.fixed_dictionaries({"complexity_below": st.floats(0, 1)}),
    st.fixed_dictionaries({"tokens_above": _tokens}),
    st.fixed_dictionaries({"tokens_below": _tokens}),
)
of_agents: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "agents": st.sampled_from(
            [
                (("machine", "critical"),),
                (("machine", "available"), ("machine", "constrained")),
                (("machine", "available"), ("mine", "x")),
            ]
        )
    }
)


@st.composite
def ruled(
    draw: st.DrawFn, wishes: Wishes = _harmless, when: st.SearchStrategy[dict[str, Any]] = conditions, most: int = 3
) -> Policy:
    """A preset with rules, each of which asks for up to two things."""
    rules = tuple(
        Rule(f"number {position}", When(**{**draw(when), **draw(when)}), **draw(wishes))
        for position in range(draw(st.integers(1, most)))
    )
    return replace(draw(presets), rules=rules)


policies = presets | ruled()
