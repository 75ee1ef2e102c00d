"""A recorded decision in plain words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from oblix.decision import explain
from oblix.decision.decide import decide
from oblix.decision.facts import Facts
from oblix.decision.flips import flips
from oblix.decision.layout import lay_out
from oblix.decision.policy import PRESETS, Policy

from .situations import SITUATIONS
from .world import AVAILABLE, DEGRADED, PRIVATE, hooked, picture, pictures, policies

SNAPSHOTS = Path(__file__).parent / "snapshots"
WRITES = "WRITE_SNAPSHOTS"  # set it to write the files anew; the tests fail then, so that somebody reads them

MODELS = hooked("ollama:llama2", "openai:gpt-4")
RECORD = decide(picture(MODELS, reports={"machine": AVAILABLE, "network": DEGRADED}), PRESETS["balanced"]).to_dict()
NOBODY = decide(picture(hooked("openai:gpt-4"), privacy=PRIVATE), PRESETS["balanced"]).to_dict()
# As the version wrote it that this one follows.
EARLIER: dict[str, Any] = {
    "id": "01KB",
    "at": 1_795_000_000.0,
    "policy": "balanced",
    "chosen": "ollama:llama2",
    "place": "edge",
    "plan": ["ollama:llama2"],
    "reasons": [{"code": "only_candidate", "text": "the only model that may answer"}],
    "candidates": [
        {"model": "ollama:llama2", "place": "edge", "verdict": "chosen", "by": "only_candidate",
         "reason": "the only model that may answer", "tier": 1, "score": 0.25, "terms": {"edge": 0.25}, "est_usd": 0.0},
        {"model": "openai:gpt-4", "place": "cloud", "verdict": "excluded", "by": "privacy",
         "reason": "private prompts stay at home", "tier": 1, "score": None, "terms": {}, "est_usd": None},
    ],
    "complexity": {"score": 0.04, "evidence": ["asks for a fact"]},
    "private": True,
    "session_id": None,
    "tags": [],
}  # fmt: skip


def tried(model_id: str, outcome: str, why: str | None = None, kind: str | None = None) -> dict[str, Any]:
    return {"model_id": model_id, "outcome": outcome, "why": why, "kind": kind}


@pytest.mark.parametrize("name", SITUATIONS)
def test_it_is_told_as_somebody_found_that_it_reads_well(name: str) -> None:
    said, file = SITUATIONS[name]().told(), SNAPSHOTS / f"{name}.txt"
    if os.environ.get(WRITES):
        file.parent.mkdir(exist_ok=True)
        file.write_text(said, "utf-8")
        pytest.fail(f"{file.name} was written: read it, then run again without {WRITES}")
    assert said == file.read_text("utf-8")


def test_every_snapshot_is_of_a_situation() -> None:
    assert {file.stem for file in SNAPSHOTS.iterdir()} == set(SITUATIONS)


@given(pictures(), policies)
def test_whatever_was_decided_it_fits_the_width(facts: Facts, policy: Policy) -> None:
    parts = explain.story(decide(facts, policy).to_dict(), None, flips(facts, policy))
    longest = max((word for line in lay_out(parts).splitlines() for word in line.split()), key=len)
    assert all(len(line) <= max(80, 30 + len(longest)) for line in lay_out(parts).splitlines())
    for width in (20, 40, 200):
        assert lay_out(parts, width=width)


def test_a_narrow_terminal_gets_the_reasons_below() -> None:
    told = SITUATIONS["critical_machine"]().told(width=60)
    assert "  ollama:llama2       edge      next" in told
    assert "\n      the agents speak for the cloud\n" in told


def test_in_a_pipe_tables_are_cells_between_tabs() -> None:
    told = lay_out(explain.story(RECORD), tabs=True)
    assert "\nollama:llama2\tedge\tchosen\t31 s\t$0\tnetwork: latency 900 ms\n" in told
    assert "\nnetwork\tdegraded\tedge, a little\tlatency 900 ms\n" in told
    assert "because" not in told


def test_what_an_earlier_version_wrote_is_told_without_flips() -> None:
    told = lay_out(explain.story(EARLIER, None, None))
    assert told.startswith("ollama:llama2 (edge) was chosen: the only model that may answer.")
    assert "  openai:gpt-4   cloud     rejected  ?      ?     private prompts stay at home\n" in told
    assert "Privacy: private; it stays at home." in told
    assert "That cannot be told: its facts or its policy cannot be read." in told
    assert "01KB · 2026-11-18 11:06:40 UTC" in told


def test_what_was_only_considered_is_said_to_be() -> None:
    told = lay_out(explain.story(RECORD, is_dry=True))
    assert "Nothing was sent, and nothing was written" in told
    assert "UTC" not in told


@pytest.mark.parametrize(
    ("record", "attempts", "said"),
    [
        (RECORD, (), "ollama:llama2 (edge) was chosen: network: latency 900 ms."),
        (
            RECORD,
            (tried("ollama:llama2", "ok"),),
            "ollama:llama2 (edge) answered: network: latency 900 ms.",
        ),
        (
            RECORD,
            (tried("ollama:llama2", "failed", "connection refused"), tried("openai:gpt-4", "ok")),
            (
                "openai:gpt-4 answered, after ollama:llama2 failed (connection refused). First choice was ollama:llama2: "
                "network: latency 900 ms."
            ),
        ),
        (
            RECORD,
            (tried("ollama:llama2", "cancelled", kind="cancelled"),),
            ("ollama:llama2 (edge) was chosen: network: latency 900 ms. Then ollama:llama2 cancelled (cancelled)."),
        ),
        (
            RECORD,
            (
                tried("ollama:llama2", "postponed", "ollama:llama2 is being loaded; another model answers meanwhile"),
                tried("openai:gpt-4", "ok"),
            ),
            (
                "openai:gpt-4 answered (ollama:llama2 is being loaded; another model answers meanwhile). First choice was "
                "ollama:llama2: network: latency 900 ms."
            ),
        ),
        (NOBODY, (), "No model could be asked: private prompts stay at home (private=True)."),
        (EARLIER, (tried("ollama:llama2", "ok"),), "ollama:llama2 (edge) answered: the only model that may answer."),
    ],
    ids=["chosen", "answered", "another answered", "left", "bridged", "nobody", "an earlier version"],
)
def test_one_sentence_says_where_and_why(
    record: dict[str, Any], attempts: tuple[dict[str, Any], ...], said: str
) -> None:
    assert explain.sentence(record, attempts) == said
