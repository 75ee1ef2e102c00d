"""One race: calls in several processes against one budget, watched while it runs, and judged by the books of both sides."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

import apsw

from oblix.ledger import Ledger
from oblix.storage.store import Store
from oblix.testing.faults import Fault, FaultServer, Manner, Tempo, Upstream, Wire
from oblix.types.money import Limit, micro
from oblix.types.spec import Price

from . import judge
from .judge import TOLD, End, Told

UPSTREAMS: tuple[tuple[str, Wire], ...] = (("raced", "openai"), ("raced-2", "claude"), ("raced-3", "openai"))
PRICE = (2.0, 10.0)  # USD per million tokens
LENGTHS = (40, 240)  # tokens of the answers
MOST = 600  # tokens that a caller allows
FAULTS = (
    Fault("status_500", "before_headers"),
    Fault("status_503", "before_headers"),
    Fault("reset", "before_headers"),
    Fault("reset", "mid_stream"),
)
LATE = (Fault("late_headers", "before_headers"), Fault("late_first_token", "before_first_token"))
FAULTY, STALLED = (
    0.12,
    0.2,
)  # shares of the rough calls; those that stall are answered in a second, unless a hedge comes first
HEDGE_EVERY = 1  # rough calls for each hedge
AMPLE = 2.0  # what breaks, and what is held, take the half of it at most: nobody need be refused
WARM = 25  # answers of each model before the race: from them a caller knows what is slow, and only then it hedges
_CALLER = Path(__file__).with_name("caller.py")


@dataclass(slots=True)
class Race:
    """What came of it. Amounts are micro-USD.

    Attributes:
        ends: How the calls ended.
        blame: What those failed by that failed.
        settled: What our books charged for the calls, `billed` the providers'; `warm` is what came before, and is in neither.
        peak: The most that was seen to be settled and reserved, in `looks` looks.
    """

    share: float
    _: KW_ONLY
    rough: bool
    hidden: bool
    calls: int
    limit: int = 0
    ends: Counter[End] = field(default_factory=Counter)
    blame: Counter[str] = field(default_factory=Counter)
    affordable: int = 0
    settled: int = 0
    billed: int = 0
    overrun: int = 0
    warm: int = 0
    hedged: int = 0
    won: int = 0
    peak: int = 0
    looks: int = 0
    seconds: float = 0.0
    troubles: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """In a word."""
        return "rough" if self.rough else "hidden" if self.hidden else "plain"

    @property
    def whole(self) -> int:
        """Answers that came whole."""
        return self.ends["whole"]

    @property
    def error(self) -> float:
        """How far what was charged is above what was billed."""
        return (self.settled - self.billed) / self.billed if self.billed else 0.0


async def run(
    folder: Path,
    share: float,
    *,
    calls: int,
    processes: int = 4,
    rough: bool = False,
    hidden: bool = False,
    lap: int = 0,
) -> Race:
    """A budget of `share` of what all calls would cost, in a data file of its own; other laps have other calls."""
    race = Race(share, rough=rough, hidden=hidden, calls=calls)
    store = folder / f"race-{share:g}-{rough:d}{hidden:d}-{lap}.db"
    async with FaultServer(Tempo(pause=1.0)) as server:
        ups = [server.upstream(name, wire=wire, price=Price(*PRICE, "the race")) for name, wire in UPSTREAMS]
        for up in ups:
            up.manner = Manner(lengths=LENGTHS, pause=0.002, thoughts=100 if hidden else 0)
        markers = [f"REQ-{lap}{number:05}" for number in range(calls)]
        if rough:
            _plant(ups, markers)
        whole = {marker: _whole(ups[0], marker) for marker in markers}
        race.limit = round(share * sum(whole.values()))
        plans = [_plan(store, ups, markers[number::processes], race=race) for number in range(processes)]
        began = time.monotonic()
        told = await _raced(plans, store, race)
        race.seconds = time.monotonic() - began
        _judge(race, store, told, whole, ups)
    return race


def _plant(ups: list[Upstream], markers: list[str]) -> None:
    """Faults at the first, stalls at the first two; the third is well, so that a hedge finds somebody while the first one rests."""
    drawn = random.Random(markers[0])
    for marker in markers:
        for up, faulty in zip(ups, (FAULTY, 0.0), strict=False):
            luck = drawn.random()
            if luck < faulty + STALLED:
                up.play(marker, drawn.choice(FAULTS if luck < faulty else LATE), times=1)


def _whole(up: Upstream, marker: str) -> int:
    body = {"messages": [{"role": "user", "content": f"{marker} Tell of the sea."}], "max_tokens": MOST}
    return micro(up.would_bill(json.dumps(body).encode()).usd)


def _spent(path: Path) -> int:
    """What is settled by now."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    spent = db.execute("SELECT sum(micro) FROM entry WHERE kind IN ('settle', 'correct')").get
    db.close()
    return int(spent or 0)


async def _limit(path: Path, amount: int) -> None:
    """As `oblix budget set` does it."""
    store = Store(path)
    ledger = Ledger(store)
    await ledger.set_limit(Limit("all", "total", amount, origin="the race"))
    ledger.close()
    await store.shut()


def _plan(store: Path, ups: list[Upstream], markers: list[str], *, race: Race) -> dict[str, Any]:
    upstreams = [("gpt-5-raced" if race.hidden else up.name, up.wire, up.url) for up in ups]
    warm = [[f"REQ-9{markers[0][4:]}{number:03}{up}" for up in range(len(ups))] for number in range(WARM)]
    return {
        "store": str(store),
        "upstreams": upstreams if race.rough else upstreams[:1],
        "price": PRICE,
        "markers": markers,
        "rough": race.rough,
        "hedge_every": HEDGE_EVERY,
        "warm": warm if race.rough else [],
        "most": MOST,
    }


async def _raced(plans: list[dict[str, Any]], store: Path, race: Race) -> list[Told]:
    """Start the callers, let all go at once, and look at the books while they run."""
    environ = os.environ | {"OBLIX_HOME": str(store.parent)}
    callers = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            str(_CALLER),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environ,
            limit=1 << 24,
        )
        for _ in plans
    ]
    for caller, plan in zip(callers, plans, strict=True):
        assert caller.stdin is not None
        caller.stdin.write(json.dumps(plan).encode() + b"\n")
    for caller in callers:
        assert caller.stdout is not None
        assert await caller.stdout.readline() == b"ready\n"
    race.warm = _spent(store) if race.rough else 0
    race.limit += race.warm
    await _limit(store, race.limit)
    watching = asyncio.create_task(asyncio.to_thread(_watch, store, race, (stop := [False])))
    told: list[Told] = []
    try:
        for caller in callers:
            assert caller.stdin is not None
            caller.stdin.write(b"go\n")
        for caller in callers:
            assert caller.stdout is not None
            told += TOLD.decode(await caller.stdout.readline())
            await caller.wait()
    finally:
        stop[0] = True
        await watching
        for caller in callers:
            if caller.returncode is None:
                caller.kill()
                await caller.wait()
    return told


def _watch(store: Path, race: Race, stop: list[bool]) -> None:
    """Look at the counters as often as can be."""
    db = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
    while not stop[0]:
        for settled, reserved in db.execute(
            "SELECT settled, reserved FROM account WHERE scope = 'all' AND period = 'total'"
        ):
            race.peak = max(race.peak, settled + reserved)
        race.looks += 1
        time.sleep(0.002)
    db.close()


def _judge(race: Race, store: Path, told: list[Told], whole: dict[str, int], ups: list[Upstream]) -> None:
    db = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
    books = judge.books(db, ups)
    race.troubles = judge.unsound(db) + books.troubles() + judge.unfit(told, db, books.charged)
    race.settled, race.billed = books.of(whole)
    charged, billed = books.of((books.charged.keys() | books.billed.keys()) - whole.keys())
    if not race.warm == charged == billed:
        race.troubles.append(f"before the race {race.warm} were settled, {charged} charged, {billed} billed")
    race.overrun = max(
        race.peak - race.limit,
        judge.overrun(db, race.limit),
        race.warm + max(race.settled, race.billed) - race.limit,
        0,
    )
    if len(told) != race.calls:
        race.troubles.append(f"{len(told)} of {race.calls} calls came back")
    race.ends.update(each.end for each in told)
    if race.share >= AMPLE and race.ends["refused"]:
        race.troubles.append(f"{race.ends['refused']} calls were refused, where all have room")
    race.blame = judge.blame(told)
    race.hedged, race.won = judge.hedges(db)
    race.affordable = judge.oracle(race.limit - race.warm, told, whole, books.charged)
    db.close()
