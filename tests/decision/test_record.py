"""The record of a decision as plain data."""

from __future__ import annotations

import json
from typing import Any

import pytest

from oblix.decision.decide import decide
from oblix.decision.policy import PRESETS
from oblix.decision.record import answered_by, is_older, iso, joined, modern

from .situations import bad, ended, facts, good
from .test_explain import EARLIER


def record() -> dict[str, Any]:
    return decide(facts(), PRESETS["balanced"]).to_dict()


def test_todays_record_stays_as_it_is() -> None:
    assert not is_older(record())
    assert modern(record()) == record()


def test_an_earlier_record_gets_todays_names() -> None:
    found = modern(EARLIER)
    assert is_older(EARLIER)
    assert not is_older(found)
    assert found["location"] == "edge"
    assert found["at"] == "2026-11-18T11:06:40.000+00:00"
    assert found["privacy"] == {"class": "private"}
    assert [each["verdict"] for each in found["candidates"]] == ["chosen", "rejected"]
    assert [each["location"] for each in found["candidates"]] == ["edge", "cloud"]
    assert "place" not in json.dumps(found)


def test_one_record_with_attempts_and_usage() -> None:
    outcome = ended(
        bad("ollama:llama2", kind="connect", why="ollama:llama2: refused", total=0.004),
        good("openai:gpt-4o-mini", hedged=True, total=1.9804, load=0.5),
        total=2.0,
    )
    found = joined(record(), outcome)
    assert found["chosen"] == "ollama:llama2"
    assert found["attempts"] == [
        {
            "model": "ollama:llama2",
            "outcome": "failed",
            "location": "edge",
            "total_ms": 4.0,
            "kind": "connect",
            "why": "ollama:llama2: refused",
            "certainty": "possibly_accepted",
        },
        {
            "model": "openai:gpt-4o-mini",
            "outcome": "ok",
            "location": "cloud",
            "ttft_ms": 310.0,
            "total_ms": 1980.4,
            "load_ms": 500.0,
            "input_tokens": 24,
            "output_tokens": 11,
            "cost_usd": 0.0000102,
            "certainty": "possibly_accepted",
            "hedged": True,
        },
    ]
    assert found["usage"] == {
        "input": 24,
        "output": 11,
        "cost_usd": 0.0000102,
        "saved_usd": 0.0,
        "price_source": None,
        "estimated": [],
    }
    assert found["error"] is None
    assert json.loads(json.dumps(found)) == found


def test_what_is_not_known_is_absent() -> None:
    assert joined(record(), None) == record()
    failed = joined(record(), ended(error=("OBX-VETOED", "no")))
    assert failed["attempts"] == []
    assert failed["error"] == {"code": "OBX-VETOED", "message": "no"}
    assert "usage" not in failed


@pytest.mark.parametrize(
    ("outcome", "model"),
    [(None, None), (ended(), None), (ended(bad("ollama:a"), good("openai:b")), "openai:b")],
    ids=["not known", "nobody", "the second"],
)
def test_who_answered(outcome: dict[str, Any] | None, model: str | None) -> None:
    assert answered_by(outcome) == model


def test_times_are_written_in_utc() -> None:
    assert iso(1_795_000_000.1234) == "2026-11-18T11:06:40.123+00:00"
