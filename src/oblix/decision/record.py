"""The record of a decision as plain data: old ones brought to today's shape, and joined with what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Record = Mapping[str, Any]
_USAGE = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cost_usd": "cost_usd",
    "saved_usd": "saved_usd",
    "price_source": "price_source",
}


def is_older(record: Record) -> bool:
    """Whether an earlier version wrote it, whose facts and policy cannot be read again."""
    return "place" in record


def modern(record: Record) -> dict[str, Any]:
    """The record in today's shape, whoever wrote it. What an earlier version did not write down is absent."""
    if not is_older(record):
        return dict(record)
    renamed = {key: value for key, value in record.items() if key not in ("place", "private")}
    return {
        **renamed,
        "at": iso(record["at"]),
        "location": record["place"],
        "candidates": [_candidate(each) for each in record["candidates"]],
        "privacy": {"class": "private" if record.get("private") else "unknown"},
    }


def _candidate(before: Record) -> dict[str, Any]:
    verdict = "rejected" if before["verdict"] == "excluded" else before["verdict"]
    return {
        **{key: value for key, value in before.items() if key != "place"},
        "location": before["place"],
        "verdict": verdict,
    }


def joined(record: Record, outcome: Record | None) -> dict[str, Any]:
    """One record with its attempts and its usage: what `oblix why --json` prints. Both are absent while they are not known."""
    found = modern(record)
    if outcome is None:
        return found
    found["attempts"] = [_attempt(each) for each in outcome["attempts"]]
    figures = outcome.get("metrics")
    if figures:
        found["usage"] = {key: figures.get(name) for key, name in _USAGE.items()}
        found["usage"]["estimated"] = list(figures.get("estimated") or ())
    found["error"] = outcome.get("error")
    return found


def _attempt(found: Record) -> dict[str, Any]:
    """An attempt in milliseconds, as traces have it; what does not apply to it is left out."""
    times = {"ttft_ms": "first_token", "total_ms": "total", "load_ms": "load"}
    told: dict[str, Any] = {"model": found["model_id"], "outcome": found["outcome"], "location": found.get("place")}
    told |= {name: round(1000 * found[key], 3) for name, key in times.items() if found.get(key) is not None}
    rest = ("kind", "why", "input_tokens", "output_tokens", "cost_usd", "certainty")
    told |= {key: found[key] for key in rest if found.get(key) is not None}
    return {**told, "hedged": True} if found.get("hedged") else told


def answered_by(outcome: Record | None) -> str | None:
    """The model whose answer was whole, `None` where there was none."""
    attempts = outcome["attempts"] if outcome else ()
    return next((attempt["model_id"] for attempt in attempts if attempt["outcome"] == "ok"), None)


def iso(at: float) -> str:
    """Seconds since the epoch as records have them."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
