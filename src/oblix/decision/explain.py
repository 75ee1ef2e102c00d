"""A recorded decision in plain words: what `oblix why` prints. Works on the record's plain data, as the log keeps it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from oblix.decision import complexity
from oblix.decision.flips import Flip
from oblix.decision.layout import Part, Table
from oblix.decision.money import usd
from oblix.decision.record import modern

Record = Mapping[str, Any]
_NOTHING = "Nothing: it was only considered. Nothing was sent, and nothing was written down."
NOTICEABLE = 0.05  # seconds of waiting between two attempts that are worth a line


AT_ONCE = 0.01  # seconds


def sentence(record: Record, attempts: Sequence[Record] = ()) -> str:
    """One sentence: where it went, and why."""
    record = modern(record)
    why = ", ".join(reason["text"] for reason in record["reasons"])
    answered = next((attempt["model_id"] for attempt in attempts if attempt["outcome"] == "ok"), None)
    chosen = record["chosen"]
    if chosen is None:
        return f"No model could be asked: {why}."
    if answered == chosen:
        return f"{chosen} ({record['location']}) answered: {why}."
    failures, remarks = _failures(attempts), _remarks(attempts)
    aside = f" ({remarks})" if remarks else ""
    if answered is not None:
        after = f", after {failures}" if failures else ""
        return f"{answered} answered{after}{aside}. First choice was {chosen}: {why}."
    then = f" Then {failures}{aside}." if failures else f" But {remarks}." if remarks else ""
    return f"{chosen} ({record['location']}) was chosen: {why}.{then}"


def _failures(attempts: Iterable[Record]) -> str:
    tried = (attempt for attempt in attempts if attempt["outcome"] != "ok" and not _is_remark(attempt))
    return _counted(f"{attempt['model_id']} {attempt['outcome']} ({_reason(attempt)})" for attempt in tried)


def _remarks(attempts: Iterable[Record]) -> str:
    """What is told of models that did not fail: they were passed by, or beaten."""
    return _counted(str(attempt["why"]) for attempt in attempts if _is_remark(attempt))


def _is_remark(attempt: Record) -> bool:
    """Whether `why` is a whole sentence about the model."""
    return attempt["outcome"] == "postponed" or "answered first" in (attempt["why"] or "")


def _counted(told: Iterable[str]) -> str:
    return "; ".join(f"{each}, {count} times" if count > 1 else each for each, count in Counter(told).items())


def _reason(attempt: Record) -> str:
    """Why it failed, without the model's name, which stands there already."""
    why = str(attempt.get("why") or attempt.get("kind") or "")
    return why.removeprefix(f"{attempt['model_id']}: ")


def story(
    record: Record, outcome: Record | None = None, flips: Sequence[Flip] | None = (), *, is_dry: bool = False
) -> list[Part]:
    """The whole of it: where it went and why, what happened on the way, what else there was, and what would have changed it.

    Args:
        outcome: What became of it; `None` while that is not known.
        flips: What would have changed it; `None` where that cannot be told, because an earlier version wrote the record.
        is_dry: It was only considered; nothing was sent.
    """
    record = modern(record)
    parts = [
        Part(lines=(sentence(record, outcome["attempts"] if outcome else ()),)),
        Part("What happened", (_NOTHING,) if is_dry else tuple(_events(outcome))),
        Part("The models", table=candidates(record)),
        Part("The agents", table=agents(record)),
        Part("The request", tuple(_request(record))),
        Part("What would have changed it", tuple(_flips(flips))),
        Part(lines=() if is_dry else (_signature(record),)),
    ]
    return [part for part in parts if part.lines or (part.table and part.table.rows)]


def candidates(record: Record) -> Table:
    """One row per candidate: model, location, verdict, about how many seconds and USD, because."""
    rows = tuple(
        (
            each["model"],
            each["location"],
            each["verdict"],
            _seconds(each.get("est_s")),
            _usd(each.get("est_usd")),
            each["reason"],
        )
        for each in record["candidates"]
    )
    return Table(("model", "location", "verdict", "about", "cost", "because"), rows)


def agents(record: Record) -> Table:
    """One row per agent: name, state, what it speaks for, why."""
    rows = tuple(
        (name, each["state"], _opinion(each), each["reason"]) for name, each in (record.get("checks") or {}).items()
    )
    return Table(("agent", "state", "speaks for", "because"), rows)


def _opinion(report: Record) -> str:
    if not report["proceed"]:
        return "refusing"
    if report["target"] != "hybrid":
        return "cloud" if report["target"] == "cloud" else "edge"
    if report.get("sparing"):
        return "sparing energy"
    return f"{report['lean']}, a little" if report.get("lean") else "either"


def _events(outcome: Record | None) -> Iterator[str]:
    """What happened, in order: each attempt, the waiting between them, how it ended."""
    if outcome is None:
        yield "It is not known what became of it: no answer was written down yet."
        return
    for attempt in outcome["attempts"]:
        yield _attempt(attempt)
    if (waited := _pauses(outcome)) >= NOTICEABLE:
        yield f"Between the attempts it waited for {_seconds(waited)}."
    figures, error = outcome.get("metrics"), outcome.get("error")
    if figures:
        saved = f", {usd(figures['saved_usd'])} saved" if figures.get("saved_usd") else ""
        yield f"In all: {_seconds(figures['total_latency'])}, {_usd(figures['cost_usd'], 'cost unknown')}{saved}."
    if error:
        yield f"The caller got an error: {error['message'].splitlines()[0]} [{error['code']}]"


def _attempt(attempt: Record) -> str:
    name, why = attempt["model_id"], _reason(attempt)
    took = f" after {_seconds(attempt['total'])}" if attempt["total"] >= AT_ONCE else " at once"
    billed = f" ({usd(attempt['cost_usd'])} may be billed for it)" if attempt.get("cost_usd") else ""
    match attempt["outcome"]:
        case "ok":
            return f"{name} answered{took}{_answer(attempt)}."
        case "failed":
            return f"{name} failed{took}: {why}{billed}."
        case "cancelled" if "answered first" in why:
            return f"{why}{billed}."
        case "cancelled":
            return f"{name} was stopped{took}: {why}{billed}."
    return f"{why}."


def _answer(attempt: Record) -> str:
    """The figures of an answer."""
    told = []
    if attempt.get("first_token") is not None:
        told.append(f"first word after {_seconds(attempt['first_token'])}")
    if attempt.get("load"):
        told.append(f"{_seconds(attempt['load'])} of it loading")
    if attempt.get("input_tokens") is not None and attempt.get("output_tokens") is not None:
        told.append(f"{attempt['input_tokens']:,} tokens in, {attempt['output_tokens']:,} out")
    if attempt.get("cost_usd") is not None:
        told.append(usd(attempt["cost_usd"]))
    return f" ({', '.join(told)})" if told else ""


def _pauses(outcome: Record) -> float:
    """Seconds between the attempts; 0 where they overlapped, or nobody measured."""
    figures, attempts = outcome.get("metrics"), outcome["attempts"]
    if not figures or len(attempts) < 2 or any(attempt.get("hedged") for attempt in attempts):
        return 0.0
    total: float = figures["total_latency"] - figures["overhead"] - sum(attempt["total"] for attempt in attempts)
    return total


def _request(record: Record) -> Iterator[str]:
    """What of the request mattered, and under which policy."""
    if record.get("requested", "auto") != "auto":
        yield f"Model: {record['requested']} was asked for."
    found = record["complexity"]
    evidence = f": {', '.join(found['evidence'])}" if found["evidence"] else ""
    yield f"Complexity: {complexity.word(found['score'])} ({found['score']:.2f} of 1){evidence}."
    yield f"Privacy: {_privacy(record['privacy'])}."
    if record.get("budget"):
        yield f"Cost limit: {usd(record['budget']['limit_usd'])}."
    rule = record.get("rule")
    yield f"Policy: {record['policy']}" + (f", rule {rule!r}." if rule else ".")


_WHO = {
    "caller": "the caller said so",
    "message": "a message of the conversation is labelled so",
    "rule": "a rule of the policy says so",
    "policy": "the policy says so of every prompt",
    "detector": "something private is in it",
    "size": "it is too large to be searched",
}


def _privacy(found: Record) -> str:
    """Whether it is private, who says so, and what follows."""
    seen = ", ".join(f"{count} {kind}" for kind, count in (found.get("found") or {}).items())
    if found["class"] != "private":
        return ("public" if found["class"] == "public" else "not looked at, counts as public") + (
            f" (found: {seen})" if seen else ""
        )
    by = found.get("by", "")
    who = f", {_WHO[by]}" if by in _WHO else ""
    follows = "it stays at home"
    if by == "detector" and found.get("mode") == "redact":
        follows = "a cloud model gets placeholders instead"
    elif by in ("detector", "size") and found.get("mode") == "allow":
        follows = "the settings allow the cloud all the same"
    return f"private{who}{f' ({seen})' if seen else ''}; {follows}"


def _flips(flips: Sequence[Flip] | None) -> Iterator[str]:
    if flips is None:
        yield "That cannot be told: its facts or its policy cannot be read."
    elif not flips:
        yield "Nothing near: no single change that was tried leads to another model."
    else:
        yield from (flip.text for flip in flips)


def _signature(record: Record) -> str:
    """The id, the time, and what the caller named it."""
    at = record["at"][:19].replace("T", " ") + " UTC"
    session = f" · session {record['session_id']}" if record.get("session_id") else ""
    tags = f" · tags {', '.join(record['tags'])}" if record.get("tags") else ""
    return f"{record['id']} · {at}{session}{tags}"


def _seconds(value: float | None) -> str:
    """Seconds with about two significant digits, and none below a hundredth."""
    if value is None:
        return "?"
    return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s" if value >= 1 else f"{value:.2f} s"


def _usd(value: float | None, unknown: str = "?") -> str:
    return unknown if value is None else usd(value)
