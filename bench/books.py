"""What ledger, log and session add to an execute: each call with them and without them, taking turns in one process. µs.

`python -m bench.books` measures in a process of its own and prints a JSON object: name of the measurement → µs, or ms as it says.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from bench import ledger, sessions
from oblix import OblixClient
from oblix.execution.accounts import NoAccounts
from oblix.testing import ScriptedModel
from oblix.types.chunk import End, Usage
from oblix.types.messages import Message
from oblix.types.spec import Price

CALLS = {"edge": "ollama:bench", "priced": "openai:bench"}
KINDS = ("without", "kept", "in a session")
PROMPT = "What is the capital of France?"
# As a provider counts it, so that what we count while it is written is not above it, which would be topped up at each call.
ANSWER = ("The capital of France ", "is Paris.", End("stop", Usage(14, 10)))
TURNS = 5  # of each conversation, which is stored in a session or brought by the caller
ROUNDS, SLICE, WARM = (
    40,
    25,
    100,
)  # the kinds take turns every few calls, so that what else the machine does hits all alike


def measure() -> dict[str, float]:
    """All of it."""
    with tempfile.TemporaryDirectory(prefix="oblix-bench-") as folder:
        found: dict[str, float] = {}
        for call in CALLS:
            took = asyncio.run(_interleave(call, Path(folder)))
            bare = took["without"]
            found[f"{call} call without them"] = 1e6 * median(bare)
            for kind in KINDS[1:]:
                extra = (with_ - without for with_, without in zip(took[kind], bare, strict=True))
                found[f"{call} call {kind}"] = 1e6 * median(extra)
        context = sessions.opened(Path(folder) / "long.db", 10_000)
    pairs = ledger.measure()
    for durability in ("NORMAL", "FULL"):
        found[f"reserve + settle, {durability}"] = pairs[f"reserve + settle, {durability}, p50"]
    return found | {"context of 10,000 messages, ms": context}


async def _interleave(call: str, folder: Path) -> dict[str, list[float]]:
    """Kind → the median seconds of a call in each round."""
    callers = {kind: _Caller(CALLS[call], folder / f"{call} {kind}.db", kind) for kind in KINDS}
    took: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for caller in callers.values():
        await caller.calls(WARM)
    for _ in range(ROUNDS):
        for kind, caller in callers.items():
            took[kind].append(await caller.calls(SLICE))
    for caller in callers.values():
        await caller.client.shutdown()
    return took


class _Caller:
    """Somebody who leads short conversations with one model."""

    def __init__(self, model_id: str, file: Path, kind: str) -> None:
        self.client = OblixClient(store=file)
        self.client.hook(ScriptedModel(model_id, ANSWER, price=_price(model_id)))
        self._model_id = model_id
        self._has_session = kind == "in a session"
        self._said: tuple[Message, ...] = ()
        self._count = 0
        if kind == "without":
            _take_out(self.client)

    async def calls(self, count: int) -> float:
        """The median seconds of so many."""
        took = []
        for _ in range(count):
            wishes = self._wishes()
            start = time.perf_counter()
            reply = await self.client.execute(PROMPT, model_id=self._model_id, **wishes)
            took.append(time.perf_counter() - start)
            # What is written beside the path has its turn, as whenever a caller or a model waits.
            await asyncio.sleep(0)
            self._said += (Message("user", PROMPT), Message("assistant", reply.response))
        return median(took)

    def _wishes(self) -> Mapping[str, Any]:
        if self._count % TURNS == 0:
            self._said = ()
        self._count += 1
        return {"session_id": f"s{(self._count - 1) // TURNS}"} if self._has_session else {"messages": self._said}


def _price(model_id: str) -> Price:
    return Price(2.5, 10.0, "bench") if model_id == CALLS["priced"] else Price(0.0, 0.0, "bench")


def _take_out(client: OblixClient) -> None:
    """Leave a client nothing of ledger and log."""
    hall = client._hall
    hall.hands.accounts = NoAccounts()
    hall.recorder.decided = _written  # type: ignore[method-assign]
    hall.recorder.ended = _nothing  # type: ignore[method-assign]
    hall.books.answered = _nothing  # type: ignore[method-assign]
    hall.books.rooms = lambda request, models: dict.fromkeys  # type: ignore[method-assign]


def _nothing(*_: object, **__: object) -> None:
    """Write nothing down."""


async def _written(*_: object, **__: object) -> bool:
    return True


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure()) + "\n")
