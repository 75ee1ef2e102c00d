"""`on_break="continue"`: the text so far stands, and a model that can goes on from it; where none can, it says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from oblix.errors import FailureKind, StreamBroken
from oblix.testing import Cut, Fail, ScriptedModel, run
from oblix.types.chunk import End, Reset
from oblix.types.messages import ResponseFormat, Tool

from .walking import ASKED, go

CAN = frozenset({"prefill"})


def able(name: str, *scripts: Any) -> ScriptedModel:
    return ScriptedModel(name, *scripts, capabilities=CAN)


@pytest.mark.parametrize(("first", "second"), [("ollama:a", "openai:b"), ("openai:a", "ollama:b")])
def test_another_model_goes_on_from_the_text_so_far(first: str, second: str) -> None:
    other = able(second, ["an ", "answer"])
    walked = run(go(able(first, ["half ", Fail("timeout_idle")]), other, on_break="continue"))
    assert walked.text == "half an answer"
    assert other.said == ["half "]
    assert walked.journey.is_spliced
    assert not any(isinstance(piece, Reset) for piece in walked.pieces)
    assert isinstance(walked.pieces[-1], End)


def test_a_model_that_cannot_is_passed_over() -> None:
    cannot = ScriptedModel("openai:b", capabilities=frozenset())
    walked = run(go(able("ollama:a", ["half ", Cut()]), cannot, able("ollama:c", "more"), on_break="continue"))
    assert walked.text == "half more"
    assert cannot.requests == []


def test_before_the_first_token_any_model_may_answer() -> None:
    other = ScriptedModel("openai:b", capabilities=frozenset())
    assert run(go(able("ollama:a", [Cut()]), other, on_break="continue")).text == "ok"


def test_an_engine_that_crashed_goes_on_itself_when_nobody_else_can() -> None:
    model = able("embedded:a", ["half ", Fail("engine_crash")], ["more"])
    walked = run(go(model, ScriptedModel("openai:b", capabilities=frozenset()), on_break="continue"))
    assert walked.text == "half more"
    assert model.said == ["", "half "]


def test_a_second_break_goes_on_from_all_that_was_said() -> None:
    last = able("x:c", "three")
    plan = (able("x:a", ["one ", Cut()]), able("x:b", ["two ", Cut()]), last)
    assert run(go(*plan, on_break="continue")).text == "one two three"
    assert last.said == ["one two "]


def test_a_resumption_that_fails_at_once_loses_nothing() -> None:
    last = able("x:c", "more")
    walked = run(go(able("x:a", ["half ", Cut()]), able("x:b", [Fail("connect")]), last, on_break="continue"))
    assert walked.text == "half more"
    assert last.said == ["half "]


def test_where_nobody_can_it_is_refused_honestly() -> None:
    cannot = ScriptedModel("openai:b", capabilities=frozenset())
    walked = run(go(able("x:a", ["half ", Fail("protocol")]), cannot, on_break="continue"))
    assert isinstance(walked.error, StreamBroken)
    assert (walked.error.text, walked.error.kind) == ("half ", FailureKind.PROTOCOL)
    assert "go on from half an answer" in (walked.error.hint or "")
    assert cannot.requests == []


@pytest.mark.parametrize(
    ("wish", "word"),
    [
        ({"tools": (Tool("f"),)}, "tools"),
        ({"response_format": ResponseFormat("json_object")}, "grammar"),
        ({"logprobs": 2}, "log-probabilities"),
    ],
)
def test_what_cannot_be_gone_on_from_is_refused_honestly(wish: dict[str, Any], word: str) -> None:
    asked = replace(ASKED, **wish)
    walked = run(go(able("x:a", ["half ", Cut()]), able("x:b"), on_break="continue", request=asked))
    assert isinstance(walked.error, StreamBroken)
    assert word in (walked.error.hint or "")


def test_the_text_of_a_prompt_that_was_cut_is_no_beginning() -> None:
    spare = able("x:b")
    walked = run(go(able("x:a", ["wrong ", Fail("context_overflow", is_void=True)]), spare, on_break="continue"))
    assert isinstance(walked.error, StreamBroken)
    assert "whole prompt" in (walked.error.hint or "")
    assert spare.requests == []


def test_a_window_that_ran_out_is_gone_on_from_in_a_wider_one() -> None:
    narrow = able("x:a", ["half ", Fail("context_overflow", tokens=9001, window=8192)])
    assert run(go(narrow, able("x:b", "more"), on_break="continue")).text == "half more"
