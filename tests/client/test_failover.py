"""What a caller sees of failover: poison prompts, cold starts, hedges, streams that go on, deadlines, and what attempts cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import pytest

from oblix import AgentReport, AllModelsFailed, DeadlineExceeded, FailureKind, NoRoute, StreamBroken
from oblix.errors import AttemptFailed
from oblix.models.base import Call
from oblix.testing import Block, Cut, Fail, ScriptedModel, Wait, run
from oblix.types.attempt import Attempt
from oblix.types.chunk import Chunk, Delta, End, Progress
from oblix.types.request import Request

from .hooked import PAID, Says, client_with, cloud, edge, now

HARD = "Analyze and compare the quantum cryptography algorithms in depth."
CRASH = Fail("engine_crash", "it crashed")


def test_a_prompt_that_crashed_an_engine_twice_is_not_given_to_it_again() -> None:
    async def main() -> None:
        engine = edge([CRASH])
        client = client_with(engine, cloud())
        for _ in range(4):
            assert (await client.execute("poison")).model_id == "openai:gpt"
            await asyncio.sleep(60.0)
        assert len(engine.requests) == 2
        decision = await client.route("poison")
        excluded = next(each for each in decision.candidates if each.verdict == "rejected")
        assert (excluded.model_id, excluded.reason.code) == ("ollama:phi", "quarantine")
        assert (await client.route("something else")).chosen == "ollama:phi"

    run(main())


def test_a_poison_prompt_that_nobody_else_may_have_is_refused_with_the_reason() -> None:
    async def main() -> None:
        engine = edge([CRASH])
        client = client_with(engine)
        with pytest.raises(AllModelsFailed):  # it was tried, and once more when nobody else was left
            await client.execute("poison")
        assert len(engine.requests) == 2
        with pytest.raises(NoRoute, match="crashed its engine twice") as failed:
            await client.execute("poison")
        assert failed.value.hint == "Change the prompt, or hook another model for it."

    run(main())


def test_an_engine_that_died_before_it_saw_the_prompt_did_not_die_of_it() -> None:
    async def main() -> None:
        engine = edge([Fail("engine_crash", "it died while loading", certainty="not_sent")])
        client = client_with(engine, cloud())
        for _ in range(4):
            await client.execute("innocent")
            await asyncio.sleep(60.0)
        assert len(engine.requests) == 4

    run(main())


def test_an_answer_wipes_the_suspicion() -> None:
    async def main() -> None:
        engine = edge([CRASH], "well", [CRASH], "well")
        client = client_with(engine, cloud())
        for _ in range(4):
            await client.execute("innocent")
        assert len(engine.requests) == 4

    run(main())


def test_while_a_model_loads_another_one_answers_and_then_it_does() -> None:
    async def main() -> None:
        cold = edge("at home", load_seconds=20.0)
        client = client_with(cold, cloud("meanwhile"))
        assert (await client.execute("hi")).response == "meanwhile"
        await asyncio.sleep(20.0)
        assert (await client.execute("hi")).response == "at home"
        assert cold.loads == 1

    run(main())


def test_a_private_prompt_waits_for_its_model() -> None:
    async def main() -> None:
        spare = cloud()
        reply = await client_with(edge("at home", load_seconds=20.0), spare).execute("hi", private=True)
        assert (reply.response, now(), spare.requests) == ("at home", 20.0, [])
        assert reply.attempts[0].load == 20.0

    run(main())


def test_a_long_load_is_said_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        await client_with(edge(load_seconds=0.9)).execute("hi")
        assert not caplog.messages
        await client_with(edge(load_seconds=20.0)).execute("hi")

    with caplog.at_level("INFO", "oblix.execution"):
        run(main())
    assert caplog.messages == ["ollama:phi is being loaded"]


def test_offline_first_waits_rather_than_going_out() -> None:
    async def main() -> None:
        client = client_with(edge("at home", load_seconds=20.0), cloud(), policy="offline_first")
        assert (await client.execute("hi")).response == "at home"

    run(main())


def test_whoever_leaves_leaves_the_load_alone() -> None:
    async def main() -> None:
        cold = edge("at home", load_seconds=20.0)
        client = client_with(cold)
        with pytest.raises(DeadlineExceeded, match="still being loaded"):
            await client.execute("hi", deadline=5.0)
        assert now() == 5.0
        assert (await client.execute("hi")).response == "at home"
        assert (now(), cold.loads) == (20.0, 1)

    run(main())


def test_hedges_are_at_most_every_twentieth_request() -> None:
    async def main() -> int:
        slow, quick = edge(*["at once"] * 30, [Wait(4.0), "late"]), cloud("quick")
        client = client_with(slow, quick)
        for _ in range(230):
            await client.execute("hi", hedge=True)
        return len(quick.requests)

    assert 1 <= run(main()) <= 230 // 20


def test_a_hedge_is_told_and_its_loser_is_accounted() -> None:
    async def main() -> None:
        quick = edge(*["at once"] * 30, [Wait(4.0), "late"])
        client = client_with(quick, cloud("quick"))
        for _ in range(30):
            await client.execute("hi", hedge=True)
        reply = await client.execute("hi", hedge=True)
        assert reply.model_id == "openai:gpt"
        assert {(each.model_id, each.outcome, each.hedged) for each in reply.attempts} == {
            ("ollama:phi", "cancelled", False),
            ("openai:gpt", "ok", True),
        }
        assert all(each.cost_usd is not None for each in reply.attempts)

    run(main())


@pytest.mark.parametrize("first", ["edge", "cloud"])
def test_a_stream_goes_on_where_it_broke_off_in_both_directions(first: str) -> None:
    can = frozenset({"prefill"})

    async def main() -> str:
        broken, other = ["Once upon ", Cut()], "a time"
        home = edge(broken if first == "edge" else other, capabilities=can)
        away = cloud(broken if first == "cloud" else other, capabilities=can)
        client = client_with(home, away)
        wanted = home if first == "edge" else away
        async with client.stream("hi", model_id=wanted.spec.id, fallback=True, on_break="continue") as s:
            text = "".join([str(piece) async for piece in s])
            reply = await s.reply()
        assert reply.response == text
        assert set(reply.metrics["estimated"]) == {"input_tokens", "output_tokens"}
        return text

    assert run(main()) == "Once upon a time"


def test_a_stream_that_cannot_go_on_says_so_and_keeps_its_text() -> None:
    async def main() -> None:
        async with client_with(edge(["half", Fail("protocol")]), cloud()).stream("hi", on_break="continue") as s:
            with pytest.raises(StreamBroken, match="broke off") as failed:
                await s.reply()
        assert failed.value.text == "half"
        assert "prefill" in (failed.value.hint or "")

    run(main())


@pytest.mark.parametrize("deadline", [0.5, 3.0, 40.0])
def test_a_deadline_is_never_passed_by_more_than_a_quarter_of_a_second(deadline: float) -> None:
    """Whatever the models do: silent, slow, or hard to get rid of."""

    class Clinging(ScriptedModel):
        async def stream(self, request: Request, call: Call) -> AsyncGenerator[Chunk]:
            try:
                yield Delta("")
                await asyncio.sleep(1e6)
            finally:
                await asyncio.sleep(1e6)

    async def main() -> None:
        models = Clinging("ollama:a"), edge([Block()], name="vllm:b"), Clinging("openai:c"), cloud([Wait(1e5)])
        with pytest.raises(DeadlineExceeded):
            await client_with(*models).execute("hi", deadline=deadline)
        assert now() <= deadline + 0.25

    run(main())


def test_what_may_have_been_billed_is_told_of_every_attempt() -> None:
    async def main() -> None:
        refused = cloud([Fail("connect")], name="openai:refused")
        cut = cloud(["a half ", "answer", Cut()], name="openai:cut")
        client = client_with(refused, cut, cloud("whole", name="openai:whole"), policy="cheapest")
        reply = await client.execute("hi there")
        costs = {each.model_id: each.cost_usd for each in reply.attempts}
        assert costs["openai:refused"] == 0.0
        assert (costs["openai:cut"] or 0.0) >= PAID.cost(2, 2)
        assert reply.metrics["cost_usd"] == sum(cost or 0.0 for cost in costs.values())
        certain = {each.model_id: each.certainty for each in reply.attempts}
        assert certain == {
            "openai:refused": "not_sent",
            "openai:cut": "response_started",
            "openai:whole": "response_started",
        }

    run(main())


def test_a_prompt_that_became_poison_after_its_decision_is_not_sent_to_the_engine() -> None:
    async def main() -> None:
        engine = edge([Wait(3.0), CRASH], name="vllm:engine")
        slow = cloud([Wait(5.0), Fail("protocol")], name="openai:slow")
        client = client_with(engine, slow)
        first = [client.execute("poison", model_id="vllm:engine") for _ in range(2)]
        late = client.execute("poison", model_id="openai:slow", fallback=True)
        found = await asyncio.gather(*first, late, return_exceptions=True)
        assert len(engine.requests) == 3, "two at once in the first crash, one in the second"
        assert "crashed its engine" in str(found[-1])

    run(main())


def test_thoughts_are_billed_like_tokens_when_an_attempt_fails() -> None:
    async def main() -> None:
        thinking = cloud([*[Progress()] * 1000, Fail("server_error")], name="openai:thinks")
        reply = await client_with(thinking, edge("whole")).execute(HARD, model_id="openai:thinks", fallback=True)
        assert (reply.attempts[0].cost_usd or 0.0) >= PAID.cost(0, 1000)

    run(main())


def test_who_leaves_during_a_load_has_sent_nothing() -> None:
    async def main() -> None:
        client = client_with(model := cloud(load_seconds=30.0))
        seen: list[Attempt] = []
        client._hall.panel.notice = seen.append  # type: ignore[method-assign,assignment]
        task = asyncio.create_task(client.execute("hi"))
        await asyncio.sleep(5.0)
        task.cancel()
        await asyncio.wait([task])
        assert model.requests == []
        assert [(each.outcome, each.certainty, each.cost_usd) for each in seen] == [("cancelled", "not_sent", 0.0)]

    run(main())


def test_a_deadline_that_passes_while_the_agents_are_asked_is_written_down(tmp_path: Path) -> None:
    """The decision may be in the log by then; its outcome is as well, and the error tells of it."""

    async def main() -> None:
        client = client_with(edge(), store=tmp_path / "oblix.db")
        await client.execute("hi")
        decided = client._hall.recorder.decided

        async def late(*given: Any, **also: Any) -> None:
            await decided(*given, **also)
            await asyncio.sleep(10.0)

        client._hall.recorder.decided = late  # type: ignore[method-assign,assignment]
        with pytest.raises(DeadlineExceeded) as failed:
            await client.execute("hi", request_id="r1", deadline=2.0)
        assert (failed.value.request_id, failed.value.decision is not None) == ("r1", True)
        assert "chosen" in await client.explain("r1")
        found = await client._hall.recorder.find("r1")
        assert found is not None
        assert found[1] is not None
        assert found[1]["error"]["code"] == "OBX-DEADLINE"

    run(main())


def test_a_deadline_before_the_decision_still_names_its_request() -> None:
    class Slow(Says):
        async def check(self, **kwargs: Any) -> Mapping[str, Any] | AgentReport:
            await asyncio.sleep(0.09)
            return self.found

    async def main() -> None:
        client = client_with(edge())
        client.hook_agent(Slow("slow", {"state": "fine"}))
        with pytest.raises(DeadlineExceeded) as failed:
            await client.execute("hi", request_id="r1", deadline=0.05)
        assert (failed.value.request_id, failed.value.decision) == ("r1", None)

    run(main())


def test_offline_first_hedges_at_home_only() -> None:
    async def main() -> None:
        slow, away = edge(*["at once"] * 30, [Wait(4.0), "late"]), cloud("quick")
        client = client_with(slow, away, policy="offline_first")
        for _ in range(31):
            assert (await client.execute("hi", hedge=True)).model_id == "ollama:phi"
        assert away.requests == []

    run(main())


def test_offline_first_waits_for_a_load_when_the_others_at_home_fail() -> None:
    async def main() -> None:
        busy = edge([Fail("overloaded")], name="vllm:b")
        client = client_with(edge("at home", load_seconds=20.0), busy, cloud(), policy="offline_first")
        assert (await client.execute("hi")).model_id == "ollama:phi"

    run(main())


@pytest.mark.parametrize(
    ("failure", "seconds"),
    [(Fail("rate_limited", retry_after=3000.0), 3000.0), (Fail("quota_exhausted"), 600.0)],
    ids=["a long Retry-After", "out of credit"],
)
def test_who_asked_to_be_left_alone_is_left_alone_though_nobody_else_is_there(failure: Fail, seconds: float) -> None:
    async def main() -> None:
        model = cloud([failure], "well again")
        client = client_with(model)
        with pytest.raises(AllModelsFailed):
            await client.execute("hi")
        for _ in range(20):
            with pytest.raises(NoRoute, match="openai:gpt was not asked"):
                await client.execute("hi")
        assert len(model.requests) == 1
        await asyncio.sleep(seconds)
        assert (await client.execute("hi")).response == "well again"

    run(main())


def test_of_those_who_shared_a_crash_only_the_poison_is_kept_away() -> None:
    """Two prompts in one engine, which dies of one of them: they go back one at a time, so that the other one clears itself."""

    class Shared(ScriptedModel):
        """An engine that dies of the word "poison" a second later, with all that are in it."""

        crash = asyncio.Event()

        async def stream(self, request: Request, call: Call) -> AsyncGenerator[Chunk]:
            self.requests.append(request)
            crash = self.crash
            if "poison" in request.prompt:
                asyncio.get_running_loop().call_later(1.0, self._die)
            try:
                async with asyncio.timeout(2.0):
                    await crash.wait()
                raise AttemptFailed(FailureKind.ENGINE_CRASH, "the engine died")
            except TimeoutError:
                yield Delta("well")
                yield End("stop")

        def _die(self) -> None:
            self.crash.set()
            self.crash = asyncio.Event()

    async def main() -> None:
        client = client_with(Shared("vllm:engine"))
        poison, innocent = await asyncio.gather(
            client.execute("poison"), client.execute("innocent"), return_exceptions=True
        )
        assert isinstance(poison, AllModelsFailed)
        assert not isinstance(innocent, BaseException)
        assert innocent.response == "well"
        with pytest.raises(NoRoute, match="crashed its engine twice"):
            await client.execute("poison")
        assert (await client.execute("innocent")).response == "well"

    run(main())


def test_why_tells_of_a_bridge_and_of_a_hedge() -> None:
    async def main() -> None:
        bridged = await client_with(edge(load_seconds=20.0), cloud()).execute("hi")
        assert bridged.why() == "ollama:phi is being loaded; another model answers meanwhile; so openai:gpt answered"
        client = client_with(edge(*["at once"] * 30, [Wait(4.0), "late"]), cloud("quick"))
        for _ in range(31):
            reply = await client.execute("hi", hedge=True)
        assert (
            reply.why() == "ollama:phi was slower than usual, and another model answered first; so openai:gpt answered"
        )

    run(main())


def test_the_pause_that_a_peer_asks_for_is_told() -> None:
    async def main() -> None:
        with pytest.raises(AllModelsFailed, match="asks for a pause of 120 s"):
            await client_with(cloud([Fail("rate_limited", retry_after=120.0)])).execute("hi")

    run(main())


@pytest.mark.parametrize(
    ("script", "said"), [([Block()], "had not begun to answer"), (["half", Block()], "was still answering")]
)
def test_a_deadline_says_who_was_at_work_and_at_what(script: list[Any], said: str) -> None:
    async def main() -> None:
        with pytest.raises(DeadlineExceeded, match=f"within the deadline of 2 s; ollama:phi {said}"):
            await client_with(edge(script)).execute("hi", deadline=2.0)

    run(main())
