"""A recorded decision in plain words: what `oblix why` prints. Works on the record's plain dict, as the log keeps it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any


def sentence(record: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]] = ()) -> str:
    """One sentence: where it went, and why."""
    why = ", ".join(reason["text"] for reason in record["reasons"])
    answered = next((attempt["model_id"] for attempt in attempts if attempt["outcome"] == "ok"), None)
    chosen = record["chosen"]
    if chosen is None:
        return f"No model could be asked: {why}."
    if answered == chosen:
        return f"{chosen} ({record['place']}) answered: {why}."
    if answered is not None:
        return f"{answered} answered, after {_failures(attempts)}. First choice was {chosen}: {why}."
    return f"{chosen} ({record['place']}) was chosen: {why}." + (f" Then {_failures(attempts)}." if attempts else "")


def _failures(attempts: Sequence[Mapping[str, Any]]) -> str:
    told = Counter(_failure(attempt) for attempt in attempts if attempt["outcome"] != "ok")
    return "; ".join(f"{failure}, {count} times" if count > 1 else failure for failure, count in told.items())


def _failure(attempt: Mapping[str, Any]) -> str:
    if attempt["outcome"] == "postponed" or "answered first" in (attempt["why"] or ""):
        return str(attempt["why"])
    return f"{attempt['model_id']} {attempt['outcome']} ({attempt['why'] or attempt['kind']})"


def table(record: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """One row per candidate: model, place, verdict, reason."""
    return [(c["model"], c["place"], c["verdict"], c["reason"]) for c in record["candidates"]]


def checks(record: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """One row per agent: name, state, target, reason."""
    return [
        (name, c["state"], c["target"] + (f" (leans to {c['lean']})" if c.get("lean") else ""), c["reason"])
        for name, c in record["checks"].items()
    ]
