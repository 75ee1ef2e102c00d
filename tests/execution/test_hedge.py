"""Hedging: the next candidate starts when the first is slower than usual, the first token wins, and the loser is let go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from oblix.errors import AttemptFailed, StreamBroken
from oblix.execution.hands import Hands
from oblix.execution.latency import Timing
from oblix.models.base import Call
from oblix.testing import Block, Cut, Fail, ScriptedModel, Wait, run
from oblix.types.chunk import Chunk, Progress
from oblix.types.messages import Tool
from oblix.types.request import Request

from .walking import ASKED, Walked, go

HEDGED = replace(ASKED, hedge=True)


def used(*models: ScriptedModel, usual: float = 1.0, asked: int = 100) -> Hands:
    """Hands that have learned how long these models usually take, and have seen enough requests to afford a hedge."""
    hands = Hands(chance=lambda: 0.5)
    for _ in range(asked):
        hands.health.asked(0.0)
        for model in models:
            hands.health.succeeded(model.spec, 0.0, Timing(usual, usual))
    return hands


def race(*models: ScriptedModel, asked: int = 100, **given: Any) -> Walked:
    return run(go(*models, hands=used(*models, asked=asked), **{"request": HEDGED, **given}))


def test_the_second_wins_when_the_first_is_slow() -> None:
    slow, quick = ScriptedModel("ollama:a", [Wait(60), "slow"]), ScriptedModel("openai:b", [Wait(0.5), "quick"])
    walked = race(slow, quick)
    assert walked.text == "quick"
    assert 1.0 <= quick.asked_at[0] < 1.3
    assert (slow.open, slow.left) == (0, 1)
    assert walked.journey.answered_by == "openai:b"
    outcomes = {attempt.model_id: (attempt.outcome, attempt.hedged) for attempt in walked.journey.attempts}
    assert outcomes == {"ollama:a": ("cancelled", False), "openai:b": ("ok", True)}
    assert "answered first" in " ".join(attempt.why or "" for attempt in walked.journey.attempts)


def test_the_first_wins_when_it_is_a_little_late() -> None:
    first, second = (
        ScriptedModel("ollama:a", [Wait(1.5), "fi", Wait(5), "rst"]),
        ScriptedModel("openai:b", [Wait(9), "no"]),
    )
    walked = race(first, second)
    assert walked.text == "first"
    assert (second.open, second.left) == (0, 1)
    assert [attempt.outcome for attempt in walked.journey.attempts] == ["cancelled", "ok"]


def test_who_is_as_quick_as_usual_runs_alone() -> None:
    second = ScriptedModel("openai:b")
    assert race(ScriptedModel("ollama:a", [Wait(0.9), "first"]), second).text == "first"
    assert second.requests == []


def test_who_thinks_is_at_work_and_not_late() -> None:
    second = ScriptedModel("openai:b")
    assert race(ScriptedModel("ollama:a", [Progress(), Wait(4), "thought"]), second).text == "thought"
    assert second.requests == []


def test_of_two_that_are_under_way_thinking_wins_nothing() -> None:
    thinking = ScriptedModel("ollama:a", [Wait(2), Progress(), Wait(6), "slow"])
    assert race(thinking, ScriptedModel("openai:b", [Wait(3), "quick"])).text == "quick"


@pytest.mark.parametrize(
    ("wish", "asked"),
    [({"hedge": False}, 100), ({"tools": (Tool("f"),)}, 100), ({}, 19)],
    ids=["not asked for", "tools", "more than every twentieth"],
)
def test_when_it_is_not_done(wish: dict[str, Any], asked: int) -> None:
    second = ScriptedModel("openai:b")
    walked = race(ScriptedModel("ollama:a", [Wait(8), "first"]), second, asked=asked, request=replace(HEDGED, **wish))
    assert walked.text == "first"
    assert second.requests == []


def test_a_model_that_must_be_loaded_is_no_hedge() -> None:
    walked = race(ScriptedModel("ollama:a", [Wait(8), "first"]), ScriptedModel("ollama:b", load_seconds=9))
    assert walked.text == "first"


def test_when_the_first_fails_the_second_goes_on() -> None:
    walked = race(ScriptedModel("ollama:a", [Wait(2), Fail("connect")]), ScriptedModel("openai:b", [Wait(4), "whole"]))
    assert walked.text == "whole"
    assert 5.0 <= walked.at < 5.3


def test_when_the_second_fails_the_first_goes_on() -> None:
    walked = race(ScriptedModel("ollama:a", [Wait(9), "whole"]), ScriptedModel("openai:b", [Fail("connect")]))
    assert (walked.text, walked.at) == ("whole", 9.0)


def test_when_both_fail_the_next_one_answers() -> None:
    plan = ScriptedModel("x:a", [Wait(3), Cut()]), ScriptedModel("x:b", [Wait(5), Cut()]), ScriptedModel("x:c", "third")
    walked = race(*plan)
    assert walked.text == "third"
    assert [kind for _, _, kind in walked.outcomes] == ["truncated", "truncated", None]


def test_a_winner_that_breaks_breaks_the_stream() -> None:
    walked = race(
        ScriptedModel("x:a", [Wait(60)]), ScriptedModel("x:b", ["half", Wait(1), Cut()]), ScriptedModel("x:c")
    )
    assert isinstance(walked.error, StreamBroken)
    assert walked.error.text == "half"
    assert isinstance(walked.error.cause, AttemptFailed)


def test_who_leaves_stops_both() -> None:
    models = ScriptedModel("x:a", [Wait(60)]), ScriptedModel("x:b", [Wait(60)])

    async def main() -> None:
        task = asyncio.create_task(go(*models, hands=used(*models), request=HEDGED))
        await asyncio.sleep(5)
        assert [model.open for model in models] == [1, 1]
        task.cancel()
        await asyncio.wait([task])
        assert [model.open for model in models] == [0, 0]

    run(main())


def test_a_deadline_stops_both() -> None:
    models = ScriptedModel("x:a", [Wait(60)]), ScriptedModel("x:b", [Wait(60)])
    walked = race(*models, deadline=8.0)
    assert walked.at <= 8.25
    assert [model.open for model in models] == [0, 0]


@pytest.mark.parametrize("asked", [0, 100], ids=["alone", "in a race"])
def test_a_reader_who_leaves_has_freed_the_model_when_aclose_returns(asked: int) -> None:
    model = ScriptedModel("x:a", ["a", "b", Block()])

    async def main() -> None:
        hands = used(model, asked=asked)
        walked = await go(model, ScriptedModel("x:b"), hands=hands, request=HEDGED, leave_after=1)
        assert (model.open, model.left) == (0, 1)
        assert [attempt.outcome for attempt in walked.journey.attempts] == ["cancelled"]

    run(main())


def test_a_model_that_cancels_itself_ends_no_race() -> None:
    walked = race(ScriptedModel("x:a", [Wait(2), asyncio.CancelledError()]), ScriptedModel("x:b", [Wait(3), "whole"]))
    assert walked.text == "whole"


def test_a_filter_is_final_though_a_hedge_is_under_way() -> None:
    walked = race(ScriptedModel("x:a", [Wait(2), Fail("content_filter")]), ScriptedModel("x:b", [Wait(4), "evaded"]))
    assert walked.text == ""
    assert walked.journey.end is None
    assert ("x:b", "cancelled", "cancelled") in walked.outcomes


def test_the_first_is_tried_again_when_it_and_its_hedge_failed() -> None:
    first = ScriptedModel("x:a", [Wait(2), Fail("overloaded")], "whole")
    walked = race(first, ScriptedModel("x:b", [Wait(3), Fail("auth")]))
    assert walked.text == "whole"


def test_a_model_that_is_being_loaded_is_not_hedged() -> None:
    cold, spare = ScriptedModel("ollama:a", "loaded", load_seconds=0.9), ScriptedModel("openai:b")
    hands = used(cold, spare, usual=0.001)
    assert run(go(cold, spare, hands=hands, request=HEDGED)).text == "loaded"
    assert spare.requests == []


def test_a_loser_that_clings_is_accounted_and_awaited() -> None:
    class Clinging(ScriptedModel):
        async def stream(self, request: Request, call: Call) -> AsyncGenerator[Chunk]:
            try:
                yield Progress()
                await asyncio.sleep(2.0)
            finally:
                for _ in range(30):
                    with suppress(asyncio.CancelledError):
                        await asyncio.sleep(1e6)

    async def main() -> None:
        slow, quick = ScriptedModel("x:a", [Wait(4), "late"]), Clinging("x:b")
        plan = (slow, quick)
        hands = used(*plan)
        walked = await go(*plan, hands=hands, request=HEDGED)
        assert walked.text == "late"
        assert {outcome for _, outcome, _ in walked.outcomes} == {"ok", "cancelled"}
        await hands.close()
        assert not hands.leftovers

    run(main())
