"""Whether what our client told was right, and whether what `llmock` objects to is a fault of ours: pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean
from typing import Any

from oblix.errors import AllModelsFailed, DeadlineExceeded, FailureKind, NoRoute, StreamBroken

from .faults import Case
from .playing import ANSWER, CALL, Played, Told

K = FailureKind
_MOVED = "moved on to another model at once, whose answer came whole"
_BROKE = "text had been delivered: the break was told as an error, a retry would say it twice"
_TOLD = "not accepted: the caller got the typed error"
_NO_USE = "no retry can help: the account is out of credit"
_NO_TIME = "the wait that it asked for is longer than the caller's deadline; told as a typed error"
_LATE = "the caller's deadline passed; told as a typed error"
_JITTER = "two draws of full jitter: over all retries of this run the pauses vary, and the second ones are longer"
# Full jitter doubles the mean. Below this ratio of the means the pauses are taken not to grow; with 20 second ones and 60 first ones
# chance gets there once in a thousand runs.
_GROWTH = 1.2


@dataclass(frozen=True, slots=True)
class Objection:
    """What is wrong with a case, or, with a reason, what only looks wrong."""

    case: Case
    code: str
    text: str
    allowed: str | None = None


def wrongs(played: Played) -> list[Objection]:
    """What our client told its caller and should not have."""
    case = played.case
    found = ((_whole_wrong(case, told) if told.error is None else _error_wrong(case, told)) for told in played.told)
    return [Objection(case, "wrong_answer", wrong) for wrong in found if wrong]


def _whole_wrong(case: Case, told: Told) -> str | None:
    """An answer must be the whole answer."""
    fault = case.fault
    if fault.is_late and not case.has_other:
        return "an answer, though none could come before the deadline"
    if fault.lasting and told.model_id == f"{case.wire}:{case.name}":
        return "an answer of a model that always fails"
    if (wrong := _kind_wrong(case, told)) is not None:
        return wrong
    if fault.with_tool:
        calls = [(call.name, json.loads(call.arguments)) for call in told.tool_calls]
        return None if calls == [(CALL["name"], CALL["arguments"])] else f"not the whole call: {told.tool_calls}"
    if (told.text, told.finish_reason) != (ANSWER, "stop") or not told.tokens:
        return f"not the whole answer: {told.text!r}, {told.finish_reason}, {told.tokens} tokens"
    return None


def _error_wrong(case: Case, told: Told) -> str | None:
    """An error must be the right one, where an answer could not be had."""
    fault, error = case.fault, told.error
    name = type(error).__name__
    if isinstance(error, DeadlineExceeded):
        return None if fault.is_late else f"late: {error}"
    if not ANSWER.startswith(told.text):
        return f"the text so far is not the beginning of the answer: {told.text!r}"
    if isinstance(error, StreamBroken):
        if case.mode == "buffered" or (fault.moment == "before" and fault.site != "wild"):
            return f"{name}, though no text had been delivered"
        if case.mode == "restarting" and case.has_other:
            return f"{name}, though another model could begin again"
        return None if error.kind in (fault.kinds or (error.kind,)) else f"{name} of kind {error.kind}"
    if not isinstance(error, AllModelsFailed | NoRoute):
        return f"{error!r} is none of the errors that are promised"
    if case.has_other or fault.moment == "never":
        return f"{name}, though an answer could be had: {error}"
    return _kind_wrong(case, told)


def _kind_wrong(case: Case, told: Told) -> str | None:
    wanted = case.fault.kinds
    if not wanted or told.kinds[:1] in [(kind.value,) for kind in wanted]:
        return None
    return f"the attempt should be {' or '.join(wanted)}, and is told as {', '.join(told.kinds) or 'good'}"


def backs_off(records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the pauses before retries vary, and grow on the whole. One call says nothing: two draws may come in any order.

    Args:
        records: All requests of llmock's journal, in order.
    """
    calls: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        calls.setdefault(record["fingerprint"], []).append(record)
    pauses: tuple[list[float], list[float]] = ([], [])
    for tries in calls.values():
        if not any(record["retry_after"] for record in tries):
            for found, (before, after) in zip(pauses, pairwise(tries), strict=False):
                found.append(after["started_at"] - before["ended_at"])
    first, second = pauses
    return bool(first and second) and max(first) > 2 * min(first) and mean(second) > _GROWTH * mean(first)


def judge(played: Played, finding: Mapping[str, Any], *, with_backoff: bool) -> Objection:
    """What llmock objects to, allowed where the journal of one call cannot know better.

    Args:
        with_backoff: What `backs_off` says of the whole run.
    """
    text = f"{finding['title']} (requests {', '.join(map(str, finding['requests']))})"
    if finding["code"] == "no_backoff":
        return Objection(played.case, "no_backoff", text, _JITTER if with_backoff else None)
    return Objection(played.case, str(finding["code"]), text, _reason(played, finding))


def _reason(played: Played, finding: Mapping[str, Any]) -> str | None:
    """Why an objection does not hold, `None` where it does. Breaches that harm the server are never excused."""
    if finding["code"] not in ("gave_up", "truncated_stream_accepted", "malformed_chunk_ignored"):
        return None
    reasons = {_excuse(played.case, told, finding) for told in played.told if told.error or told.kinds}
    return reasons.pop() if len(reasons) == 1 else None


def _excuse(case: Case, told: Told, finding: Mapping[str, Any]) -> str | None:
    """Why one prompt's caller was well served though llmock saw no further try of the same request."""
    first = f"{case.wire}:{case.name}"
    if told.error is None:
        return _MOVED if told.model_id != first else None
    if isinstance(told.error, DeadlineExceeded):
        return _LATE
    if isinstance(told.error, StreamBroken) and case.mode == "streamed":
        return _BROKE
    tries = sum(attempt.model_id == first for attempt in told.attempts)
    if finding["code"] == "malformed_chunk_ignored" or (tries > 1 and finding["code"] != "gave_up"):
        return _TOLD
    if told.kinds[:1] == (K.QUOTA_EXHAUSTED.value,):
        return _NO_USE
    asked = max((record["retry_after"] or 0.0 for record in finding["records"]), default=0.0)
    return _NO_TIME if asked > case.fault.deadline else None
