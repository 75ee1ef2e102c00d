"""The watchdog: what may be silent for how long, to the exact moment."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import pytest

from oblix.errors import AttemptFailed, FailureKind
from oblix.execution.hands import Hands
from oblix.execution.latency import CLOUD, Limits
from oblix.execution.timers import Watchdog
from oblix.testing import Enter, ScriptedModel, Wait, run
from oblix.types.chunk import End, Progress

from .walking import go

LIMITS = Limits(connect=1.0, load=20.0, first_token=5.0, idle=2.0)


def now() -> float:
    return asyncio.get_running_loop().time()


async def barked(dog: Watchdog, wait: Coroutine[object, object, object]) -> tuple[FailureKind | None, float]:
    """How one wait under the watchdog ended, and when."""
    try:
        await dog.watch(wait)
    except AttemptFailed as failed:
        return failed.kind, now()
    return None, now()


@pytest.mark.parametrize(
    ("phases", "deadline", "kind", "at"),
    [
        ((), None, FailureKind.TIMEOUT_FIRST_TOKEN, 5.0),
        (("idle",), None, FailureKind.TIMEOUT_IDLE, 2.0),
        (("load",), None, FailureKind.TIMEOUT_LOAD, 20.0),
        (("load", "first_token"), None, FailureKind.TIMEOUT_FIRST_TOKEN, 5.0),
        ((), 2.5, FailureKind.TIMEOUT_TOTAL, 2.5),
        (("load",), 12.25, FailureKind.TIMEOUT_TOTAL, 12.25),
        (("idle",), 2.0, FailureKind.TIMEOUT_TOTAL, 2.0),
        (("idle",), 100.0, FailureKind.TIMEOUT_IDLE, 2.0),
    ],
    ids=["first token", "idle", "load", "loaded", "deadline", "deadline while loading", "both at once", "idle first"],
)
def test_a_silence_ends_at_its_limit(
    phases: tuple[str, ...], deadline: float | None, kind: FailureKind, at: float
) -> None:
    async def main() -> tuple[FailureKind | None, float]:
        dog = Watchdog(LIMITS, deadline)
        for phase in phases:
            dog.reached(phase)
        return await barked(dog, asyncio.sleep(1000))

    assert run(main()) == (kind, at)


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        ("first_token", "no first token came within 5 s"),
        ("idle", "no further token came within 2 s"),
        ("load", "the model was not loaded within 20 s"),
    ],
)
def test_a_timeout_says_what_did_not_come(phase: str, words: str) -> None:
    async def main() -> None:
        dog = Watchdog(LIMITS, None)
        dog.reached(phase)
        await dog.watch(asyncio.sleep(1000))

    with pytest.raises(AttemptFailed, match=words):
        run(main())


def test_a_phase_that_is_reached_during_a_wait_counts_from_then() -> None:
    """An engine that loads first, then reads the prompt: each has its own limit."""

    async def main() -> tuple[FailureKind | None, float]:
        dog = Watchdog(LIMITS, None)

        async def work() -> None:
            dog.reached("load")
            await asyncio.sleep(19.0)
            dog.reached("first_token")
            assert dog.phase == "first_token"
            await asyncio.sleep(1000)

        return await barked(dog, work())

    assert run(main()) == (FailureKind.TIMEOUT_FIRST_TOKEN, 24.0)


def test_each_wait_has_the_whole_limit() -> None:
    """Nine waits of 1.9 s under a limit of 2 s; one timer serves them all."""

    async def main() -> tuple[FailureKind | None, float]:
        dog = Watchdog(LIMITS, None)
        dog.reached("idle")
        for _ in range(9):
            assert (await barked(dog, asyncio.sleep(1.9)))[0] is None
        return await barked(dog, asyncio.sleep(2.5))

    kind, at = run(main())
    assert kind is FailureKind.TIMEOUT_IDLE
    assert at == pytest.approx(9 * 1.9 + 2.0, abs=1e-9)


def test_what_happens_between_two_waits_is_nobodys_silence() -> None:
    async def main() -> float:
        dog = Watchdog(LIMITS, None)
        dog.reached("idle")
        for _ in range(3):
            await dog.watch(asyncio.sleep(1.0))
            await asyncio.sleep(500.0)
        dog.stop()
        return now()

    assert run(main()) == 1503.0


def test_the_deadline_counts_what_the_consumer_takes_but_strikes_in_a_wait_only() -> None:
    async def main() -> tuple[FailureKind | None, float]:
        dog = Watchdog(LIMITS, 10.0)
        await dog.watch(asyncio.sleep(1.0))
        await asyncio.sleep(100.0)
        return await barked(dog, asyncio.sleep(1.0))

    assert run(main()) == (FailureKind.TIMEOUT_TOTAL, 101.0)


def test_a_cancellation_from_outside_goes_on() -> None:
    async def main() -> bool:
        dog = Watchdog(LIMITS, None)
        task = asyncio.create_task(barked(dog, asyncio.sleep(1000)))
        await asyncio.sleep(1.0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert run(main())


def test_a_cancellation_from_outside_wins_over_a_timeout_at_the_same_moment() -> None:
    async def main() -> bool:
        dog = Watchdog(LIMITS, None)
        task = asyncio.create_task(barked(dog, asyncio.sleep(1000)))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_at(5.0, task.cancel)
        await asyncio.wait([task])
        assert now() == 5.0
        return task.cancelled()

    assert run(main())


def test_a_timeout_around_it_is_told_apart() -> None:
    async def main() -> float:
        dog = Watchdog(LIMITS, None)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3.0):
                await barked(dog, asyncio.sleep(1000))
        return now()

    assert run(main()) == 3.0


def test_a_caller_that_went_on_after_a_cancellation_still_gets_timeouts() -> None:
    """A task that catches its cancellation keeps `cancelling() > 0`; its later timeouts must stay errors."""

    async def main() -> tuple[FailureKind | None, float]:
        async def stubborn() -> tuple[FailureKind | None, float]:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                return await barked(Watchdog(LIMITS, None), asyncio.sleep(1000))
            raise AssertionError

        task = asyncio.create_task(stubborn())
        await asyncio.sleep(1.0)
        task.cancel()
        return await task

    assert run(main()) == (FailureKind.TIMEOUT_FIRST_TOKEN, 6.0)


def test_a_stopped_watchdog_leaves_no_timer() -> None:
    async def main() -> float:
        dog = Watchdog(LIMITS, None)
        await dog.watch(asyncio.sleep(0.5))
        dog.stop()
        await asyncio.sleep(100)
        return now()

    assert run(main()) == 100.5


def test_a_model_that_says_nothing_is_given_up_at_its_limit() -> None:
    silent = ScriptedModel("openai:gpt", [Wait(1000)])
    walked = run(go(silent, ScriptedModel("ollama:phi", "here")))
    assert walked.outcomes == [("openai:gpt", "failed", "timeout_first_token"), ("ollama:phi", "ok", None)]
    assert walked.at == CLOUD.first_token
    assert (silent.open, silent.left) == (0, 1)


def test_a_model_that_falls_silent_is_given_up_at_its_limit() -> None:
    walked = run(go(ScriptedModel("openai:gpt", ["he", Wait(29.0), "llo", Wait(1000)])))
    assert walked.at == 29.0 + CLOUD.idle
    assert walked.outcomes == [("openai:gpt", "failed", "timeout_idle")]


def test_loading_has_a_limit_of_its_own() -> None:
    loading = ScriptedModel("ollama:phi", [Enter("load"), Wait(299.0), Enter("first_token"), Wait(29.0), "here"])
    walked = run(go(loading))
    assert walked.text == "here"
    assert walked.at == 328.0


def test_thinking_is_no_silence() -> None:
    thoughts = [step for _ in range(10) for step in (Wait(50.0), Progress())]
    walked = run(go(ScriptedModel("openai:gpt", [*thoughts, "42", Wait(29.0), Progress(), Wait(29.0), End("stop")])))
    assert walked.text == "42"
    assert walked.at == 558.0


def test_a_slow_consumer_never_sets_off_a_timer() -> None:
    walked = run(go(ScriptedModel("openai:gpt", ["a", "b", "c"]), pause=500.0))
    assert walked.text == "abc"
    assert walked.outcomes == [("openai:gpt", "ok", None)]
    assert walked.at == 2000.0


def test_the_deadline_is_one_for_all_attempts() -> None:
    walked = run(go(*(ScriptedModel(f"openai:{name}", [Wait(1000)]) for name in "abc"), deadline=130.0))
    assert walked.at == 130.0
    assert [attempt.total for attempt in walked.journey.attempts] == [60.0, 55.0, 15.0]
    assert walked.outcomes[-1] == ("openai:c", "failed", "timeout_total")


@pytest.mark.parametrize("trouble", ["an error", "a time-out of its own"])
def test_a_model_that_goes_on_after_its_own_trouble_is_left_alone(trouble: str) -> None:
    """Errors and time-outs arrive by the same way as a cancellation; only that one must be obeyed."""

    async def work() -> str:
        try:
            if trouble == "an error":
                future = asyncio.get_running_loop().create_future()
                asyncio.get_running_loop().call_later(0.5, future.set_exception, ConnectionRefusedError())
                await future
            async with asyncio.timeout(0.5):
                await asyncio.sleep(100)
        except (ConnectionRefusedError, TimeoutError):
            await asyncio.sleep(1.0)
        return "done"

    async def main() -> tuple[str, float]:
        dog = Watchdog(LIMITS, None)
        try:
            return await dog.watch(work()), now()
        finally:
            dog.stop()

    assert run(main()) == ("done", 1.5)


def test_a_model_that_swallows_a_cancellation_is_still_timed() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
        return "I stay"

    async def main() -> tuple[list[object], float]:
        dog = Watchdog(LIMITS, None)
        seen: list[object] = []

        async def work() -> None:
            seen.append(await dog.watch(stubborn()))
            seen.append((await barked(dog, asyncio.sleep(1000)))[0])

        task = asyncio.create_task(work())
        await asyncio.sleep(1.0)
        task.cancel()
        await asyncio.wait([task])
        return seen, now()

    assert run(main()) == (["I stay", FailureKind.TIMEOUT_FIRST_TOKEN], 6.05)


def test_no_cancellation_of_ours_is_left_over_for_the_caller() -> None:
    async def clinging() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(0.1)  # as long as we wait before we insist: both happen in one step

    async def main() -> None:
        for number in range(300):
            dog = Watchdog(Limits(1.0, 1.0, 0.01 + number / 3000, 1.0), None)
            assert (await barked(dog, clinging()))[0] is FailureKind.TIMEOUT_FIRST_TOKEN
            dog.stop()
            await asyncio.sleep(0)
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    run(main())


def test_connecting_is_a_phase_of_its_own() -> None:
    walked = run(go(ScriptedModel("openai:a", [Enter("connect"), Wait(1000)]), ScriptedModel("openai:b")))
    assert walked.outcomes[0] == ("openai:a", "failed", "timeout_connect")


def test_a_phase_that_does_not_exist_is_the_providers_slip() -> None:
    walked = run(go(ScriptedModel("openai:a", [Enter("conect")]), ScriptedModel("openai:b")))
    assert walked.outcomes[0] == ("openai:a", "failed", "internal")
    assert "'conect' is no phase" in (walked.journey.attempts[0].why or "")


@pytest.mark.parametrize("layers", [1, 4, 10])
def test_a_deadline_holds_however_deep_the_clean_up(layers: int) -> None:
    async def clinging(depth: int) -> None:
        try:
            await (clinging(depth - 1) if depth else asyncio.sleep(1000))
        finally:
            await asyncio.sleep(1000)

    async def main() -> float:
        dog = Watchdog(LIMITS, 2.0)
        assert (await barked(dog, clinging(layers)))[0] is FailureKind.TIMEOUT_TOTAL
        dog.stop()
        return now()

    assert run(main()) <= 2.25


def test_who_queues_at_home_waits_for_those_before_it() -> None:
    """Ollama answers one at a time: the second prompt hears nothing before the first one has its answer."""
    hands, queued = Hands(), ScriptedModel("ollama:a", [Wait(50.0), "here"])

    async def main() -> list[str]:
        busy = ScriptedModel("ollama:a", [Progress(), Wait(25.0), Progress(), Wait(25.0), "first"])
        return [walked.text for walked in await asyncio.gather(*(go(model, hands=hands) for model in (busy, queued)))]

    assert run(main()) == ["first", "here"]
