"""More than one try on the same model: only when nobody else is left, only for what may pass, and never without a pause."""

from __future__ import annotations

import pytest

from oblix.errors import FailureKind
from oblix.execution.hands import Hands
from oblix.execution.run import MAX_RETRIES, MAX_WAIT
from oblix.testing import Cut, Fail, ScriptedModel, Wait, run
from oblix.types.chunk import Delta, Progress, Reset
from oblix.types.failure import TREATMENTS

from .walking import go

PASSING = [kind for kind, row in TREATMENTS.items() if row.retries_here]
LASTING = [kind for kind, row in TREATMENTS.items() if not row.retries_here and kind is not FailureKind.TIMEOUT_TOTAL]


@pytest.mark.parametrize("kind", PASSING)
def test_what_may_pass_is_tried_again_when_nobody_else_is_left(kind: FailureKind) -> None:
    model = ScriptedModel("openai:a", [Fail(kind)], "whole")
    walked = run(go(model))
    assert walked.text == "whole"
    assert [outcome for _, outcome, _ in walked.outcomes] == ["failed", "ok"]
    assert model.asked_at[1] > 0.0, "it was asked again without a pause"


@pytest.mark.parametrize("kind", LASTING)
def test_what_does_not_pass_is_not_tried_again(kind: FailureKind) -> None:
    model = ScriptedModel("openai:a", [Fail(kind)], "whole")
    run(go(model))
    assert len(model.requests) == 1


def test_the_next_candidate_is_asked_at_once() -> None:
    first, second = ScriptedModel("openai:a", [Fail("overloaded", retry_after=5.0)], "no"), ScriptedModel("openai:b")
    walked = run(go(first, second))
    assert (walked.text, walked.at, len(first.requests)) == ("ok", 0.0, 1)


def test_no_more_than_two_tries_are_added() -> None:
    models = ScriptedModel("openai:a", [Fail("overloaded")]), ScriptedModel("openai:b", [Fail("overloaded")])
    run(go(*models))
    assert sum(len(model.requests) for model in models) == 2 + MAX_RETRIES


def test_a_pause_that_the_peer_asked_for_is_kept_to_the_second() -> None:
    model = ScriptedModel("openai:a", [Fail("rate_limited", retry_after=7.0)], "whole")
    assert run(go(model)).text == "whole"
    assert model.asked_at[0] == 0.0
    assert 7.0 < model.asked_at[1] <= 7.1


@pytest.mark.parametrize("pause", [0.0, 1e-9])
def test_even_a_peer_that_asks_for_no_pause_gets_one(pause: float) -> None:
    model = ScriptedModel("openai:a", [Fail("rate_limited", retry_after=pause)])
    run(go(model))
    assert [round(at, 3) for at in model.asked_at] == [0.0, 0.075, 0.225]


def test_where_the_budget_of_one_is_empty_the_other_one_is_tried_again() -> None:
    hands, ill = Hands(chance=lambda: 0.0), ScriptedModel("openai:ill", [Fail("overloaded", retry_after=0.1)])
    well = ScriptedModel("openai:well", [Fail("overloaded", retry_after=1.0)], "whole")
    for _ in range(6):
        hands.health.failed(ill.spec, FailureKind.OVERLOADED, "busy", 0.0)
    assert run(go(ill, well, hands=hands)).text == "whole"


def test_of_two_that_ask_for_a_pause_the_shorter_one_is_waited_for() -> None:
    slow = ScriptedModel("openai:a", [Fail("rate_limited", retry_after=9.0)], "slow")
    quick = ScriptedModel("openai:b", [Fail("rate_limited", retry_after=2.0)], "quick")
    walked = run(go(slow, quick))
    assert walked.text == "quick"
    assert 2.0 < walked.at <= 2.1


@pytest.mark.parametrize(
    ("pause", "deadline"), [(MAX_WAIT + 1, None), (7.0, 7.0)], ids=["too long", "past the deadline"]
)
def test_a_pause_that_does_not_fit_ends_the_call_at_once(pause: float, deadline: float | None) -> None:
    model = ScriptedModel("openai:a", [Fail("rate_limited", retry_after=pause)], "whole")
    walked = run(go(model, deadline=deadline))
    assert (walked.at, len(model.requests)) == (0.0, 1)


def test_a_buffered_answer_that_broke_is_begun_again_on_the_same_model() -> None:
    walked = run(go(ScriptedModel("ollama:a", ["half ", Cut()], ["the ", "whole"]), on_break="unseen"))
    assert [type(piece) for piece in walked.pieces[:2]] == [Delta, Reset]
    assert "".join(walked.journey.text) == "the whole"


def test_a_prompt_that_does_not_fit_goes_to_a_wider_window_only() -> None:
    overflow = Fail("context_overflow", tokens=5000, window=4096)
    narrow = ScriptedModel("x:narrow", "no", window=2048)
    models = ScriptedModel("x:a", [overflow], window=4096), narrow, ScriptedModel("x:wide", "yes", window=8192)
    assert run(go(*models)).text == "yes"
    assert narrow.requests == []


def test_a_share_of_the_deadline_is_kept_for_the_next_candidate() -> None:
    walked = run(go(ScriptedModel("openai:a", [Wait(1000)]), ScriptedModel("openai:b", [Wait(2), "ok"]), deadline=10.0))
    assert (walked.text, walked.at) == ("ok", 7.0)
    assert walked.journey.attempts[0].kind == "timeout_first_token"
    assert "share of the time" in (walked.journey.attempts[0].why or "")


def test_who_is_seen_at_work_keeps_its_time() -> None:
    """A share is kept for the next candidate from those that are silent, not from those that think."""
    thinking = ScriptedModel("openai:a", [*[step for _ in range(8) for step in (Wait(2.0), Progress())], "thought"])
    walked = run(go(thinking, ScriptedModel("openai:b", [Wait(1000)]), deadline=20.0))
    assert walked.text == "thought"


def test_whom_the_prompt_does_not_fit_is_told_of() -> None:
    models = (
        ScriptedModel("x:a", [Fail("context_overflow", tokens=5000, window=4096)]),
        ScriptedModel("x:b", window=2048),
    )
    (_, narrow) = run(go(*models)).journey.attempts
    assert (narrow.model_id, narrow.outcome) == ("x:b", "postponed")
    assert "5,000 tokens do not fit its window of 2,048" in (narrow.why or "")
