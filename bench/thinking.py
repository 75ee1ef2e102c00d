"""What the mind takes: one decision over four candidates, the complexity of a short and of a long prompt. µs, in this process."""

from __future__ import annotations

from bench.measure import microseconds
from oblix.decision import complexity
from oblix.decision.decide import decide
from oblix.decision.facts import Asked, Facts, Health, ModelFacts
from oblix.decision.policy import policy
from oblix.types.report import AgentReport
from oblix.types.spec import FREE, ModelSpec, Place, Price

SHORT = "What is the capital of France?"
_SENTENCE = (
    "Please compare the two proposals below, explain step by step which one you would choose, and give evidence. "
)
LONG = (_SENTENCE * (3072 // len(_SENTENCE) + 1))[:3072]


def measure() -> dict[str, float]:
    """Name of the measurement → µs."""
    facts, balanced = _facts(), policy("balanced")
    return {
        "decide() with four candidates": microseconds(lambda: decide(facts, balanced)),
        "complexity of a short prompt": microseconds(lambda: complexity.score(SHORT)),
        "complexity of a prompt of 3 KB": microseconds(lambda: complexity.score(LONG), loops=50),
    }


def _facts() -> Facts:
    asked = Asked(12, 300, complexity.score(SHORT))
    reports = {
        "resource_monitor": AgentReport(state="constrained", lean="cloud", reason="CPU 85 % (limit 80 %)"),
        "connectivity_monitor": AgentReport(state="optimal", reason="23 ms, 0 % loss"),
    }
    models = (
        _model("ollama", "small", "edge", 0),
        _model("ollama", "large", "edge", 1),
        _model("openai", "small", "cloud", 2, Price(0.15, 0.6, "caller")),
        _model("claude", "large", "cloud", 3, Price(3.0, 15.0, "caller")),
    )
    return Facts("01BENCH", 1.7e9, asked, models, reports)


def _model(provider: str, name: str, place: Place, order: int, price: Price = FREE) -> ModelFacts:
    spec = ModelSpec(
        f"{provider}:{name}",
        provider,
        name,
        place,
        endpoint="http://localhost:1",
        order=order,
        price=price,
        window=32_768,
    )
    return ModelFacts(spec, Health(seconds=0.5 + order))
