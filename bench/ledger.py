"""What the books take: reserve and settle one call, in three accounts, after 100,000 entries; and how soon a new process is ready. µs, ms.

`python -m bench.ledger` prints it alone.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Literal

from oblix.ledger import Ledger, books, entries
from oblix.ledger.balances import Amounts
from oblix.ledger.entries import Call
from oblix.ledger.owner import Lease
from oblix.storage.store import Store
from oblix.types.money import Claim, Limit, Spent
from oblix.types.spec import Price

PAIRS, WARM = 2000, 200
ENTRIES = 100_000
_FIVE = Amounts(5, 5, 5, 5, False)
_PRICE = Price(2.5, 10.0, "bench")
_SPENT = Spent(700, True, "ok", input_tokens=100, output_tokens=45)
_LIMITS = (
    Limit("all", "day", 10**12),
    Limit("all", "month", 10**12),
    Limit("model", "day", 10**12, subject="openai:bench"),
)


def measure() -> dict[str, float]:
    """Name of the measurement → µs; what ends in `ms` is in milliseconds."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="oblix-bench-") as folder:
        for durability in ("normal", "full"):
            file = Path(folder) / f"{durability}.db"
            found |= asyncio.run(_pairs(file, durability, f"reserve + settle, {durability.upper()}"))
            _fill(file)
            limits = _LIMITS
            found |= asyncio.run(_pairs(file, durability, f"three accounts, {durability.upper()}", limits))
        found["a process died: the next one is ready, ms"] = asyncio.run(_ready(file))
    return found


async def _pairs(
    file: Path, durability: Literal["normal", "full"], name: str, limits: tuple[Limit, ...] = ()
) -> dict[str, float]:
    store = Store(file, durability=durability)
    ledger = Ledger(store, limits)
    await ledger.open()
    took: list[float] = []
    clock = time.perf_counter
    for number in range(WARM + PAIRS if durability == "normal" else PAIRS // 4):
        claim = Claim(f"{name}{number}#1", f"{name}{number}", "openai:bench", "cloud", 100, _PRICE)
        start = clock()
        hold = await ledger.reserve(claim)
        hold.settle(_SPENT)
        store.flush()  # it is written in the loop's next turn, and counts all the same
        took.append(clock() - start)
        await store.write(_nothing)  # a settlement that waits for the disk is the next one's wait, and counts there
    rooms = []
    for _ in range(PAIRS):
        start = clock()
        ledger.rooms(("openai:bench", "claude:bench", "ollama:bench"))
        rooms.append(clock() - start)
    ledger.close()
    store.close()
    return {
        f"{name}, p50": 1e6 * median(took[WARM:]),
        f"{name}, p99": 1e6 * quantiles(took[WARM:], n=100)[98],
        f"{name}: rooms of three models": 1e6 * median(rooms),
    }


def _nothing(db: object) -> None:
    """Come after what was posted."""


def _fill(file: Path) -> None:
    """Books of some months, with a call of a process that died."""
    store = Store(file)
    price = "genai-prices 2026-11-20"

    def work(db: object) -> None:
        for number in range(ENTRIES // 2):
            day = f"2026-{1 + number % 10:02}-{1 + number % 28:02}"
            call = Call(f"old{number}#1", f"old{number}", f"openai:{number % 5}", "cloud", ("work",), "", price)
            entries.append(db, "reserve", call, 1000, at=float(number), day=day)  # type: ignore[arg-type]
            entries.append(db, "settle", call, 700, at=float(number), day=day, spent=_SPENT)  # type: ignore[arg-type]

    store.write_now(work)
    store.write_now(
        lambda db: books.reserve(
            db, Call("dead#1", "dead", "openai:0", "cloud"), _FIVE, at=0.0, today="2026-11-01",
            lease=Lease("another boot//1@1", 0.0), terms=books.Terms({}),
        )
    )  # fmt: skip
    store.close()


async def _ready(file: Path) -> float:
    took = []
    for number in range(5):
        store = Store(file)
        await asyncio.to_thread(store.open)
        store.write_now(
            lambda db, n=number: books.reserve(  # type: ignore[misc]
                db, Call(f"dead{n}#1", "dead", "openai:0", "cloud"), _FIVE, at=0.0, today="2026-11-01",
                lease=Lease("another boot//1@1", 0.0), terms=books.Terms({}),
            )
        )  # fmt: skip
        ledger = Ledger(store, _LIMITS)
        start = time.perf_counter()
        await ledger.open()
        ledger.rooms(("openai:bench",))
        took.append(time.perf_counter() - start)
        store.close()
    return 1e3 * median(took)


if __name__ == "__main__":
    for what, figure in measure().items():
        sys.stdout.write(f"{what:70} {figure:10.1f}\n")
