"""Plays the cases: alone or in a life that many share, with the whole product, with the guard alone, and then the controls."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import get_args

import pytest

from oblix.decision import decide, rules
from oblix.models.transport import Permit
from oblix.testing.faults import FaultServer, Upstream
from oblix.types.secret import SecretStr

from .cases import CLOUDS, CONTROLS, Case, Rig, cases, controls, redactions
from .names import CLOUD, Names
from .play import PATIENT, play
from .secrets import SECRET
from .tally import Tally
from .world import KEY, PRICE, World, furnish, furnish_for_long, world

AT_ONCE = 24  # requests, in one process: most of them wait for timers
BOMBS_AT_ONCE = 2
LIFE = 60  # private requests of one client that lives long
LIFE_AT_ONCE = 8
LESSONS = 10  # public prompts to each model before, after which its usual times are known
PUBLIC_EVERY = 5  # so many private requests for one public beside them
# What would send a request elsewhere than to the fault server.
_NOT_OURS = re.compile(r".*_PROXY|.*_API_KEY|(OPENAI|ANTHROPIC|OLLAMA|OBLIX)_.*", re.IGNORECASE)

Job = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Part:
    """What one process does: every `of`-th pair of a plan, from number `index`, and so many redactions and requests of each control."""

    requests: int
    seed: int
    controls: int
    index: int = 0
    of: int = 1


def run_part(part: Part) -> Tally:
    """Play a part in a loop of its own; for a process of its own."""
    mine = [case for case in cases(part.requests, part.seed) if case.number // 2 % part.of == part.index]
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if _NOT_OURS.fullmatch(name)]:
            patch.delenv(name)
        return asyncio.run(run([*mine, *redactions(part.controls, part.seed), *controls(part.controls, part.seed)]))


async def run(todo: Sequence[Case]) -> Tally:
    """Play all of them, rig by rig."""
    tally, started = Tally(), time.monotonic()
    with _names() as names, _ears(tally):
        async with _watched_proxy() as proxy:
            for rig in get_args(Rig):
                with broken(rig):
                    await _rig([case for case in todo if case.rig == rig], names, tally)
        tally.see_strangers(len(proxy.received), proxy.connections, names.strangers)
    tally.seconds = time.monotonic() - started
    return tally


@contextmanager
def broken(rig: Rig) -> Iterator[None]:
    """Take out what the rig has to do without: the rule that keeps private prompts from a plan, then the guard as well."""
    with pytest.MonkeyPatch.context() as patch:
        if rig in ("guard_alone", "nothing"):
            left = tuple(rule for rule in rules.RULES if rule is not rules.privacy)
            assert len(left) == len(rules.RULES) - 1
            patch.setattr(decide, "RULES", left)
        if rig == "nothing":
            patch.setattr(Permit, "check", lambda _: None)
        yield


async def _rig(todo: Sequence[Case], names: Names, tally: Tally) -> None:
    alone: dict[bool, list[Job]] = {True: [], False: []}
    for case in todo:
        if not case.is_long:
            alone[case.kind.family == "bomb"].append(lambda case=case: _alone(case, names, tally))  # type: ignore[misc]
    await _work(alone[False], AT_ONCE)
    await _work(alone[True], BOMBS_AT_ONCE)
    long = [case for case in todo if case.is_long]
    for start in range(0, len(long), LIFE):
        await _life(long[start : start + LIFE], names, tally)


async def _work(jobs: Sequence[Job], at_once: int) -> None:
    line = iter(jobs)

    async def labour() -> None:
        for job in line:
            await job()

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(labour())


async def _alone(case: Case, names: Names, tally: Tally) -> None:
    """A world for this request alone: whatever reaches its cloud was sent for it."""
    async with world(names, case.number) as made:
        furnish(made, case)
        before = made.mark()
        outcome = await play(case, made, next(iter(made.edges)), next(iter(made.clouds)))
    seen = made.seen_since(before)
    if case.rig in CONTROLS:
        tally.check(case, seen)
        return
    if case.rig == "redacted":
        tally.see_redacted(outcome, seen)
        return
    tally.add(outcome)
    tally.see(seen, case)


async def _life(some: Sequence[Case], names: Names, tally: Tally) -> None:
    """One client lives through all of these. It has learned how fast its models are, and has open connections to each cloud."""
    async with world(names, some[0].number) as made:
        furnish_for_long(made)
        await _learn(made)
        before = made.mark()
        async with FaultServer() as aside:
            # Public prompts go on beside the private ones, to a cloud that nothing else is compared with.
            open_ = _open_cloud(made, aside)
            await _work([lambda case=case: _live(case, made, tally) for case in some], LIFE_AT_ONCE)  # type: ignore[misc]
            for case in some:
                tally.search(case, open_.received, "the cloud of a public prompt")
    tally.see(made.seen_since(before), f"a life of {len(some)}")


async def _learn(made: World) -> None:
    for model_id in (*made.edges, *made.clouds):
        for _ in range(LESSONS):
            await made.client.execute("How are you?", model_id, deadline=4 * PATIENT)


def _open_cloud(made: World, server: FaultServer) -> Upstream:
    upstream = server.upstream("open", wire=CLOUDS[0].wire)
    url = upstream.url.replace("127.0.0.1", f"open-{made.number}{CLOUD}")
    made.client._hook(CLOUDS[0].provider, "open", url, SecretStr(KEY), {"price": PRICE})
    return upstream


async def _live(case: Case, made: World, tally: Tally) -> None:
    if case.number % PUBLIC_EVERY == 0:
        await made.client.execute("How is the weather?", f"{CLOUDS[0].provider}:open", deadline=4 * PATIENT)
    tally.add(await play(case, made, f"{case.edge.provider}:played", f"{case.cloud.provider}:far"))


@contextmanager
def _ears(tally: Tally) -> Iterator[None]:
    """Hear a secret in any line of any log."""
    ears = _Ears(tally)
    logging.getLogger().addHandler(ears)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(ears)


class _Ears(logging.Handler):
    """Hears every line."""

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self._tally = tally

    def emit(self, record: logging.LogRecord) -> None:
        if SECRET in (text := record.getMessage()) or KEY in text:
            self._tally.findings.append(f"a line of the log tells: {record.name} {text[:200]}")


@contextmanager
def _names() -> Iterator[Names]:
    """A resolver of our own, and nobody else's."""
    names = Names()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", names)
        yield names


@asynccontextmanager
async def _watched_proxy() -> AsyncIterator[Upstream]:
    """A proxy for everything that is not the clouds' own: whatever reaches it should have stayed at home."""
    async with FaultServer() as server:
        proxy = server.upstream("proxy", wire="openai")
        with pytest.MonkeyPatch.context() as patch:
            for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
                patch.setenv(name, proxy.root)
            patch.setenv("NO_PROXY", CLOUD)
            yield proxy
