"""Several processes on one budget: together they never pass it, and they use it up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from oblix.ledger import books
from oblix.storage.store import Store

from .booking import figures, is_sound, limit, told

PROCESSES, CALLS = 4, 60
# A process that has many calls at once, of random sizes, which grow, are charged less than they reserved, are cancelled, or settled twice.
# It tells the sum of what it was charged.
SPENDS = f"""
import asyncio, random, sys
from pathlib import Path
from oblix.errors import AttemptFailed
from tests.ledger.booking import claim, ledger_on, spent, store_of
from dataclasses import replace

draw = random.Random(int(sys.argv[2]))
charged = 0

async def call(ledger, number):
    global charged
    now = asyncio.get_running_loop().time
    asked = replace(claim(draw.randrange(20, 200), grows=True), id=f"p{{sys.argv[2]}}-{{number}}#1")
    await asyncio.sleep(draw.random() * 0.2)
    work = asyncio.create_task(ledger.reserve(asked, until=now() + 20.0))
    if number % 7 == 0:
        await asyncio.sleep(draw.random() * 0.01)
        work.cancel()
    try:
        hold = await work
    except (AttemptFailed, asyncio.CancelledError):
        return
    await asyncio.sleep(draw.random() * 0.02)
    await hold.raise_to(hold.micro_usd + draw.randrange(50))
    cost = draw.randrange(hold.micro_usd + 1)
    hold.settle(spent(cost))
    hold.settle(spent(cost))
    charged += cost

async def main():
    ledger = ledger_on(Path(sys.argv[1]))
    await ledger.open()
    print("ready", flush=True)
    sys.stdin.readline()
    await asyncio.gather(*(call(ledger, number) for number in range({CALLS})))
    await store_of(ledger).write(lambda db: None)
    ledger.close()
    store_of(ledger).close()
    print(charged, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("share", [2.0, 0.5, 0.1, 0.02], ids=lambda share: f"{share:.0%} of what they want")
def test_together_they_never_pass_it(tmp_path: Path, share: float) -> None:
    file = tmp_path / "oblix.db"
    store = Store(file)
    most = int(PROCESSES * CALLS * 60 * share)
    store.write_now(lambda db: books.set_limit(db, limit(most), at=0.0, today="2026-11-23"))
    children = [
        subprocess.Popen(
            [sys.executable, "-c", SPENDS, str(file), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    overrun, looks = -most, 0
    while any(child.poll() is None for child in children):
        ((settled, reserved, _),) = figures(store)
        overrun, looks = max(overrun, settled + reserved - most), looks + 1
    charged = sum(int(child.communicate()[0]) for child in children)
    assert [child.returncode for child in children] == [0] * PROCESSES
    assert looks > 10
    assert overrun <= 0
    assert figures(store) == [(charged, 0, 0)]
    assert is_sound(store)
    if share < 1:  # who was refused could not have been paid with what is left
        assert most - charged < 200
    assert len(set(told(store, "reservation", "kind = 'settle'"))) == len(told(store, "1", "kind = 'settle'"))
    store.close()
