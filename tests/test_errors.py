"""The family of errors: a message with its hint last, data in attributes, and nothing lost on the way to another process."""

from __future__ import annotations

import asyncio
import copy
import pickle
import re
import traceback
from collections.abc import Iterator

import pytest

import oblix.errors
from oblix.errors import (
    AllModelsFailed,
    AttemptFailed,
    BudgetExceeded,
    ConfigurationError,
    ContextOverflow,
    DeadlineExceeded,
    FailureKind,
    InvalidRequest,
    KeyMissing,
    NoRoute,
    OblixError,
    PrivacyViolation,
    StreamBroken,
    UnknownModel,
    Vetoed,
)
from oblix.types.attempt import Attempt
from oblix.types.decision import Candidate, Decision, Reason
from oblix.types.report import AgentReport

REASON = Reason("vote", "the machine is free")
DECISION = Decision(
    "01J",
    1.5,
    "balanced",
    ("ollama:phi",),
    (REASON,),
    (Candidate("ollama:phi", "edge", "chosen", REASON, score=1.0, terms={"vote": 3.0}),),
    checks={"mine": AgentReport(True, "available", "local", "free", metrics={"cpu_percent": 3.0})},
)
ATTEMPTS = (Attempt("ollama:phi", "edge", "failed", kind="connect", why="refused", hint="start it"),)


def family(kind: type[OblixError] = OblixError) -> Iterator[type[OblixError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from family(child)


KINDS = [kind for kind in family() if kind.__module__ == "oblix.errors"]


def made(kind: type[OblixError]) -> OblixError:
    """One with everything in it."""
    cause = ConnectionRefusedError(111, "Connection refused")
    if issubclass(kind, AttemptFailed):
        error: OblixError = AttemptFailed(
            FailureKind.CONTEXT_OVERFLOW, "It failed.", hint="Do this.", status=400, retry_after=2.5, cause=cause
        )
        error.tokens, error.window = 9, 5  # type: ignore[attr-defined]  # narrowed to the base by the annotation
    else:
        error = kind("It failed.", hint="Do this.", cause=cause)
    if isinstance(error, ContextOverflow):
        error.tokens, error.window = 9, 5
    if isinstance(error, StreamBroken):
        error.text, error.kind = "half an ans", FailureKind.TRUNCATED
    error.decision, error.attempts, error.request_id = DECISION, ATTEMPTS, "r1"
    return error


every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def test_the_tree_stands_in_the_docstring() -> None:
    """Each with one line, and none too many."""
    told = re.findall(r"[├└]── (\w+)", oblix.errors.__doc__ or "")
    assert sorted(told) == sorted(kind.__name__ for kind in KINDS if kind is not OblixError)


def test_codes_are_unique_and_stable() -> None:
    """Programs hold on to them."""
    assert {kind.__name__: kind.code for kind in KINDS} == {
        "OblixError": "OBX-ERROR",
        "InvalidRequest": "OBX-INVALID",
        "ConfigurationError": "OBX-CONFIG",
        "UnknownModel": "OBX-UNKNOWN-MODEL",
        "NoRoute": "OBX-NO-ROUTE",
        "Vetoed": "OBX-VETOED",
        "PrivacyViolation": "OBX-PRIVATE",
        "ContextOverflow": "OBX-CONTEXT",
        "BudgetExceeded": "OBX-BUDGET",
        "KeyMissing": "OBX-KEY",
        "AllModelsFailed": "OBX-ALL-FAILED",
        "DeadlineExceeded": "OBX-DEADLINE",
        "StreamBroken": "OBX-STREAM-BROKEN",
        "AttemptFailed": "OBX-ATTEMPT",
    }


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (OblixError, 1),
        (AllModelsFailed, 1),
        (DeadlineExceeded, 1),
        (StreamBroken, 1),
        (InvalidRequest, 2),
        (ConfigurationError, 2),
        (UnknownModel, 2),
        (NoRoute, 3),
        (Vetoed, 3),
        (PrivacyViolation, 3),
        (ContextOverflow, 3),
        (KeyMissing, 4),
        (BudgetExceeded, 5),
    ],
)
def test_exit_codes_are_the_contracts(kind: type[OblixError], code: int) -> None:
    assert kind.exit_code == code


def test_they_are_what_python_expects() -> None:
    assert issubclass(InvalidRequest, ValueError)
    assert issubclass(ConfigurationError, ValueError)
    assert issubclass(DeadlineExceeded, TimeoutError)


@every_kind
def test_the_hint_comes_last(kind: type[OblixError]) -> None:
    error = made(kind)
    assert str(error) == f"It failed. [{kind.code}]\nhint: Do this."
    error.hint = None
    assert str(error) == f"It failed. [{kind.code}]"
    last = traceback.format_exception_only(made(kind))[-1]
    assert last.endswith("hint: Do this.\n")


@every_kind
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_another_process_gets_all_of_it(kind: type[OblixError], protocol: int) -> None:
    """All but the foreign cause, which may not be picklable."""
    error = made(kind)
    error.add_note("seen in a worker")
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is kind
    assert str(again) == str(error)
    assert again.args == error.args == ("It failed.",)
    assert again.cause is None
    kept = {name: value for name, value in vars(error).items() if name != "cause"}
    assert {name: value for name, value in vars(again).items() if name != "cause"} == kept
    assert again.attempts == ATTEMPTS
    assert again.decision == DECISION
    assert again.__notes__ == ["seen in a worker"]


def test_a_cause_that_cannot_be_pickled_does_not_get_in_the_way() -> None:
    error = AttemptFailed(FailureKind.CONNECT, "It failed.", cause=OSError(lambda: None))
    again = pickle.loads(pickle.dumps(error))
    assert (again.kind, again.cause) == (FailureKind.CONNECT, None)


@every_kind
def test_a_copy_is_like_it(kind: type[OblixError]) -> None:
    error = made(kind)
    assert str(copy.copy(error)) == str(error)
    assert vars(copy.copy(error)).keys() == vars(error).keys()


def test_it_survives_a_task_and_a_group() -> None:
    async def fail() -> None:
        raise made(Vetoed)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())

    with pytest.raises(ExceptionGroup) as failed:
        asyncio.run(main())
    (error,) = failed.value.exceptions
    assert isinstance(error, Vetoed)
    assert error.hint == "Do this."


def test_failure_kinds_are_their_words() -> None:
    """They stand in records and in `Attempt.kind`."""
    for kind in FailureKind:
        assert kind.value == kind.name.lower()
        assert FailureKind(kind.value) is kind


def test_defaults() -> None:
    error = OblixError("It failed.")
    assert (error.hint, error.decision, error.attempts, error.request_id, error.cause) == (None, None, (), None, None)
    assert (ContextOverflow("x").tokens, StreamBroken("x").text) == (None, "")
    attempt = AttemptFailed(FailureKind.AUTH, "x")
    assert (attempt.status, attempt.retry_after, attempt.tokens, attempt.window) == (None, None, None, None)
