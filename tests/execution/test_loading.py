"""Cold starts: one load for all, never taken for a failure, and somebody else answers meanwhile where that is allowed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from oblix.execution.loading import BRIDGE_AFTER
from oblix.testing import Fail, ScriptedModel, run

from .walking import ASKED, Walked, go, journey, start


def cold(name: str = "ollama:a", seconds: float = 30.0, *scripts: Any) -> ScriptedModel:
    return ScriptedModel(name, *(scripts or ("late",)), load_seconds=seconds)


def test_another_model_answers_while_one_loads() -> None:
    loading = cold()
    walked = run(go(loading, ScriptedModel("openai:b")))
    assert (walked.text, walked.at) == ("ok", BRIDGE_AFTER)
    assert walked.outcomes == [("ollama:a", "postponed", None), ("openai:b", "ok", None)]
    assert "is being loaded" in (walked.journey.attempts[0].why or "")
    assert loading.loads == 1


def test_a_quick_load_is_waited_for() -> None:
    walked = run(go(cold(seconds=0.4), ScriptedModel("openai:b")))
    assert (walked.text, walked.at) == ("late", 0.4)
    assert walked.journey.attempts[0].load == 0.4


def test_a_load_goes_on_when_its_caller_was_answered_elsewhere() -> None:
    async def main() -> tuple[Walked, Walked]:
        plan = cold(), ScriptedModel("openai:b")
        first = await go(*plan)
        await asyncio.sleep(60)
        return first, await go(*plan)

    first, second = run(main())
    assert (first.text, second.text) == ("ok", "late")


@pytest.mark.parametrize(
    "others",
    [(), (cold("vllm:b"),), (ScriptedModel("openai:b", [Fail("connect")]),)],
    ids=["alone", "both cold", "the other one fails"],
)
def test_who_has_nobody_else_waits(others: tuple[ScriptedModel, ...]) -> None:
    walked = run(go(cold(), *others))
    assert (walked.text, walked.at) == ("late", 30.0)
    assert walked.outcomes[-1] == ("ollama:a", "ok", None)


def test_who_asked_to_wait_waits() -> None:
    spare = ScriptedModel("openai:b")
    walked = run(go(cold(), spare, request=replace(ASKED, warm="wait")))
    assert (walked.text, walked.at, spare.requests) == ("late", 30.0, [])


def test_a_policy_that_stays_at_home_waits_rather_than_going_out() -> None:
    async def main() -> str:
        way, spare = journey(), ScriptedModel("openai:b")
        way.bridges = frozenset({"edge"})
        async for _ in start((cold(), spare), way):
            pass
        return "".join(way.text)

    assert run(main()) == "late"


def test_a_load_longer_than_a_first_token_may_take_is_no_failure() -> None:
    """An idle limit or a first-token limit would call this a hung model."""
    walked = run(go(cold("openai:a", 59.0)))
    assert walked.outcomes == [("openai:a", "ok", None)]


def test_a_load_that_never_ends_fails_as_a_load() -> None:
    walked = run(go(cold("openai:a", 1e6)))
    assert walked.outcomes[0] == ("openai:a", "failed", "timeout_load")


def test_a_hundred_callers_share_one_load() -> None:
    async def main() -> list[Walked]:
        return await asyncio.gather(*(go(model) for _ in range(100)))

    model = cold()
    assert {walked.text for walked in run(main())} == {"late"}
    assert model.loads == 1
