"""Facts for the mind: by hand, and drawn at random."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from hypothesis import strategies as st

from oblix.decision import complexity
from oblix.decision.facts import HEALTHY, Asked, Complexity, Facts, Fit, Health, ModelFacts, Pace, Turn
from oblix.decision.policy import PRESETS, Rule, When
from oblix.types.ids import split_model_id
from oblix.types.privacy import Mode, Privacy
from oblix.types.report import TARGETS, AgentReport
from oblix.types.spec import FREE, Capability, KeyState, ModelSpec, Place, Price

PRIVATE = Privacy("private", by="caller", why="private=True")
CAPABILITIES: tuple[Capability, ...] = get_args(Capability)
NOW = 1_795_000_000.0

AVAILABLE = AgentReport(state="available", target="hybrid", reason="machine idle")
CONSTRAINED = AgentReport(state="constrained", target="hybrid", lean="cloud", reason="CPU 85 %")
CRITICAL = AgentReport(state="critical", target="cloud", reason="CPU 97 %")
OPTIMAL = AgentReport(state="optimal", target="hybrid", reason="20 ms")
DEGRADED = AgentReport(state="degraded", target="hybrid", lean="edge", reason="latency 900 ms")
DISCONNECTED = AgentReport(state="disconnected", target="local", reason="no network route")
CHARGED = AgentReport(state="sufficient", reason="battery 80 %")
LOW = AgentReport(state="low", sparing=True, reason="battery 9 %, not charging")


def model(
    model_id: str,
    place: Place,
    order: int = 0,
    *,
    health: Health = HEALTHY,
    pace: Pace | None = None,
    loaded: bool | None = None,
    busy: int = 0,
    queue: int = 0,
    fit: Fit | None = None,
    **known: Any,
) -> ModelFacts:
    """A hooked model that can do everything, free at the edge and of unknown price in the cloud."""
    provider, name = split_model_id(model_id)
    usual: dict[str, Any] = {"price": FREE if place == "edge" else None, "capabilities": frozenset(CAPABILITIES)}
    spec = ModelSpec(model_id, provider, name, place, order=order, **{**usual, **known})
    return ModelFacts(spec, health, pace=pace, loaded=loaded, busy=busy, queue=queue, fit=fit)


def hooked(*model_ids: str, **known: Any) -> tuple[ModelFacts, ...]:
    """Models in the order of hooking; Ollama's are at the edge."""
    return tuple(
        model(model_id, "edge" if model_id.startswith("ollama") else "cloud", order, **known)
        for order, model_id in enumerate(model_ids)
    )


def picture(
    models: tuple[ModelFacts, ...],
    prompt: str = "What is the capital of France?",
    reports: Mapping[str, AgentReport] | None = None,
    before: Turn | None = None,
    **asked: Any,
) -> Facts:
    """The facts of a prompt."""
    usual: dict[str, Any] = {"prompt_tokens": 20, "answer_tokens": 300, "complexity": complexity.score(prompt)}
    return Facts("01D", NOW, Asked(**{**usual, **asked}), models, reports or {}, before)


def with_report(facts: Facts, name: str, report: AgentReport) -> Facts:
    """The same picture, but for one agent's report."""
    return replace(facts, reports={**facts.reports, name: report})


_word = st.text("abcdef", min_size=1, max_size=6)
_maybe_text = st.none() | _word
prices = st.builds(Price, st.floats(0, 100), st.floats(0, 100), st.just("drawn"))
reports = st.builds(
    AgentReport,
    proceed=st.just(True),
    state=st.sampled_from(
        ["available", "constrained", "critical", "optimal", "degraded", "low", "hot", "error", "unknown", "x"]
    ),
    target=st.sampled_from(TARGETS),
    reason=st.text(max_size=10),
    metrics=st.dictionaries(
        _word, st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | _word, max_size=3
    ),
    lean=st.none() | st.sampled_from(get_args(Place)),
    stale=st.booleans(),
    sparing=st.sampled_from([False, False, True]),
)
# What excludes a model is drawn more seldom than what does not: most pictures should leave several candidates.
_healthy = st.builds(Health, failing=_maybe_text)
healths = _healthy | _healthy | _healthy | st.builds(Health, key_refused=_maybe_text, missing=_maybe_text)
_windows = st.none() | st.none() | st.integers(1, 200_000)
_abilities = st.just(frozenset(CAPABILITIES)) | st.frozensets(st.sampled_from(CAPABILITIES))
_keys: st.SearchStrategy[KeyState] = st.sampled_from(["given", "given", "given", "not_needed", "missing"])
_tags, _phrases = st.sampled_from(["code", "mail"]), st.sampled_from(["patient", "falcon"])
privacies = st.builds(
    Privacy,
    st.sampled_from(["public", "unknown", "unknown", "private"]),
    by=st.sampled_from(["caller", "message", "detector", "size"]),
    found=st.dictionaries(st.sampled_from(["email", "card"]), st.integers(1, 3), max_size=2),
    mode=st.sampled_from(get_args(Mode)),
    why=_word,
)
_paces = st.builds(Pace, st.floats(0, 60), st.floats(0, 1), st.floats(0, 5), st.none() | st.floats(0, 600))
# What an engine tells of a model, together: a draw for each would take longer than the decision.
engines: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"busy": 1},
        {"loaded": True, "busy": 5},
        {"loaded": True, "queue": 3, "fit": "no"},
        {"loaded": False},
        {"loaded": False, "fit": "fits"},
        {"loaded": False, "fit": "tight", "busy": 1},
        {"fit": "tight", "queue": 3},
        {"fit": "no"},
        {"loaded": False, "fit": "no", "busy": 5, "queue": 3},
    ]
)
presets = st.sampled_from(list(PRESETS.values()))
_whens = st.builds(
    When,
    tags=st.lists(_tags, max_size=1).map(tuple),
    words=st.lists(_phrases, max_size=1).map(tuple),
    needs=st.lists(st.sampled_from(CAPABILITIES), max_size=1).map(tuple),
    found=st.lists(st.sampled_from(["email", "card", "any"]), max_size=1).map(tuple),
    private=st.none() | st.booleans(),
    complexity_above=st.none() | st.floats(0, 1),
    tokens_below=st.none() | st.integers(1, 100_000),
)
_targets = st.lists(st.sampled_from(["edge", "cloud", "p:a", "p:b"]), min_size=1, max_size=2, unique=True).map(tuple)


def _rule(name: str, when: When, wish: dict[str, Any]) -> Rule:
    return Rule(name, when, **wish)


rules = st.builds(
    _rule,
    _word,
    _whens,
    st.fixed_dictionaries({"to": _targets})
    | st.fixed_dictionaries({"only": _targets})
    | st.just({"private": True})
    | st.fixed_dictionaries({"use": st.sampled_from(list(PRESETS))}),
)
policies = presets | st.builds(lambda base, own: replace(base, rules=tuple(own)), presets, st.lists(rules, max_size=3))


@st.composite
def models(draw: st.DrawFn, min_size: int = 1) -> tuple[ModelFacts, ...]:
    """Any hooked models."""
    names = draw(st.lists(_word, min_size=min_size, max_size=6, unique=True))
    return tuple(
        ModelFacts(
            ModelSpec(
                f"p:{name}",
                "p",
                name,
                draw(st.sampled_from(get_args(Place))),
                order=order,
                tier=draw(st.none() | st.integers(1, 4)),
                window=draw(_windows),
                capabilities=draw(_abilities),
                price=draw(st.none() | st.just(FREE) | prices),
                key=draw(_keys),
            ),
            draw(healths),
            pace=draw(st.none() | _paces),
            **draw(engines),
        )
        for order, name in enumerate(names)
    )


@st.composite
def pictures(draw: st.DrawFn, min_models: int = 1, max_reports: int = 5) -> Facts:
    """Any facts; no agent vetoes."""
    hooked = draw(models(min_models))
    names = [each.spec.id for each in hooked]
    asked = Asked(
        draw(st.integers(1, 100_000)),
        draw(st.integers(1, 10_000)),
        Complexity(draw(st.floats(0, 1)), tuple(draw(st.lists(_word, max_size=2)))),
        privacy=draw(privacies),
        answer_limit=draw(st.none() | st.integers(1, 20_000)),
        tags=tuple(draw(st.lists(_tags, max_size=2))),
        said=tuple(draw(st.lists(_phrases, max_size=2))),
        model_id=draw(st.none() | st.none() | st.sampled_from(names)),
        fallback=draw(st.booleans()),
        needs=draw(
            st.just(frozenset[Capability]())
            | st.just(frozenset[Capability]())
            | st.frozensets(st.sampled_from(CAPABILITIES), max_size=2)
        ),
        max_cost_usd=draw(st.none() | st.none() | st.none() | st.floats(0, 10)),
    )
    told = draw(st.dictionaries(_word, reports, max_size=max_reports))
    before = draw(st.none() | st.builds(Turn, st.sampled_from(names), st.integers(0, 100_000), st.floats(0, 1000)))
    return Facts("01D", NOW, asked, hooked, told, before)
