"""One race: calls in several processes against one budget, watched while it runs, and judged by the books of both sides."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

import apsw

from oblix.ledger import Ledger, balances, chain
from oblix.storage.store import Store
from oblix.testing.faults import Fault, FaultServer, Manner, Tempo, Upstream, Wire
from oblix.types.money import Limit, micro
from oblix.types.spec import Price

PRICE = (2.0, 10.0)  # USD per million tokens
LENGTHS = (40, 240)  # tokens of the answers
MOST = 600  # tokens that a caller allows
FAULTS = (
    Fault("status_500", "before_headers"),
    Fault("status_503", "before_headers"),
    Fault("reset", "before_headers"),
    Fault("reset", "mid_stream"),
    Fault("late_headers", "before_headers"),  # of these, and of those that the crowd delays, some are hedged
)
WARM = 25  # answers of each model before the race: from them a caller knows what is slow, and only then it hedges
_CALLER = Path(__file__).with_name("caller.py")


@dataclass(slots=True)
class Race:
    """What came of it. Amounts are micro-USD."""

    share: float
    rough: bool
    hidden: bool
    calls: int
    limit: int = 0
    answered: int = 0
    cut: int = 0
    refused: int = 0
    other: int = 0
    affordable: int = 0
    settled: int = 0
    billed: int = 0
    overrun: int = 0
    warm: int = 0
    hedged: int = 0
    peak: int = 0
    looks: int = 0
    seconds: float = 0.0
    troubles: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Whole answers, of those that the oracle could have had."""
        return self.answered / self.affordable if self.affordable else 1.0


async def run(
    folder: Path, share: float, *, calls: int, processes: int = 4, rough: bool = False, hidden: bool = False
) -> Race:
    """A budget of `share` of what all calls would cost, in a data file of its own."""
    race = Race(share, rough, hidden, calls)
    store = folder / f"race-{share:g}-{rough:d}{hidden:d}.db"
    async with FaultServer(Tempo(pause=1.0)) as server:
        wires: tuple[Wire, ...] = ("openai", "claude")
        ups = [server.upstream(wire, wire=wire, price=Price(*PRICE, "the race")) for wire in wires]
        for up in ups:
            up.manner = Manner(lengths=LENGTHS, pause=0.002, thoughts=100 if hidden else 0)
        markers = [f"REQ-{number:05}" for number in range(calls)]
        if rough:
            _plant(ups, markers)
        whole = {marker: _whole(ups[0], marker) for marker in markers}
        race.limit = round(share * sum(whole.values()))
        plans = [
            _plan(store, ups, markers[number::processes], rough=rough, hidden=hidden) for number in range(processes)
        ]
        began = time.monotonic()
        told = await _raced(plans, store, race)
        race.seconds = time.monotonic() - began
        _judge(race, store, told, whole, ups)
    return race


def _plant(ups: list[Upstream], markers: list[str]) -> None:
    drawn = random.Random(6)
    for marker in markers:
        if drawn.random() < 0.15:
            ups[0].play(marker, drawn.choice(FAULTS), times=1)


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


def _plan(store: Path, ups: list[Upstream], markers: list[str], *, rough: bool, hidden: bool) -> dict[str, Any]:
    names = ("gpt-5-raced", "raced") if hidden else ("raced", "raced")
    upstreams = [(name, up.wire, up.url) for name, up in zip(names, ups, strict=True)]
    return {
        "store": str(store),
        "upstreams": upstreams if rough else upstreams[:1],
        "price": PRICE,
        "markers": markers,
        "rough": rough,
        "warm": [f"REQ-9{markers[0][-2:]}{number:03}" for number in range(WARM if rough else 0)],
        "most": MOST,
    }


async def _raced(plans: list[dict[str, Any]], store: Path, race: Race) -> list[dict[str, Any]]:
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
    told: list[dict[str, Any]] = []
    try:
        for caller in callers:
            assert caller.stdin is not None
            caller.stdin.write(b"go\n")
        for caller in callers:
            assert caller.stdout is not None
            told += json.loads(await caller.stdout.readline())
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


def _judge(race: Race, store: Path, told: list[dict[str, Any]], whole: dict[str, int], ups: list[Upstream]) -> None:
    db = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
    verdict, unbalanced = chain.verify(db), balances.unbalanced(db)
    if verdict.broken_at is not None:
        race.troubles.append(verdict.why)
    race.troubles += unbalanced
    if open_ := db.execute("SELECT count(*) FROM reservation").get:
        race.troubles.append(f"{open_} reservations are still open")
    race.overrun = max(race.peak - race.limit, _overrun_in_entries(db, race.limit), 0)
    charged = dict(
        db.execute(
            "SELECT request_id, sum(micro) FROM entry WHERE kind IN ('settle', 'reap', 'correct') GROUP BY request_id"
        )
    )
    race.settled = sum(charged.values())
    billed: dict[str, int] = {}
    for row in (row for up in ups for row in up.bill if row.marker in whole):
        billed[row.marker] = billed.get(row.marker, 0) + micro(row.usd)
    race.billed = sum(billed.values()) + race.warm
    race.troubles += [
        f"{marker}: billed {amount}, charged {charged.get(marker, 0)}"
        for marker, amount in billed.items()
        if amount > charged.get(marker, 0)
    ]
    if len(told) != race.calls:
        race.troubles.append(f"{len(told)} of {race.calls} calls came back")
    _count(race, told)
    race.hedged = _hedged(db)
    race.affordable = _oracle(race.limit - race.warm, told, whole, charged)
    db.close()


def _hedged(db: apsw.Connection) -> int:
    """How many attempts started beside another one, by the log of decisions."""
    records = (json.loads(record) for (record,) in db.execute("SELECT record FROM outcome"))
    return sum(attempt["hedged"] for record in records for attempt in record["attempts"])


def _overrun_in_entries(db: apsw.Connection, limit: int) -> int:
    """Walk the books from their first entry: how far settled and reserved together were above the limit, once there was one."""
    held: dict[str, int] = {}
    settled, most, is_limited = 0, 0, False
    for kind, name, amount in db.execute("SELECT kind, reservation, micro FROM entry ORDER BY seq"):
        if kind in ("reserve", "raise"):
            held[name] = held.get(name, 0) + amount
        elif kind in ("settle", "reap", "correct"):
            held.pop(name, None)
            settled += amount
        is_limited = is_limited or kind == "limit"
        if is_limited and kind != "answer":  # an answer moves no money
            most = max(most, settled + sum(held.values()) - limit)
    return most


def _count(race: Race, told: list[dict[str, Any]]) -> None:
    for each in told:
        if each["outcome"] == "ok" and each["finish"] != "budget":
            race.answered += 1
        elif each["outcome"] == "ok":
            race.cut += 1
        elif "BUDGET" in each["outcome"] or "budget" in each.get("error", ""):
            race.refused += 1
        else:
            race.other += 1


def _oracle(limit: int, told: list[dict[str, Any]], whole: dict[str, int], charged: dict[str, int]) -> int:
    """How many calls one who knows every final cost could have admitted, in the order in which they came.

    The final cost of a call that was answered, failed or was cancelled is what it was charged; of one that was refused or cut, what it
    would have come to. Calls that were given up count for neither side.
    """
    spent = admitted = 0
    for each in sorted(told, key=itemgetter("came")):
        marker = each["marker"]
        cost = whole[marker]
        is_whole = each["outcome"] == "ok" and each["finish"] != "budget"
        final = charged.get(marker, 0) if is_whole or each["outcome"] == "cancelled" else cost
        if spent + final <= limit:
            spent += final
            admitted += each["outcome"] != "cancelled" and not _failed(each)
    return admitted


def _failed(each: dict[str, Any]) -> bool:
    return each["outcome"] != "ok" and "BUDGET" not in each["outcome"] and "budget" not in each.get("error", "")
