"""A recorded decision in plain words."""

from __future__ import annotations

from typing import Any

import pytest

from oblix.decision import explain
from oblix.decision.decide import decide
from oblix.decision.policy import PRESETS

from .world import AVAILABLE, DEGRADED, hooked, picture

MODELS = hooked("ollama:llama2", "openai:gpt-4")
RECORD = decide(picture(MODELS, reports={"machine": AVAILABLE, "network": DEGRADED}), PRESETS["balanced"]).to_dict()
NOBODY = decide(picture(hooked("openai:gpt-4"), private=True), PRESETS["balanced"]).to_dict()


def tried(model_id: str, outcome: str, why: str | None = None, kind: str | None = None) -> dict[str, Any]:
    return {"model_id": model_id, "outcome": outcome, "why": why, "kind": kind}


@pytest.mark.parametrize(
    ("record", "attempts", "said"),
    [
        (RECORD, (), "ollama:llama2 (edge) was chosen: network: latency 900 ms, simple prompt (0.04), tier 1 of 2."),
        (
            RECORD,
            (tried("ollama:llama2", "ok"),),
            "ollama:llama2 (edge) answered: network: latency 900 ms, simple prompt (0.04), tier 1 of 2.",
        ),
        (
            RECORD,
            (tried("ollama:llama2", "failed", "connection refused"), tried("openai:gpt-4", "ok")),
            (
                "openai:gpt-4 answered, after ollama:llama2 failed (connection refused). First choice was ollama:llama2: "
                "network: latency 900 ms, simple prompt (0.04), tier 1 of 2."
            ),
        ),
        (
            RECORD,
            (tried("ollama:llama2", "cancelled", kind="cancelled"),),
            (
                "ollama:llama2 (edge) was chosen: network: latency 900 ms, simple prompt (0.04), tier 1 of 2. "
                "Then ollama:llama2 cancelled (cancelled)."
            ),
        ),
        (NOBODY, (), "No model could be asked: private prompts stay at home."),
    ],
    ids=["chosen", "answered", "another answered", "left", "nobody"],
)
def test_one_sentence_says_where_and_why(
    record: dict[str, Any], attempts: tuple[dict[str, Any], ...], said: str
) -> None:
    assert explain.sentence(record, attempts) == said


def test_each_candidate_and_each_agent_has_its_row() -> None:
    assert explain.table(RECORD) == [
        ("ollama:llama2", "edge", "chosen", "network: latency 900 ms"),
        ("openai:gpt-4", "cloud", "next", "the agents speak for the edge"),
    ]
    assert explain.checks(RECORD) == [
        ("machine", "available", "hybrid", "machine idle"),
        ("network", "degraded", "hybrid (leans to edge)", "latency 900 ms"),
    ]
