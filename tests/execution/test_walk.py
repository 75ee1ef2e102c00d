"""Walking the plan: who is asked next, what the caller sees, and what is written down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from oblix.errors import AttemptFailed, DeadlineExceeded, FailureKind, StreamBroken
from oblix.execution.hands import Hands
from oblix.execution.run import Break
from oblix.execution.states import State
from oblix.execution.timers import CLEAN_UP
from oblix.models.base import Call
from oblix.testing import Block, Cut, Fail, ScriptedModel, Wait, run
from oblix.types.chunk import Chunk, Delta, End, Progress, Reset, Usage
from oblix.types.request import Request
from oblix.types.spec import Price

from .walking import ASKED, go, journey, start

FINAL = (FailureKind.CONTENT_FILTER, FailureKind.CANCELLED, FailureKind.TIMEOUT_TOTAL)
ROUTABLE = [kind for kind in FailureKind if kind not in FINAL]


def test_the_first_that_answers_answers() -> None:
    second = ScriptedModel("openai:b", "no")
    walked = run(go(ScriptedModel("ollama:a", ["Par", Wait(1.5), "is"]), second))
    assert walked.text == "Paris"
    assert second.requests == []
    (attempt,) = walked.journey.attempts
    assert (attempt.outcome, attempt.first_token, attempt.total) == ("ok", 0.0, 1.5)
    assert (attempt.input_tokens, attempt.output_tokens) == (3, 2)
    assert walked.journey.answered_by == "ollama:a"
    assert walked.pieces[-1] == walked.journey.end


@pytest.mark.parametrize("kind", ROUTABLE)
def test_before_the_first_token_every_failure_moves_on_unseen(kind: FailureKind) -> None:
    walked = run(go(ScriptedModel("ollama:a", [Progress(), Fail(kind, hint="try this")]), ScriptedModel("openai:b")))
    assert walked.text == "ok"
    assert not any(isinstance(piece, Reset) for piece in walked.pieces)
    assert walked.outcomes == [("ollama:a", "failed", kind.value), ("openai:b", "ok", None)]
    assert walked.journey.attempts[0].hint == "try this"
    assert isinstance(walked.failures[0], AttemptFailed)
    assert walked.failures[1] is None


@pytest.mark.parametrize("restart", [False, True], ids=["stream", "buffered"])
def test_an_answer_without_its_proof_is_no_answer(restart: bool) -> None:
    walked = run(
        go(
            ScriptedModel("ollama:a", [Cut()]),
            ScriptedModel("openai:b", "whole"),
            on_break="unseen" if restart else "error",
        )
    )
    assert walked.text == "whole"
    assert walked.outcomes[0] == ("ollama:a", "failed", "truncated")


def test_an_empty_piece_is_no_token_and_commits_to_nothing() -> None:
    walked = run(go(ScriptedModel("ollama:a", ["", Wait(1.0), Cut()]), ScriptedModel("openai:b", "whole")))
    assert walked.text == "whole"
    assert walked.journey.attempts[0].first_token is None
    assert walked.journey.first_token_at == 1.0


def test_when_nobody_is_left_it_ends_without_a_proof() -> None:
    walked = run(go(ScriptedModel("ollama:a", [Fail("connect")]), ScriptedModel("openai:b", [Fail("auth")])))
    assert walked.error is None
    assert walked.journey.end is None
    assert [kind for _, _, kind in walked.outcomes] == ["connect", "auth"]


def test_after_the_first_token_a_stream_breaks_with_the_text_so_far() -> None:
    spare = ScriptedModel("openai:b")
    walked = run(go(ScriptedModel("ollama:a", ["half ", "an ", Fail("engine_crash", "it died")]), spare))
    assert isinstance(walked.error, StreamBroken)
    assert walked.error.text == "half an "
    assert walked.error.kind is FailureKind.ENGINE_CRASH
    assert "it died" in walked.error.message
    assert isinstance(walked.error.cause, AttemptFailed)
    assert spare.requests == []


def test_after_the_first_token_a_restart_voids_the_text_and_begins_again() -> None:
    broken = ScriptedModel("ollama:a", ["half ", Wait(2.0), Cut()])
    walked = run(go(broken, ScriptedModel("openai:b", [Wait(1.0), "whole"]), on_break="restart"))
    reset = walked.pieces[1]
    assert isinstance(reset, Reset)
    assert reset.model_id == "openai:b"
    assert "the answer of ollama:a ended without the proof of completion" in reset.reason
    assert "".join(walked.journey.text) == "whole"
    assert walked.journey.first_token_at == 3.0
    assert [attempt.first_token for attempt in walked.journey.attempts] == [0.0, 1.0]


@pytest.mark.parametrize("on_break", ["error", "restart", "continue"])
def test_a_stream_that_broke_with_nobody_left_ends_in_an_error_with_its_text(on_break: Break) -> None:
    walked = run(go(ScriptedModel("ollama:a", ["half", Fail("protocol")]), on_break=on_break))
    assert [type(piece) for piece in walked.pieces] == [Delta]
    assert isinstance(walked.error, StreamBroken)
    assert (walked.error.text, walked.error.kind) == ("half", FailureKind.PROTOCOL)
    assert walked.journey.state is State.FAILED


def test_text_that_nobody_saw_leaves_no_error_of_its_own() -> None:
    walked = run(go(ScriptedModel("ollama:a", ["half", Fail("protocol")]), on_break="unseen"))
    assert walked.error is None
    assert walked.journey.end is None
    assert walked.journey.state is State.FAILED


def test_a_model_that_fails_at_once_between_two_restarts_needs_no_second_reset() -> None:
    plan = (ScriptedModel("ollama:a", ["half", Cut()]), ScriptedModel("x:b", [Fail("connect")]), ScriptedModel("x:c"))
    walked = run(go(*plan, on_break="unseen"))
    assert [type(piece) for piece in walked.pieces] == [Delta, Reset, Delta, End]
    assert "".join(walked.journey.text) == "ok"


@pytest.mark.parametrize("kind", ["content_filter", "cancelled"])
@pytest.mark.parametrize("before", [[], ["half"]], ids=["before", "after the first token"])
def test_a_filter_and_a_client_that_is_shut_down_are_final(before: list[str], kind: str) -> None:
    """Asking elsewhere would evade the one, and serve nobody in the other."""
    spare = ScriptedModel("openai:b")
    walked = run(go(ScriptedModel("openai:a", [*before, Fail(kind)]), spare, on_break="unseen"))
    assert spare.requests == []
    assert walked.journey.end is None
    assert walked.outcomes == [("openai:a", "failed", kind)]


def test_the_deadline_of_the_call_is_final() -> None:
    spare = ScriptedModel("openai:b")
    slow = ScriptedModel("openai:a", ["half", Wait(1000)])
    walked = run(go(slow, spare, deadline=2.5))
    assert isinstance(walked.error, DeadlineExceeded)
    assert isinstance(walked.error, TimeoutError)
    assert walked.error.text == "half"
    assert walked.at == 2.5
    assert spare.requests == []
    assert (slow.open, slow.left) == (0, 1)
    assert walked.outcomes == [("openai:a", "failed", "timeout_total")]


def test_a_deadline_that_is_over_sends_nothing_more() -> None:
    async def main() -> None:
        await asyncio.sleep(5)
        walked = await go(model, deadline=2.5)
        assert isinstance(walked.error, DeadlineExceeded)

    model = ScriptedModel("openai:a", [Wait(1.0), "late"])
    run(main())
    assert model.left == 1


@pytest.mark.parametrize("before", [[], ["half "]], ids=["before", "after the first token"])
def test_a_slip_in_a_provider_is_an_attempt_that_failed(before: list[str]) -> None:
    walked = run(
        go(ScriptedModel("x:a", [*before, KeyError("oops")]), ScriptedModel("x:b", "whole"), on_break="unseen")
    )
    assert "".join(walked.journey.text) == "whole"
    assert walked.outcomes == [("x:a", "failed", "internal"), ("x:b", "ok", None)]
    failure = walked.failures[0]
    assert failure is not None
    assert isinstance(failure.cause, KeyError)
    assert "KeyError" in failure.message


class Clumsy(ScriptedModel):
    """A provider that slips where nobody expects it; its name says how."""

    async def stream(self, request: Request, call: Call) -> AsyncGenerator[Chunk]:
        self.requests.append(request)
        try:
            yield Delta("half")
            if "fails" in self.spec.name:
                raise AttemptFailed(FailureKind.CONNECT, "broken")
            yield End("stop")
        finally:
            if "slips" in self.spec.name:
                raise KeyError("clean-up")
            await asyncio.sleep(1e6)


@pytest.mark.parametrize("name", ["fails-and-slips", "fails-and-hangs"])
def test_a_clean_up_that_goes_wrong_after_a_failure_costs_no_answer(name: str) -> None:
    walked = run(go(Clumsy(f"x:{name}"), ScriptedModel("x:b", "whole"), on_break="unseen"))
    assert "".join(walked.journey.text) == "whole"
    assert walked.at < 400.0


@pytest.mark.parametrize("name", ["slips", "hangs"])
def test_a_clean_up_that_goes_wrong_after_the_answer_costs_no_answer(name: str) -> None:
    walked = run(go(Clumsy(f"x:{name}")))
    assert walked.text == "half"
    assert walked.outcomes == [(f"x:{name}", "ok", None)]
    assert walked.at <= CLEAN_UP


@pytest.mark.parametrize("name", ["slips", "hangs"])
def test_a_clean_up_that_goes_wrong_holds_up_nobody_who_leaves(name: str) -> None:
    walked = run(go(Clumsy(f"x:{name}"), leave_after=1))
    assert walked.error is None
    assert walked.outcomes == [(f"x:{name}", "cancelled", "cancelled")]
    assert walked.at <= CLEAN_UP


def test_a_model_may_answer_with_any_asynchronous_iterator() -> None:
    class Plain(ScriptedModel):
        def stream(self, request: Request, call: Call) -> Any:
            return self

        def __aiter__(self) -> Plain:
            return self

        async def __anext__(self) -> Chunk:
            self.left += 1
            return Delta("a") if self.left < 3 else End("stop")

    assert run(go(Plain("x:a"))).text == "aa"


def test_a_model_that_cannot_even_begin_is_an_attempt_that_failed() -> None:
    class Never(ScriptedModel):
        def stream(self, request: Request, call: Call) -> Any:
            raise KeyError("slip")

    walked = run(go(Never("x:a"), ScriptedModel("x:b", "whole")))
    assert walked.text == "whole"
    assert walked.outcomes == [("x:a", "failed", "internal"), ("x:b", "ok", None)]


# --- leaving ---


def test_a_caller_who_stops_iterating_stops_the_model_before_aclose_returns() -> None:
    model = ScriptedModel("ollama:a", ["a", "b", Block()])

    async def main() -> None:
        walked = await go(model, leave_after=1)
        assert (model.open, model.left) == (0, 1)
        assert walked.outcomes == [("ollama:a", "cancelled", "cancelled")]
        assert walked.failures == [None]

    run(main())


@pytest.mark.parametrize("script", [[Block()], ["a", Block()]], ids=["before", "after the first token"])
def test_a_cancellation_stops_the_model_and_is_written_down(script: list[str | Block]) -> None:
    model, spare = ScriptedModel("ollama:a", script), ScriptedModel("openai:b")

    async def main() -> None:
        way = journey()

        async def listen() -> None:
            async with aclosing(start((model, spare), way)) as pieces:
                async for _ in pieces:
                    pass

        task = asyncio.create_task(listen())
        await asyncio.sleep(7)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert (model.open, model.left, len(spare.requests)) == (0, 1, 0)
        (attempt,) = way.attempts
        assert (attempt.outcome, attempt.kind, attempt.why) == ("cancelled", "cancelled", "the caller left")
        assert attempt.total == 7.0

    run(main())


def test_an_answer_that_was_whole_stays_whole_when_the_caller_leaves_at_its_end() -> None:
    walked = run(go(ScriptedModel("ollama:a", ["a"]), leave_after=2))
    assert walked.outcomes == [("ollama:a", "ok", None)]
    assert walked.journey.end == End("stop", Usage(3, 1))


def test_many_walks_at_once_keep_apart() -> None:
    async def main() -> None:
        walks = [
            go(
                ScriptedModel("x:a", [Wait(number % 7), f"{number}-", Wait(number % 5), Cut()]),
                ScriptedModel("x:b", [Wait(number % 3), f"={number}"]),
                on_break="unseen",
            )
            for number in range(50)
        ]
        for number, walked in enumerate(await asyncio.gather(*walks)):
            assert "".join(walked.journey.text) == f"={number}"

    run(main())


def test_thinking_after_the_first_token_is_nothing_that_cannot_happen() -> None:
    walked = run(go(ScriptedModel("x:a", ["I ", Progress(), "think"])))
    assert walked.text == "I think"
    assert walked.journey.impossible == 0


def test_what_was_said_before_a_refusal_may_be_billed() -> None:
    priced = ScriptedModel("x:a", ["said ", "already ", Fail("rate_limited")], price=Price(1.0, 2.0, "test"))
    (attempt, *_) = run(go(priced)).journey.attempts
    assert attempt.cost_usd is not None
    assert attempt.cost_usd > 0.0


def test_a_caller_who_leaves_at_a_reset_gives_the_probe_back() -> None:
    async def main() -> None:
        hands, ill = Hands(chance=lambda: 0.0), ScriptedModel("x:b")
        for _ in range(3):
            hands.health.failed(ill.spec, FailureKind.SERVER_ERROR, "down", 0.0)
        await asyncio.sleep(100.0)
        walked = await go(ScriptedModel("x:a", ["half", Cut()]), ill, hands=hands, on_break="restart", leave_after=2)
        assert isinstance(walked.pieces[-1], Reset)
        assert hands.health.admit(ill.spec, 100.0)

    run(main())


def test_a_slow_reader_does_not_make_a_model_look_slow() -> None:
    hands, model = Hands(), ScriptedModel("openai:a", ["a", "b", "c"])

    async def main() -> float:
        for _ in range(25):
            await go(model, hands=hands, pause=20.0)
        return hands.health.limits(model.spec, 3).idle

    assert run(main()) == 5.0, "the lowest bound of the idle limit of a cloud model"


class Clinging(ScriptedModel):
    """A provider whose clean-up waits whenever it is cancelled."""

    async def stream(self, request: Request, call: Call) -> AsyncGenerator[Chunk]:
        self.open += 1
        try:
            yield Delta("a")
            await asyncio.sleep(1e6)
        finally:
            try:
                await asyncio.sleep(1e6)
            finally:
                self.open -= 1


def test_a_model_that_clings_holds_up_no_caller_who_leaves() -> None:
    model = Clinging("x:a")

    async def main() -> None:
        task = asyncio.create_task(go(model))
        await asyncio.sleep(7.0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert asyncio.get_running_loop().time() <= 7.0 + 2 * CLEAN_UP
        assert model.open == 0

    run(main())


def test_a_timeout_around_a_call_stays_a_timeout_though_the_model_clings() -> None:
    """Our further cancellations are taken back: whoever counts them would take them for somebody else's."""

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5.0):
                await go(Clinging("x:a"))

    run(main())


def test_a_model_that_cancels_itself_is_an_attempt_that_failed() -> None:
    walked = run(go(ScriptedModel("x:a", [asyncio.CancelledError()]), ScriptedModel("x:b", "whole")))
    assert walked.text == "whole"
    assert walked.outcomes == [("x:a", "failed", "internal"), ("x:b", "ok", None)]


@pytest.mark.parametrize("on_break", ["restart", "unseen"])
def test_a_silence_in_mid_answer_leaves_time_for_another_model(on_break: Break) -> None:
    silent, spare = ScriptedModel("openai:a", ["half", Block()]), ScriptedModel("openai:b", "whole")
    walked = run(go(silent, spare, on_break=on_break, deadline=6.0))
    assert "".join(walked.journey.text) == "whole"
    assert walked.at == 2.0


def test_a_silence_that_only_a_short_deadline_calls_long_rests_nobody() -> None:
    hands, silent = Hands(chance=lambda: 0.5), ScriptedModel("openai:a", ["half", Block()])
    run(go(silent, ScriptedModel("openai:b"), hands=hands, on_break="unseen", deadline=6.0))
    assert hands.health.of(silent.spec, 2.0).failing is None


def test_a_caller_who_leaves_during_the_clean_up_leaves_no_turn_taken() -> None:
    """A suspect of a crash holds the turn on its model; held for ever, no other suspect would be asked there again."""

    class Slow(ScriptedModel):
        async def stream(self, request: Request, call: Call) -> AsyncGenerator[Chunk]:
            try:
                yield Delta("a")
                yield End("stop")
            finally:
                await asyncio.sleep(0.05)

    async def main() -> None:
        hands, model = Hands(), Slow("x:a")
        suspect = hands.fingerprint(ASKED, 0.0, always=True)
        hands.health.failed(model.spec, FailureKind.ENGINE_CRASH, "it died", 0.0, fingerprint=suspect)
        assert hands.turn(model, ASKED, 0.0) is not None
        task = asyncio.create_task(go(model, hands=hands))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.wait([task])
        assert not hands.turns["x:a"].locked()
        assert hands.busy["x:a"] == 0

    run(main())
