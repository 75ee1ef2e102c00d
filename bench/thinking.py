"""What the mind takes: a short, a longer and a very long prompt, from its text to the decision over four candidates. µs, in this process.

Beside it LiteLLM's Router, where that is installed, picking one of four deployments of one model group.
"""

from __future__ import annotations

import os
from functools import partial
from importlib.util import find_spec

from bench.measure import microseconds
from oblix.client.screening import label
from oblix.decision import complexity
from oblix.decision.decide import decide
from oblix.decision.facts import Asked, Facts, ModelFacts, Pace
from oblix.decision.policy import policy
from oblix.decision.tokens import estimate_messages
from oblix.types.decision import Decision
from oblix.types.messages import Message
from oblix.types.privacy import Screening
from oblix.types.report import AgentReport
from oblix.types.request import Request
from oblix.types.spec import FREE, ModelSpec, Place, Price

SHORT = "What is the capital of France?"
_SENTENCE = "Please compare the two proposals of 12 May below, explain step by step which one you would choose, and give evidence. "
LONG = (_SENTENCE * (3072 // len(_SENTENCE) + 1))[:3072]
VERY_LONG = (_SENTENCE * (35 * 1024 // len(_SENTENCE) + 1))[: 35 * 1024]
LITELLM = "LiteLLM Router, pick of four"
_SCREENING = Screening()
_BALANCED = policy("balanced")
_REPORTS = {
    "resource_monitor": AgentReport(state="constrained", lean="cloud", reason="CPU 85 % (limit 80 %)"),
    "connectivity_monitor": AgentReport(state="optimal", reason="23 ms, 0 % loss"),
}


def measure() -> dict[str, float]:
    """Name of the measurement → µs."""
    found = {}
    for name, prompt in (("short prompt", SHORT), ("3 KB", LONG), ("35 KB", VERY_LONG)):
        loops = 200 if prompt is SHORT else 50
        request = Request("01BENCH", (Message("user", prompt),))
        facts = _facts(request)
        found[name] = microseconds(partial(_decide, facts, prompt), loops=loops)
        found[f"{name}, with the privacy scan"] = microseconds(partial(_decide, facts, prompt, request), loops=loops)
        found[f"{name}, its facts assembled as well"] = microseconds(partial(_think, request), loops=loops)
    if find_spec("litellm") is not None:
        found[LITELLM] = _litellm()
    return found


def _decide(facts: Facts, prompt: str, request: Request | None = None) -> Decision:
    """What depends on the prompt: its complexity, its label if a request is given, and the decision."""
    complexity.score(prompt)
    if request is not None:
        label(request, _SCREENING)
    return decide(facts, _BALANCED)


def _think(request: Request) -> Decision:
    return decide(_facts(request), _BALANCED)


def _facts(request: Request) -> Facts:
    """As the client assembles them."""
    tokens, privacy = estimate_messages(request.messages), label(request, _SCREENING)
    return Facts(
        "01BENCH", 1.7e9, Asked(tokens, 300, complexity.score(request.prompt), privacy=privacy), _MODELS, _REPORTS
    )


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
    return ModelFacts(spec, pace=Pace(0.1, 0.001, 0.01 * (1 + order)))


_MODELS = (
    _model("ollama", "small", "edge", 0),
    _model("ollama", "large", "edge", 1),
    _model("openai", "small", "cloud", 2, Price(0.15, 0.6, "caller")),
    _model("claude", "large", "cloud", 3, Price(3.0, 15.0, "caller")),
)


def _litellm() -> float:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or else its import asks the network
    from litellm import Router

    router = Router(
        model_list=[
            {"model_name": "group", "litellm_params": {"model": f"openai/gpt-{number}", "api_key": "sk-none"}}
            for number in range(4)
        ]
    )
    messages = [{"role": "user", "content": SHORT}]
    return microseconds(lambda: router.get_available_deployment("group", messages=messages))
