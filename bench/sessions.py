"""What sessions take: a long one's context, opened anew, and one turn of a conversation on the path of a prompt. ms, µs.

`python -m bench.sessions` prints it alone.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from oblix import OblixClient
from oblix.sessions.store import Sessions
from oblix.storage.store import Store
from oblix.testing import ScriptedModel
from oblix.types.messages import Message

LENGTHS = (1_000, 10_000, 100_000)  # messages of 50 tokens
TOKENS = 32_768  # of the context that is opened, which is all that a client looks at
TURNS = 5  # of each conversation on the path
CALLS, WARM, ROUNDS = 600, 100, 3
_SAID = (
    Message("user", "What is the capital of France? " + "word " * 34),
    Message("assistant", "Paris. " + "word " * 38),
)


def measure() -> dict[str, float]:
    """Name of the measurement → ms or µs, as it says."""
    with tempfile.TemporaryDirectory(prefix="oblix-bench-") as folder:
        found = {
            f"context of a session of {length:,} messages, ms": opened(Path(folder) / f"{length}.db", length)
            for length in LENGTHS
        }
        return found | asyncio.run(_path(Path(folder)))


def opened(file: Path, length: int) -> float:
    """The end of a long session, by a process that has just opened the file."""
    store = Store(file)
    store.open()
    sessions = Sessions(store, time.time)
    asyncio.run(sessions.append("long", [_SAID[number % 2] for number in range(length)]))
    took = []
    for _ in range(20):
        store.close()
        store.open()
        store.read(
            lambda db: db.execute("SELECT count(*) FROM session").fetchone()
        )  # the reader is open, its cache is cold
        start = time.perf_counter()
        recalled = store.read(sessions.recent("long", TOKENS))
        took.append(time.perf_counter() - start)
        assert recalled is not None
    store.close()
    return 1e3 * median(took)


async def _path(folder: Path) -> dict[str, float]:
    """An edge call with a short conversation, kept in a session or brought by the caller, in turns; the difference is the session's."""
    took: dict[bool, list[float]] = {True: [], False: []}
    for number in range(ROUNDS):
        for is_kept in (True, False):
            took[is_kept].append(await _calls(folder / f"{number}-{is_kept}.db", is_kept=is_kept))
    extra = median(kept - brought for kept, brought in zip(took[True], took[False], strict=True))
    return {"an edge call in a session, over the same without one, µs": 1e6 * extra}


async def _calls(file: Path, *, is_kept: bool) -> float:
    client = OblixClient(store=file)
    client.hook(ScriptedModel("ollama:bench", "Paris."))
    brought: list[Message] = []
    took = []
    for number in range(WARM + CALLS):
        if number % TURNS == 0:
            brought = []
        wishes: dict[str, Any] = {"session_id": f"s{number // TURNS}"} if is_kept else {"messages": tuple(brought)}
        start = time.perf_counter()
        reply = await client.execute("What is the capital of France?", **wishes)
        took.append(time.perf_counter() - start)
        brought += [Message("user", "What is the capital of France?"), Message("assistant", reply.response)]
    await client.shutdown()
    return median(took[WARM:])


if __name__ == "__main__":
    for what, figure in measure().items():
        sys.stdout.write(f"{what:70} {figure:10.2f}\n")
