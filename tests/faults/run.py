"""Plays many requests at once: quick ones a few at a time, those that wait for timers by the dozen, bombs one by one."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import re
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from oblix import AllModelsFailed, NoRoute
from oblix.testing.faults import Tempo

from .cells import Ask, asks
from .judge import STARVED, Verdict, judge
from .play import PATIENT, Outcome, play
from .pulse import pulse, starved_so_far
from .tally import Tally
from .world import KEY, TEMPO, World, fill_for_long, world

Pool = Literal["quick", "waiting", "heavy", "long"]
# At once, in one process. Quick ones only compute, so that more of them would measure each other's queue.
AT_ONCE: dict[Pool, int] = {"quick": 4, "waiting": 40, "heavy": 1, "long": 3}
# One after the other: failover is measured in the first, a bomb keeps the loop busy for half a second.
PHASES: tuple[tuple[Pool, ...], ...] = (("quick",), ("waiting", "long"), ("heavy",))
LIFE = 120  # requests of one long-lived client
LIFE_AT_ONCE = 12
MOST_TRIES = 6  # for a request that does not meet its fault, or that the machine keeps from running
# What would send a request elsewhere than to the fault server.
_NOT_OURS = re.compile(r".*_PROXY|.*_API_KEY|(OPENAI|ANTHROPIC|OLLAMA|OBLIX)_.*", re.IGNORECASE)
GROWTH = 128 << 20  # bytes that the process may grow by: bombs of 64 MiB are read, and must not be kept
FDS_OVER = 3  # file descriptors more than before: what the interpreter itself opens late (its random source, an event loop's pipe)


@dataclass(frozen=True, slots=True)
class Part:
    """What one process does: every `of`-th request of a plan, from number `index`."""

    requests: int
    seed: int
    index: int = 0
    of: int = 1
    without: frozenset[str] = frozenset()


def run_part(part: Part) -> Tally:
    """Play a part in a loop of its own; for a process of its own."""
    for name in [name for name in os.environ if _NOT_OURS.fullmatch(name)]:
        del os.environ[name]
    everything = asks(part.requests, part.seed, without=part.without)
    mine = [ask for ask in everything if ask.number % part.of == part.index]
    return asyncio.run(run(mine))


async def run(todo: Sequence[Ask], *, warm: bool = True, tempo: Tempo = TEMPO, bombs: int = 1) -> Tally:
    """Play and judge requests until each has met its fault, then look for what is left over.

    Args:
        warm: Answer something first, so that late imports and caches do not count as left over.
        tempo: Times and sizes of the faults.
        bombs: How many of them at once.
    """
    tally = Tally()
    if warm:
        await _warm_up()
    started, before = time.monotonic(), _memory()
    async with _watched(tally), pulse():
        for number in range(MOST_TRIES):
            missed: list[Ask] = []
            await _round(todo, tally, missed, tempo, bombs)
            todo = [replace(ask, life="fresh") for ask in missed]
            if not todo:
                break
            if number == MOST_TRIES - 1:
                tally.leftovers.append(f"{len(todo)} requests were never judged, such as {todo[0]}")
    tally.seconds = time.monotonic() - started
    tally.memory = _memory()
    if tally.memory > before + GROWTH:
        tally.leftovers.append(f"the process grew from {before >> 20} to {tally.memory >> 20} MiB")
    return tally


async def _round(todo: Sequence[Ask], tally: Tally, missed: list[Ask], tempo: Tempo, bombs: int) -> None:
    def book(outcome: Outcome, verdict: Verdict) -> None:
        tally.add(outcome, verdict)
        if verdict.ending in ("unmet", "starved"):
            missed.append(outcome.ask)

    pools: dict[Pool, list[Callable[[], Awaitable[None]]]] = {pool: [] for pool in AT_ONCE}
    for ask in todo:
        if ask.life == "fresh":
            pools[_pool(ask)].append(lambda ask=ask: _fresh(ask, book, tempo))  # type: ignore[misc]
    long = [ask for ask in todo if ask.life == "long"]
    for start in range(0, len(long), LIFE):
        pools["long"].append(lambda some=long[start : start + LIFE]: _long(some, book, tempo))  # type: ignore[misc]
    for phase in PHASES:
        async with asyncio.TaskGroup() as group:
            for pool in phase:
                line = iter(pools[pool])
                for _ in range(bombs if pool == "heavy" else AT_ONCE[pool]):
                    group.create_task(_work(line, tally))


async def _work(line: Iterable[Callable[[], Awaitable[None]]], tally: Tally) -> None:
    for job in line:
        try:
            await job()
        except Exception as error:  # noqa: BLE001  a slip in the harness or in a kind must not hide what the others show
            inner = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
            tally.leftovers.append(f"the harness itself failed: {error!r}, {inner!r}")


def _pool(ask: Ask) -> Pool:
    if ask.kind.family == "bomb":
        return "heavy"
    return "waiting" if ask.kind.in_time or ask.kind.family == "slow" else "quick"


Book = Callable[[Outcome, Verdict], None]


async def _fresh(ask: Ask, book: Book, tempo: Tempo) -> None:
    """A world for this request alone."""
    async with world(tempo) as made:
        first = made.add(ask.seat, "played")
        other = made.add(ask.other, "calm") if ask.other else None
        outcome = await play(ask, made, first, other)
        book(outcome, judge(outcome, made))


async def _long(some: Sequence[Ask], book: Book, tempo: Tempo) -> None:
    """One client lives through all of these, a dozen at a time."""
    async with world(tempo) as made:
        fill_for_long(made)
        line = iter(some)

        async def live() -> None:
            for ask in line:
                other = "openai:calm" if ask.other else None
                outcome = await play(ask, made, f"{ask.seat.provider}:played", other)
                book(outcome, judge(outcome, made))

        async with asyncio.TaskGroup() as group:
            for _ in range(LIFE_AT_ONCE):
                group.create_task(live())
        await _all_are_well(made)


async def _all_are_well(made: World) -> None:
    """I8: when the faults are over, every model answers who asks for it by name, whatever its breaker says.

    But for one that asked to be left alone for longer: that is kept, and told.

    Raises:
        RuntimeError: One does not.
    """
    for number, (model_id, upstream) in enumerate(made.upstreams.items()):
        marker = f"REQ-{9_000_000 + number}"
        try:
            answer = await _well(made, model_id, f"Are you well? {marker}")
        except NoRoute as error:
            if "asked to be left alone" in error.message or "out of credit" in error.message:
                continue
            raise
        if answer != upstream.answer_for(marker):
            raise RuntimeError(f"after the faults {model_id} answered {answer!r}")


async def _well(made: World, model_id: str, prompt: str) -> str:
    """Its answer. Where the machine let nobody run meanwhile, a time-out proves nothing, and it is asked again."""
    for number in range(MOST_TRIES):
        starved = starved_so_far()
        try:
            return (await made.client.execute(prompt, model_id, deadline=PATIENT)).response
        except AllModelsFailed:
            if starved_so_far() - starved <= STARVED or number == MOST_TRIES - 1:
                raise
    raise AssertionError("not reached")


async def _warm_up() -> None:
    """Imports, caches and thread pools, which would else count as left over."""
    async with world(TEMPO) as made:
        fill_for_long(made)
        await asyncio.gather(*(made.client.execute("Warm up.", model_id) for model_id in made.upstreams))


@asynccontextmanager
async def _watched(tally: Tally) -> AsyncIterator[None]:
    """Note what is left when all is over, what the loop complains of, and a key in any line of the log."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: tally.leftovers.append(f"the loop says: {_words(context)}"))
    ears = _Ears(tally)
    logging.getLogger().addHandler(ears)
    tasks, fds = asyncio.all_tasks(), _open_fds()
    try:
        yield
    finally:
        logging.getLogger().removeHandler(ears)
        for _ in range(10):  # connections that were aborted close their sockets in the loop's next rounds
            gc.collect()
            await asyncio.sleep(0.01)
        left = asyncio.all_tasks() - tasks
        if left:
            tally.leftovers.append(f"{len(left)} tasks, such as {next(iter(left))!r}")
        if _open_fds() > fds + FDS_OVER:
            tally.leftovers.append(f"{_open_fds()} file descriptors instead of {fds}")
        loop.set_exception_handler(None)


class _Ears(logging.Handler):
    """Hears every line of every log."""

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self._tally = tally

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if KEY in text or "canary-prompt" in text:
            self._tally.breach("leaked", f"a log line holds a key or a prompt: {record.name} {text[:200]}")
        elif record.levelno >= logging.WARNING:
            self._tally.leftovers.append(f"{record.name} warns: {text[:300]}")


def _words(context: dict[str, Any]) -> str:
    return f"{context.get('message')} {context.get('exception')!r}"


def _memory() -> int:
    """The most memory that this process ever held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _open_fds() -> int:
    return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0  # noqa: PTH208
