"""The nouns: frozen, read as objects and as mappings, ready for JSON and for another process."""

from __future__ import annotations

import dataclasses
import json
import pickle
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.types.attempt import Attempt
from oblix.types.chunk import Delta, End, Usage
from oblix.types.decision import Candidate, Decision, Reason
from oblix.types.ids import ModelType, record_id, split_model_id
from oblix.types.messages import Image, Message, Text, ToolCall
from oblix.types.reply import Reply
from oblix.types.report import TARGETS, AgentReport
from oblix.types.request import Request
from oblix.types.spec import FREE, ModelSpec, Price

REASON = Reason("tier", "the first tier will do")
CANDIDATES = (
    Candidate("ollama:phi", "edge", "chosen", REASON, score=1.5, terms={"edge": 0.25}),
    Candidate("openai:gpt-4", "cloud", "rejected", Reason("key_missing", "it has no key"), tier=2),
)
REPORT = AgentReport(True, "available", "local", "free", metrics={"cpu_percent": 3.0})
DECISION = Decision(
    "01J", 1.5, "balanced", ("ollama:phi",), (REASON,), CANDIDATES, checks={"resource_monitor": REPORT}, complexity=0.2
)
REPLY = Reply(
    "r1",
    "ollama:phi",
    "Paris.",
    {"total_latency": 0.5, "cost_usd": None},
    {"resource_monitor": REPORT},
    DECISION,
    (Attempt("openai:gpt-4", "cloud", "failed", kind="auth", why="key refused"), Attempt("ollama:phi", "edge", "ok")),
    tool_calls=(ToolCall("c1", "now", "{}"),),
)
VALUES: list[Any] = [
    REASON,
    CANDIDATES[0],
    DECISION,
    REPORT,
    REPLY,
    Attempt("a:b", "edge", "ok"),
    Usage(1, 2),
    End("stop"),
    Text("x"),
    Image("image/png", "AA"),
    Message("user", "x"),
    Request("r", (Message("user", "x"),)),
    ModelSpec("a:b", "a", "b", "edge"),
    Price(1.0, 2.0, "caller"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_are_frozen_and_travel(value: Any) -> None:
    field = (value.__struct_fields__ if isinstance(value, msgspec.Struct) else [dataclasses.fields(value)[0].name])[0]
    with pytest.raises(AttributeError):
        setattr(value, field, "changed")
    assert pickle.loads(pickle.dumps(value)) == value
    assert not hasattr(value, "__dict__")


TOLD = [REASON, CANDIDATES[0], DECISION, REPORT, REPLY, REPLY.attempts[0]]


@pytest.mark.parametrize("value", TOLD, ids=lambda value: type(value).__name__)
def test_what_is_told_is_ready_for_json(value: Any) -> None:
    told = json.loads(json.dumps(value.to_dict()))
    assert told.keys() == value.to_dict().keys()


def test_a_delta_is_light() -> None:
    delta = Delta("a")
    delta.text = "b"
    assert delta == Delta("b")


# Names


@pytest.mark.parametrize(
    ("model_id", "parts"),
    [
        ("ollama:llama2", ("ollama", "llama2")),
        ("ollama:llama2:latest", ("ollama", "llama2:latest")),
        ("openai:ft:gpt-4:me", ("openai", "ft:gpt-4:me")),
        ("llama2", ("", "llama2")),
        (":llama2", ("", "llama2")),
        ("ollama:", ("ollama", "")),
        ("", ("", "")),
    ],
)
def test_a_model_id_is_split_at_the_first_colon(model_id: str, parts: tuple[str, str]) -> None:
    assert split_model_id(model_id) == parts


def test_model_types_are_texts() -> None:
    assert [str(kind) for kind in ModelType] == ["ollama", "openai", "claude", "embedded"]
    assert ModelType("ollama") is ModelType.OLLAMA


SECONDS = st.floats(0, 2**48 / 1000 - 1)
BITS = st.integers(0, 2**80 - 1)


@given(SECONDS, BITS, SECONDS, BITS)
def test_record_ids_sort_by_time(at: float, bits: int, later: float, other: int) -> None:
    first, second = record_id(at, bits), record_id(later, other)
    assert len(first) == 26
    assert first.isalnum()
    assert first.isupper() or first.isdigit()
    order = (int(at * 1000), bits), (int(later * 1000), other)
    assert (first < second) is (order[0] < order[1])
    assert (first == second) is (order[0] == order[1])


def test_a_record_id_by_hand() -> None:
    assert record_id(0.0, 0) == "0" * 26
    assert record_id(0.001, 1) == "0000000001" + "0000000000000001"
    assert record_id(0.0, 2**80 - 1) == "0" * 10 + "Z" * 16
    assert record_id(-1.0, 2**100) == record_id((2**48 - 1000) / 1000, 0)


# Reports


def test_a_report_is_object_and_mapping() -> None:
    assert REPORT.state == REPORT["state"] == "available"
    assert dict(REPORT) == {
        "proceed": True,
        "state": "available",
        "target": "local",
        "reason": "free",
        "metrics": {"cpu_percent": 3.0},
        "lean": None,
        "stale": False,
        "sparing": False,
    }
    assert len(REPORT) == 8
    with pytest.raises(KeyError):
        REPORT["vote"]


@pytest.mark.parametrize(
    ("target", "vote"),
    [("local", "edge"), ("local_cpu", "edge"), ("local_gpu", "edge"), ("cloud", "cloud"), ("hybrid", None)],
)
def test_targets_are_votes(target: Any, vote: str | None) -> None:
    assert AgentReport(target=target).vote == vote
    assert target in TARGETS


@pytest.mark.parametrize(
    "found",
    [
        {"proceed": True},
        {"proceed": False, "reason": "over budget"},
        {"target": "cloud"},
        {"target": None, "state": "ok"},
        {"state": ModelType.OLLAMA, "target": "local"},
        {"metrics": {"x": 1}, "something": "else"},
        {"reason": None, "state": "x"},
    ],
)
def test_a_dict_is_a_report(found: dict[str, Any]) -> None:
    report = AgentReport.parse(found)
    assert report.proceed is found.get("proceed", True)
    assert report.target == (found.get("target") or "hybrid")
    assert report.reason == (found.get("reason") or "")
    assert report.metrics == found.get("metrics", {})
    assert isinstance(report.state, str)
    assert AgentReport.parse(report) == report


def test_a_report_that_was_told_is_read_again() -> None:
    """What `to_dict` gives, `parse` takes."""
    report = AgentReport(True, "degraded", "hybrid", "slow", metrics={"latency_ms": 300.0}, lean="edge", stale=True)
    assert AgentReport.parse(report.to_dict()) == report
    assert AgentReport.parse(REPORT.to_dict()) == REPORT


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "NoneType"),
        (True, "bool"),
        ("cloud", "str"),
        ([("proceed", True)], "list"),
        ({}, "none of the keys"),
        ({"procede": True}, "none of the keys"),
        ({"proceed": "no"}, "'proceed'"),
        ({"proceed": 0}, "'proceed'"),
        ({"proceed": None}, "'proceed'"),
        ({"target": "edge"}, "'target'"),
        ({"target": ["cloud"]}, "'target'"),
        ({"target": 5}, "'target'"),
        ({"metrics": [1]}, "'metrics'"),
        ({"proceed": True, "metrics": None}, "'metrics'"),
        ({"target": "hybrid", "lean": "local"}, "'lean'"),
        ({"stale": "very"}, "'stale'"),
    ],
    ids=repr,
)
def test_junk_is_no_report(found: object, said: str) -> None:
    """`proceed="no"` must not become a yes."""
    with pytest.raises(ValueError, match=said):
        AgentReport.parse(found)


# Replies and decisions


def test_a_reply_is_object_mapping_and_text() -> None:
    assert REPLY["response"] == REPLY.response == str(REPLY) == "Paris."
    assert set(REPLY) == {
        "request_id",
        "model_id",
        "response",
        "metrics",
        "agent_checks",
        "decision",
        "attempts",
        "session_id",
        "finish_reason",
        "tool_calls",
    }
    assert len(REPLY) == 10
    assert {**REPLY}["model_id"] == "ollama:phi"
    with pytest.raises(KeyError):
        REPLY["nothing"]
    assert set(REPLY.to_dict()) == set(REPLY)
    assert REPLY.to_dict()["tool_calls"] == [{"id": "c1", "name": "now", "arguments": "{}"}]


def test_a_reply_says_why() -> None:
    assert REPLY.why() == "openai:gpt-4 failed (key refused); so ollama:phi answered"
    assert dataclasses.replace(REPLY, attempts=()).why() == "the first tier will do"


def test_a_decision_knows_what_was_chosen() -> None:
    assert (DECISION.chosen, DECISION.place, DECISION.why()) == ("ollama:phi", "edge", "the first tier will do")
    empty = msgspec.structs.replace(DECISION, plan=(), candidates=CANDIDATES[1:])
    assert (empty.chosen, empty.place) == (None, None)


# Messages


def test_a_message_gives_its_text_and_its_images() -> None:
    image = Image("image/png", "AA")
    message = Message("user", (Text("one"), image, Text("two")))
    assert (message.text, message.images) == ("one\ntwo", (image,))
    assert (Message("user", "x").text, Message("user", "x").images) == ("x", ())
    assert Message("assistant").text == ""


def test_the_prompt_is_the_last_thing_the_user_said() -> None:
    asked = (Message("user", "one"), Message("assistant", "two"), Message("user", "three"), Message("tool", "four"))
    assert Request("r", asked).prompt == "three"
    assert Request("r", (Message("system", "only"),)).prompt == "only"
    assert Request("r", (Message("user", (Text("?"), Image(url="u"))),)).has_images


def test_a_price_counts_per_million() -> None:
    assert Price(3.0, 15.0, "caller").cost(1000, 200) == pytest.approx(0.006)
    assert FREE.cost(10**9, 10**9) == 0.0
