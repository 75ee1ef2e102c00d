"""The matrix, small enough for every run of the tests; and clients that lie, each caught by the counter that is named for it."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from oblix.client.hall import Hall
from oblix.client.record import Recorder
from oblix.decision import rules
from oblix.errors import AttemptFailed, FailureKind
from oblix.execution.route import Route
from oblix.execution.run import Walk
from oblix.execution.timers import Watchdog
from oblix.models import openai, openai_answer
from oblix.models.lines import LineDecoder
from oblix.models.transport import Answer, Permit
from oblix.testing.faults import KINDS, MOMENTS, Fault, Received, Tempo, impossible
from oblix.types.chunk import End

from . import report
from .cells import SEATS, Ask, asks, never
from .findings import BREACHES
from .run import run
from .tally import Tally
from .texts import consists_of
from .world import world

REQUESTS = 1500
SMALL = Tempo(bomb=8 << 20)  # twice the longest line that is taken; the full run has them at 64 MiB
SEED = 20261123  # any; the same requests every time


def some(count: int, fits: Callable[[Ask], bool]) -> list[Ask]:
    """The first of the plan that fit."""
    found = [ask for ask in asks(6000, SEED) if fits(ask)][:count]
    assert found
    return found


def test_no_request_of_the_small_matrix_is_lost_cut_spliced_or_misnamed() -> None:
    # Whatever other tests have left in memory is none of this one's: to look through it all stops the loop for half a second.
    gc.collect()
    gc.freeze()
    try:
        tally = asyncio.run(run(list(asks(REQUESTS, SEED)), tempo=SMALL, bombs=8))
    finally:
        gc.unfreeze()
    # How late an answer was is a matter for `make faults`: no test asserts a wall-clock time.
    assert [found for found in report.findings(tally) if not found.startswith("late: ")] == []
    assert {breach: count for breach, count in tally.breaches.items() if breach != "late"} == {}
    assert tally.is_good(on_time=False)
    assert tally.requests == REQUESTS
    assert tally.kinds == len(KINDS) >= 40
    assert tally.broken > 0
    assert tally.failovers


def test_the_plan_meets_every_kind_at_every_moment_that_can_be() -> None:
    met = {(ask.fault.kind, ask.fault.moment, ask.seat.provider) for ask in asks(6000, SEED)}
    able = {
        (kind, moment, seat.provider)
        for kind in KINDS
        for moment in MOMENTS
        for seat in SEATS
        if impossible(kind, moment, seat.wire) is None
    }
    assert met == able


def test_the_plan_is_the_same_for_the_same_seed() -> None:
    assert list(asks(500, 7)) == list(asks(500, 7)) != list(asks(500, 8))


def test_what_cannot_be_is_listed_with_its_reason() -> None:
    listed = {tuple(combination.split()) for combinations in never().values() for combination in combinations}
    able = {(ask.fault.kind, ask.fault.moment) for ask in asks(6000, SEED)}
    assert listed | able == {(kind, moment) for kind in KINDS for moment in MOMENTS}
    assert listed & able == set()
    assert all(never())


def test_the_last_line_is_what_it_should_be() -> None:
    tally = Tally(failovers=[0.002] * 99 + [0.5])
    assert report.last_line(tally) == (
        "faults: requests=0 kinds=0 lost=0 truncated=0 duplicated=0 late=0 unclassified=0 "
        "broken_streams=0 p50_failover_ms=2.0 p99_failover_ms=500.0"
    )


def test_a_second_answer_is_not_taken_for_that_to_the_next_request() -> None:
    async def main() -> list[bool]:
        async with world() as made:
            model_id = made.add(SEATS[2], "played")
            upstream = made.upstreams[model_id]
            upstream.play("REQ-000001", Fault("answer_unasked", "at_end"))
            texts = []
            for marker in ("REQ-000001", "REQ-000002"):
                reply = await made.client.execute(f"Tell me about {marker}.", model_id)
                texts.append(reply.response == upstream.answer_for(marker))
                await asyncio.sleep(3 * made.server.tempo.pause)  # until the second answer has come
            return texts

    assert asyncio.run(main()) == [True, True]


def test_an_answer_may_consist_of_beginnings_in_their_order_and_of_nothing_else() -> None:
    def sent(*texts: str) -> list[Received]:
        return [Received("", "POST", "", b"", b"", float(at), 1, pieces=[text]) for at, text in enumerate(texts)]

    rows = sent("one two three", " three four", " five")
    assert consists_of("one two three four", rows)
    assert consists_of("one two three three four five", rows)
    assert consists_of("", rows)
    assert not consists_of("one two four", rows)
    assert not consists_of(" three one", rows)
    assert not consists_of("one two three four five six", rows)


def test_streams_that_continue_are_gone_on_with_by_a_model_that_can() -> None:
    def fits(ask: Ask) -> bool:
        able = ask.other is not None and ask.other.provider in ("ollama", "llamacpp")
        return able and ask.on_break == "continue" and ask.fault.moment == "mid_stream" and ask.life == "fresh"

    tally = asyncio.run(run([ask for ask in some(40, fits) if not (ask.kind.harmless or ask.is_hurried)]))
    assert list(report.findings(tally)) == []
    endings = sum(tally.endings.values(), Counter[str]())
    assert endings["elsewhere"] > endings["error"] + endings["broken"]


# --- a harness is worth what it catches ---


def no_proof(patch: pytest.MonkeyPatch) -> None:
    """The end of the connection is taken for the end of the answer."""
    patch.setattr(openai_answer.Told, "end", lambda self, spec: End("stop"))


def spliced(patch: pytest.MonkeyPatch) -> None:
    """The hands begin again after the commit point, and do not say so."""
    begin = Walk._begin

    def lying(self: Walk, attempt: Any) -> None:
        begin(self, attempt)  # the Reset that it gives is thrown away

    patch.setattr(Walk, "_begin", lying)


def asked_twice(patch: pytest.MonkeyPatch) -> None:
    """An attempt asks, throws the answer away, and asks again."""
    stream = openai.OpenAIModel.stream

    async def twice(self: openai.OpenAIModel, request: Any, call: Any) -> Any:
        try:
            async for _ in stream(self, request, call):
                break
        except AttemptFailed:
            pass
        async for chunk in stream(self, request, call):
            yield chunk

    patch.setattr(openai.OpenAIModel, "stream", twice)


def no_deadline(patch: pytest.MonkeyPatch) -> None:
    """The timers know nothing of the deadline."""
    begin = Watchdog.__init__

    def lying(self: Watchdog, limits: Any, deadline: float | None, **rest: Any) -> None:
        begin(self, limits, None)

    patch.setattr(Watchdog, "__init__", lying)


def no_failover(patch: pytest.MonkeyPatch) -> None:
    """Only the first candidate is asked."""
    begin = Route.__init__
    patch.setattr(Route, "__init__", lambda self, plan: begin(self, list(plan)[:1]))


def misnamed(patch: pytest.MonkeyPatch) -> None:
    """Whatever breaks in an answer is called an overload."""
    next_ = Answer.next

    async def lying(self: Answer) -> bytes:
        try:
            return await next_(self)
        except AttemptFailed:
            raise AttemptFailed(FailureKind.OVERLOADED, "busy") from None

    patch.setattr(Answer, "next", lying)


def foreign(patch: pytest.MonkeyPatch) -> None:
    """An exception of another library leaves the client."""

    async def raw(self: Hall, *request: Any, **how: Any) -> Any:
        raise KeyError("choices")
        yield

    patch.setattr(Hall, "answer", raw)


def strict(patch: pytest.MonkeyPatch) -> None:
    """A line must end in LF alone."""
    patch.setattr(LineDecoder, "_unify", lambda self, chunk: chunk)


def indiscreet(patch: pytest.MonkeyPatch) -> None:
    """Neither the mind nor the transport keeps a private prompt at home."""
    kept = tuple(rule for rule in rules.RULES if rule is not rules.privacy)
    patch.setattr("oblix.decision.decide.RULES", kept)
    patch.setattr(Permit, "check", lambda self: None)


def forgetful(patch: pytest.MonkeyPatch) -> None:
    """The decision is not written down."""

    async def not_at_all(self: Recorder, *decision: Any, **also: Any) -> bool:
        raise NotImplementedError

    async def decide(self: Hall, request: Any, told: list[Any], round_: Any) -> Any:
        told.append(await self.think(request))
        return told[0]

    patch.setattr(Recorder, "decided", not_at_all)
    patch.setattr(Hall, "_decide", decide)


def free(patch: pytest.MonkeyPatch) -> None:
    """What fails costs nothing."""
    patch.setattr("oblix.execution.charge.Charge.cost", lambda self, used, *, is_whole: 0)


CAUGHT: list[tuple[str, Callable[[pytest.MonkeyPatch], None], Callable[[Ask], bool]]] = [
    ("truncated", no_proof, lambda ask: ask.fault == Fault("open_end_cut", "mid_stream") and ask.seat.wire == "openai"),
    (
        "duplicated",
        spliced,
        lambda ask: ask.fault == Fault("reset", "mid_stream") and ask.streams and ask.other is not None,
    ),
    ("duplicated", asked_twice, lambda ask: ask.fault.kind == "status_500" and ask.seat.wire == "openai"),
    ("late", no_deadline, lambda ask: ask.fault.kind == "stall" and ask.is_hurried),
    ("lost", no_failover, lambda ask: ask.fault.kind == "status_500" and ask.other is not None and not ask.is_private),
    ("unclassified", misnamed, lambda ask: ask.fault == Fault("reset", "mid_stream")),
    ("unclassified", foreign, lambda ask: ask.fault.kind == "status_500"),
    ("harmed", strict, lambda ask: ask.fault.kind == "crlf"),
    ("leaked", indiscreet, lambda ask: ask.kind.family == "status" and ask.is_private),
    ("unlogged", forgetful, lambda ask: ask.fault.kind == "status_500"),
    ("unbilled", free, lambda ask: ask.fault.kind == "stall" and ask.seat.place == "cloud"),
]


@pytest.mark.another_mind
@pytest.mark.parametrize(("breach", "lie", "fits"), CAUGHT, ids=[f"{row[1].__name__}-{row[0]}" for row in CAUGHT])
def test_a_client_that_lies_is_caught(
    breach: str, lie: Callable[[pytest.MonkeyPatch], None], fits: Callable[[Ask], bool]
) -> None:
    todo = some(12, lambda ask: fits(ask) and ask.life == "fresh")
    with pytest.MonkeyPatch.context() as patch:
        lie(patch)
        tally = asyncio.run(run(todo, warm=False))
    assert tally.breaches[breach] > 0, list(report.findings(tally))
    assert not tally.is_good()


def test_every_breach_has_a_lie_that_it_catches() -> None:
    assert {row[0] for row in CAUGHT} == set(BREACHES)
