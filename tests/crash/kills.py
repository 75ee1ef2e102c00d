"""Rounds of kills: two requests share the process that is hit, a third is answered by another engine at the same time."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from oblix import OblixClient
from oblix.errors import StreamBroken
from oblix.models.embedded import EmbeddedModel
from oblix.types.chunk import Reset
from oblix.types.messages import Message
from oblix.types.reply import Reply
from oblix.types.request import Request

from .victim import Victim, spec_of

Way = Literal["buffered", "restart", "continue", "error"]
WAYS: tuple[Way, ...] = ("buffered", "restart", "continue", "error")
SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP, signal.SIGABRT)
# Answers of which the small model is sure, so that reading them in another batch does not change a word.
PROMPTS = ("Count from 1 to 40, separated by commas.", "Repeat: one two three four five six seven eight nine ten.")
SYSTEM = "Go."  # shorter than the template's own, which takes longer to read than all the answer to write
LENGTH = 8  # tokens; enough to break off in the middle, and most of the time goes into loading anyway
MISSES = 1_000_000  # the numbers of rounds that take the place of others begin here
LANES = 2  # victims at the same time: while one is loaded anew, the other is hit
ELSEWHERE = "embedded:elsewhere"
ANY = Request("load", (Message("user", "Hi"),))  # of a load only the size counts


@dataclass
class Tally:
    """What came of the kills. `whole` and `typed` count requests, of which two share each killed process.

    `missed` are rounds whose victim had been left for its silence, on a crowded machine, before the token of its kill came; they are
    judged like the others, and others take their place.
    """

    kills: int = 0
    missed: int = 0
    whole: int = 0
    typed: int = 0
    noticed_elsewhere: int = 0
    complaints: list[str] = field(default_factory=list)
    detections: list[float] = field(default_factory=list)
    restarts: list[float] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        return not self.complaints and not self.noticed_elsewhere

    def line(self) -> str:
        wrong = len(self.complaints)
        return (
            f"crashes: kills={self.kills} whole={self.whole} typed={self.typed} wrong={wrong}"
            f" noticed_elsewhere={self.noticed_elsewhere} missed={self.missed} p99_detect_ms={quantile(self.detections, 0.99) * 1e3:.1f}"
            f" p50_detect_ms={quantile(self.detections, 0.5) * 1e3:.1f}"
            f" p50_restart_ms={quantile(self.restarts, 0.5) * 1e3:.0f}"
        )


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


@dataclass(frozen=True)
class Round:
    """One kill; the same seed and number give the same round."""

    number: int
    signal: signal.Signals
    token: int
    way: Way
    prompt: str

    @classmethod
    def draw(cls, seed: int, number: int) -> Round:
        chance = random.Random(f"{seed}-{number}")
        return cls(
            number,
            chance.choice(SIGNALS),
            chance.randint(1, 2 * LENGTH - 6),
            chance.choice(WAYS),
            chance.choice(PROMPTS),
        )


async def run(weights: Path, kills: int, *, seed: int) -> Tally:
    """So many kills, in lanes that share one client and one healthy engine."""
    elsewhere = EmbeddedModel(spec_of("elsewhere", weights), threads=1, window=512, slots=3 * LANES)
    tally, numbers = Tally(), deque(range(kills))
    async with OblixClient(store=":memory:") as client:
        client.hook(elsewhere)
        expected = {prompt: (await ask(client, ELSEWHERE, prompt)).response for prompt in PROMPTS}
        async with asyncio.TaskGroup() as group:
            for lane in range(LANES):
                victim = Victim(f"victim{lane}", weights)
                group.create_task(Lane(client, victim, tally, expected).run(seed, numbers))
    return tally


class Lane:
    """One victim, hit again and again."""

    def __init__(self, client: OblixClient, victim: Victim, tally: Tally, expected: dict[str, str]) -> None:
        self._client = client
        self._victim = victim
        self._tally = tally
        self._expected = expected

    async def run(self, seed: int, numbers: deque[int]) -> None:
        """Play the rounds of these numbers, which other lanes take from as well."""
        while numbers and not self._tally.complaints:
            each = Round.draw(seed, numbers.popleft())
            await self._round(each)
            if self._victim.hit_at is None:
                self._tally.missed += 1
                numbers.append(each.number + MISSES)
            else:
                self._tally.kills += 1
        self._tally.detections += self._victim.detections

    async def _round(self, each: Round) -> None:
        victim, tally, clock = self._victim, self._tally, asyncio.get_running_loop().time
        self._client.hook(victim)  # anew: what was learned of the crashes before would send everybody elsewhere
        began = clock()
        await victim.load(ANY)
        if victim.hit_at is not None:
            tally.restarts.append(clock() - began)
        victim.arm(each.signal, each.token)
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(self._judge(each, each.way))
            group.create_task(self._judge(each, "buffered"))
            group.create_task(self._look_elsewhere(each))

    async def _judge(self, each: Round, way: Way) -> None:
        """One request on the victim."""
        whole, victim = self._expected[each.prompt], self._victim.spec.id
        try:
            if way == "buffered":
                text = (await ask(self._client, victim, each.prompt)).response
            else:
                text = await self._streamed(each, way)
        except StreamBroken as broken:
            if way == "error" and broken.text and whole.startswith(broken.text) and broken.kind is not None:
                self._tally.typed += 1
            else:
                self._tally.complaints.append(f"{each}: {way} broke with {broken.kind} after {broken.text!r}")
            return
        if text == whole:
            self._tally.whole += 1
        else:
            self._tally.complaints.append(f"{each}: {way} gave {text!r} instead of {whole!r}")

    async def _streamed(self, each: Round, way: Way) -> str:
        """What a reader of the stream holds at its end."""
        assert way != "buffered"
        text = ""
        async with self._client.stream(
            each.prompt, self._victim.spec.id, 0.0, LENGTH, system=SYSTEM, fallback=True, on_break=way
        ) as stream:
            async for piece in stream:
                text = "" if isinstance(piece, Reset) else text + piece
            assert (await stream.reply()).response == text
        return text

    async def _look_elsewhere(self, each: Round) -> None:
        """A request on the healthy engine must come in one attempt, whatever happens to the victim."""
        reply = await ask(self._client, ELSEWHERE, each.prompt)
        if reply.response != self._expected[each.prompt] or len(reply.attempts) != 1:
            self._tally.noticed_elsewhere += 1
            self._tally.complaints.append(
                f"{each}: elsewhere gave {reply.response!r} in {len(reply.attempts)} attempts"
            )


async def ask(client: OblixClient, model_id: str, prompt: str) -> Reply:
    return await client.execute(prompt, model_id, 0.0, LENGTH, system=SYSTEM, fallback=True)
