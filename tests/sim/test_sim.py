"""A few hundred simulated worlds, and proof that the judge is awake: broken clients are caught, each by the invariant that it breaks."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from oblix.client.hall import Hall
from oblix.client.record import Recorder
from oblix.decision import decide, rules
from oblix.execution import attempt
from oblix.execution.health import HealthBook
from oblix.execution.run import Walk
from oblix.types.chunk import Chunk, End, Reset
from oblix.types.request import Request

from .model import Answer
from .plan import FAULTS, draw
from .simulate import Result, simulate
from .tally import MUST_HAPPEN

SEEDS = 120
MUTANT_SEEDS = range(1, 61)


def test_nothing_breaks_and_all_becomes_well_in_many_worlds() -> None:
    met: Counter[str] = Counter()
    for seed in range(1, SEEDS + 1):
        result = simulate(seed)
        assert not result.unsafe, (seed, result.unsafe)
        assert not result.stuck, (seed, result.stuck)
        met += result.met
    assert not MUST_HAPPEN - set(met), "what never happens is not tested"
    assert not {f"fault {fault}" for fault in FAULTS} - set(met)


def test_a_seed_gives_the_same_trace_twice() -> None:
    for seed in (3, 4, 7):
        assert simulate(seed).lines == simulate(seed).lines


def test_a_seed_gives_the_same_trace_in_another_process_with_other_hashes() -> None:
    """Sets of texts are ordered by hashes, which differ from process to process."""
    told = {
        subprocess.run(
            [sys.executable, "-m", "tests.sim", "--seed", "4"],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": hashes},
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout.splitlines()[-1]
        for hashes in ("1", "2")
    }
    assert told == {f"seed 4: {len(simulate(4).lines)} events, trace {simulate(4).digest}"}


def test_worlds_differ_from_seed_to_seed() -> None:
    worlds = [draw(seed) for seed in range(1, 41)]
    assert {len(world.models) for world in worlds} == {1, 2, 3, 4, 5}
    assert {model.place for world in worlds for model in world.models} == {"edge", "cloud"}
    wishes = [request.wishes for world in worlds for request in world.requests]
    assert {wish for each in wishes for wish in each} >= {"private", "policy", "on_break", "tools", "hedge", "warm"}


# --- broken clients ---


def _caught(invariant: str, seeds: Iterable[int] = MUTANT_SEEDS) -> Result:
    """The first world in which `invariant` is told as broken."""
    for seed in seeds:
        result = simulate(seed)
        if any(broken.invariant == invariant for broken in (*result.unsafe, *result.stuck)):
            return result
    pytest.fail(f"no world told of {invariant!r}")


def test_text_that_is_cut_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hands lose the last piece before the end, and call it a whole answer."""
    heard = Walk._heard

    def lose(walk: Walk, chunk: Chunk, one: Any) -> None:
        if type(chunk) is End and len(walk._journey.text) > 1:
            walk._journey.text.pop()
        heard(walk, chunk, one)

    monkeypatch.setattr(Walk, "_heard", lose)
    _caught("I2 proof")


def test_an_end_without_proof_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider takes the end of a stream for the end of an answer."""
    ask = Answer.__anext__

    async def believe(answer: Answer) -> Chunk:
        try:
            return await ask(answer)
        except StopAsyncIteration:
            return End("stop")

    monkeypatch.setattr(Answer, "__anext__", believe)
    _caught("I2 proof")


def test_a_splice_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream goes on with another model's answer, and its reader is not told."""
    pieces = Walk.pieces

    async def mute(walk: Walk) -> AsyncGenerator[Chunk | Reset]:
        async with aclosing(pieces(walk)) as chunks:
            async for chunk in chunks:
                if type(chunk) is not Reset:
                    yield chunk

    monkeypatch.setattr(Walk, "pieces", mute)
    _caught("I3 splice")


def test_a_private_prompt_in_the_cloud_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan forgets who may not answer."""
    monkeypatch.setattr(decide, "RULES", tuple(rule for rule in rules.RULES if rule is not rules.privacy))
    _caught("I6 private")


def test_a_decision_that_is_written_too_late_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    decided = Recorder.decided
    late: set[asyncio.Task[bool]] = set()

    async def later(recorder: Recorder, *what: Any, **more: Any) -> bool:
        task = asyncio.get_running_loop().create_task(decided(recorder, *what, **more))
        late.add(task)
        task.add_done_callback(late.discard)
        return True

    monkeypatch.setattr(Recorder, "decided", later)
    _caught("I9 record")


def test_a_model_that_is_not_let_go_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    async def keep(stream: object, *rest: object) -> None:
        kept.append(stream)

    kept: list[object] = []
    monkeypatch.setattr(attempt, "_let_go", keep)
    _caught("I10 manners")


def test_a_deadline_that_is_not_kept_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Hall.answer

    def without(hall: Hall, request: Request, *rest: Any, **named: Any) -> AsyncIterator[Any]:
        return answer(hall, replace(request, deadline=None), *rest, **named)

    monkeypatch.setattr(Hall, "answer", without)
    _caught("I1 end")


def test_retries_without_a_budget_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HealthBook, "may_retry", lambda *_: True)
    _caught("I5 load", range(1, 200))


def test_two_probes_at_once_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HealthBook, "admit", _admit_all(HealthBook.admit))
    _caught("I12 probe", range(1, 200))


def _admit_all(admit: Callable[..., bool]) -> Callable[..., bool]:
    def yes(book: HealthBook, *what: Any) -> bool:
        admit(book, *what)
        return True

    return yes


def test_a_foreign_error_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def slip(*_: object) -> None:
        raise ZeroDivisionError("a slip")

    monkeypatch.setattr(Hall, "_reply", slip)
    _caught("I11 typed")


def test_a_breaker_that_never_closes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oblix.execution.breaker.succeeded", lambda state, now, **_: state)
    _caught("L2 breakers")
