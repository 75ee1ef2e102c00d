"""A part of `make referees` for every test run: cases without long waits, and proof that the referee and the judge can object."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from oblix.errors import AllModelsFailed, DeadlineExceeded, FailureKind, StreamBroken
from oblix.types.attempt import Attempt
from oblix.types.messages import ToolCall

from . import processes
from .faults import Case, Fault, Mode, cases
from .grading import grade
from .judging import backs_off, judge, wrongs
from .playing import ANSWER, Grader, Played, Told

K = FailureKind
SLOW = ("stall", "quota", "chance", "slow", "hour")  # too long for every test run, or left to chance
ONCE = Fault("503 once", (), (K.OVERLOADED,))
SLOW_START = Fault("slow", (), (), moment="never")
IN_TEXT = Fault("truncate in text", (), (K.TRUNCATED,), moment="middle")


@pytest.fixture
def grader_is_here(require: Callable[[object, str], None]) -> None:
    """`llmock` lives in an environment of its own."""
    require(processes.llmock_missing() is None, processes.llmock_missing() or "")


@pytest.mark.peer
@pytest.mark.usefixtures("grader_is_here")
@pytest.mark.parametrize("mode", ["buffered", "streamed", "restarting"])
def test_llmock_has_nothing_to_object_to_where_another_model_is_there(mode: Mode, tmp_path: Path) -> None:
    chosen = [each for each in cases() if each.mode == mode and each.has_other and not _is_slow(each)]
    assert len(chosen) > 50
    assert [each for each in grade(chosen, tmp_path) if each.allowed is None] == []


@pytest.mark.peer
@pytest.mark.usefixtures("grader_is_here")
def test_a_fault_that_passes_is_outlived_without_another_model(tmp_path: Path) -> None:
    """The same model is asked again, after the pause that it asked for or one of our own."""
    chosen = [each for each in cases() if not (each.has_other or each.fault.lasting or _is_slow(each))]
    assert len(chosen) > 50
    assert [each for each in grade(chosen, tmp_path) if each.allowed is None] == []


@pytest.mark.peer
@pytest.mark.usefixtures("grader_is_here")
def test_what_no_retry_can_help_is_not_retried(tmp_path: Path) -> None:
    """A bad request, a refused key, a prompt that is too long: one request each, and the right error."""
    kinds = {K.BAD_REQUEST, K.AUTH, K.MODEL_MISSING, K.CONTEXT_OVERFLOW, K.QUOTA_EXHAUSTED}
    chosen = [each for each in cases() if not each.has_other and kinds & {*each.fault.kinds}]
    assert len(chosen) > 30
    assert [each for each in grade(chosen, tmp_path) if each.allowed is None] == []


@pytest.mark.peer
@pytest.mark.usefixtures("grader_is_here")
def test_llmock_objects_to_a_client_that_believes_everything() -> None:
    """The whistle works: a client that takes a cut stream for an answer, and retries at once, is told so."""

    async def believe(base: str) -> set[str]:
        async with processes.control() as session:
            grader = Grader(session, {"plain": base})
            cut = {"type": "stream_fault", "kind": "truncate", "after_chunks": 3, "match": {"model": "cut"}}
            busy = {"type": "fail", "status": 429, "retry_after": 5, "match": {"model": "busy"}}
            await grader.script("plain", [cut, busy])
            for model in ("cut", "busy", "busy"):
                body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
                async with session.post(f"{base}/v1/chat/completions", json=body) as answer:
                    await answer.read()
            return {finding["code"] for finding in await grader.findings("plain")}

    with processes.llmock() as base:
        assert asyncio.run(believe(base)) == {"truncated_stream_accepted", "retry_after_ignored"}


def _is_slow(case: Case) -> bool:
    return any(word in case.fault.name for word in SLOW)


# --- the judge ---


def case(fault: Fault = ONCE, *, mode: Mode = "buffered", has_other: bool = True) -> Case:
    return Case(7, "openai", mode, has_other, fault)


def whole(model: str = "claude:case-7-other", *kinds: str) -> Told:
    attempts = tuple(Attempt("openai:case-7", "cloud", "failed", kind=kind) for kind in kinds)
    return Told(text=ANSWER, finish_reason="stop", tokens=12, model_id=model, attempts=attempts)


def failed(error: Exception, *kinds: str, text: str = "") -> Told:
    attempts = tuple(Attempt("openai:case-7", "cloud", "failed", kind=kind) for kind in kinds)
    return Told(text=text, error=error, attempts=attempts)


def broken(kind: FailureKind) -> StreamBroken:
    error = StreamBroken("broke")
    error.kind = kind
    return error


ALL_FAILED = AllModelsFailed("no")
RIGHT: dict[str, tuple[Case, Told]] = {
    "moved on": (case(), whole("claude:case-7-other", "overloaded")),
    "tried again": (case(has_other=False), whole("openai:case-7", "overloaded")),
    "nothing left": (case(has_other=False), failed(ALL_FAILED, "overloaded")),
    "broke in text": (case(IN_TEXT, mode="streamed"), failed(broken(K.TRUNCATED), "truncated", text=ANSWER[:9])),
    "late": (case(replace(IN_TEXT, is_late=True)), failed(DeadlineExceeded("late"))),
}
WRONG: dict[str, tuple[Case, Told, str]] = {
    "cut": (case(), replace(whole("claude:x", "overloaded"), text=ANSWER[:-7]), "not the whole answer"),
    "said twice": (case(), replace(whole("claude:x", "overloaded"), text=ANSWER * 2), "not the whole answer"),
    "no proof": (case(), replace(whole("claude:x", "overloaded"), finish_reason="length"), "not the whole answer"),
    "no count": (case(), replace(whole("claude:x", "overloaded"), tokens=None), "not the whole answer"),
    "unnoticed": (case(), whole("openai:case-7"), "told as good"),
    "other kind": (case(), whole("claude:x", "auth"), "told as auth"),
    "a miracle": (case(replace(ONCE, lasting=True)), whole("openai:case-7", "overloaded"), "always fails"),
    "gave up": (case(), failed(ALL_FAILED, "overloaded"), "though an answer could be had"),
    "too weak": (case(SLOW_START, has_other=False), failed(ALL_FAILED), "though an answer could be had"),
    "foreign": (case(), failed(ValueError("raw")), "none of the errors"),
    "late for nothing": (case(), failed(DeadlineExceeded("late")), "late"),
    "too late": (case(replace(IN_TEXT, is_late=True), has_other=False), whole(), "before the deadline"),
    "broke before text": (case(mode="streamed"), failed(broken(K.OVERLOADED)), "no text had been delivered"),
    "did not restart": (case(IN_TEXT, mode="restarting"), failed(broken(K.TRUNCATED)), "could begin again"),
    "garbled": (case(IN_TEXT, mode="streamed"), failed(broken(K.TRUNCATED), text="two"), "not the beginning"),
    "half a call": (
        case(replace(ONCE, with_tool=True)),
        replace(whole("claude:x", "overloaded"), tool_calls=(ToolCall("c", "now", "{}"),)),
        "not the whole call",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("met", "told"), RIGHT.values(), ids=RIGHT)
def test_the_judge_has_nothing_against(met: Case, told: Told) -> None:
    assert wrongs(Played(met, [told])) == []


@pytest.mark.parametrize(("met", "told", "because"), WRONG.values(), ids=WRONG)
def test_the_judge_objects_to(met: Case, told: Told, because: str) -> None:
    (objection,) = wrongs(Played(met, [told]))
    assert because in objection.text
    assert objection.allowed is None


def finding(code: str, *records: dict[str, Any]) -> dict[str, Any]:
    shown = [{"retry_after": None, **record} for record in records or ({},)]
    return {"code": code, "title": "seen", "requests": [*range(len(shown))], "records": shown}


@pytest.mark.parametrize("code", ["retry_after_ignored", "retried_non_retryable", "retry_storm", "no_read_timeout"])
@pytest.mark.parametrize(("met", "told"), RIGHT.values(), ids=RIGHT)
def test_what_harms_a_server_is_never_excused(code: str, met: Case, told: Told) -> None:
    assert judge(Played(met, [told]), finding(code), with_backoff=True).allowed is None


@pytest.mark.parametrize("code", ["gave_up", "truncated_stream_accepted", "malformed_chunk_ignored"])
def test_moving_on_is_excused_and_named(code: str) -> None:
    found = judge(Played(case(), [whole("claude:case-7-other", "overloaded")]), finding(code), with_backoff=True)
    assert found.allowed is not None
    assert "moved on" in found.allowed


def test_a_break_is_excused_unless_the_caller_allowed_to_begin_again() -> None:
    told = [failed(broken(K.TRUNCATED), "truncated", text=ANSWER[:9])]
    assert (
        judge(Played(case(IN_TEXT, mode="streamed"), told), finding("gave_up"), with_backoff=True).allowed is not None
    )
    assert judge(Played(case(IN_TEXT, mode="restarting"), told), finding("gave_up"), with_backoff=True).allowed is None


def test_giving_up_alone_is_not_excused() -> None:
    played = Played(case(has_other=False), [failed(ALL_FAILED, "overloaded")])
    assert judge(played, finding("gave_up"), with_backoff=True).allowed is None


def test_waiting_longer_than_the_caller_gives_is_not_asked_for() -> None:
    played = Played(case(has_other=False), [failed(ALL_FAILED, "rate_limited")])
    assert judge(played, finding("gave_up", {"retry_after": 3600.0}), with_backoff=True).allowed is not None
    assert judge(played, finding("gave_up", {"retry_after": 1.0}), with_backoff=True).allowed is None


def journal(*pauses: tuple[float, ...], retry_after: float | None = None) -> list[dict[str, Any]]:
    """Calls whose tries have these pauses between them."""
    return [
        {"fingerprint": f"{number}", "started_at": at, "ended_at": at, "retry_after": retry_after}
        for number, waits in enumerate(pauses)
        for at in accumulate(waits, initial=0.0)
    ]


@pytest.mark.parametrize(
    ("records", "is_backoff"),
    [
        (journal((0.09, 0.02), (0.03, 0.19), (0.05,)), True),
        (journal((0.1, 0.1), (0.1, 0.1)), False),
        (journal((0.001, 0.002), (0.002, 0.001)), False),
        (journal((0.05, 0.1)), False),
        (journal((0.05,), (0.1,)), False),
        (journal((0.09, 0.02), (0.03, 0.19), retry_after=0.1), False),
        ([], False),
    ],
    ids=[
        "jitter",
        "constant",
        "none at all",
        "one call says nothing",
        "no second try",
        "as told by the peer",
        "no retry",
    ],
)
def test_jitter_is_told_from_no_backoff_by_all_calls_together(records: list[dict[str, Any]], is_backoff: bool) -> None:
    assert backs_off(records) is is_backoff
    played = Played(case(has_other=False), [failed(ALL_FAILED, "overloaded", "overloaded", "overloaded")])
    found = judge(played, finding("no_backoff"), with_backoff=is_backoff)
    assert (found.allowed is not None) is is_backoff
