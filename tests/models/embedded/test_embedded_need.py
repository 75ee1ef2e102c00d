"""What the real engine takes of memory, held against what is predicted from the head of its weights."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from oblix.models.embedded.gguf import read_head
from oblix.models.memory import need

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = pytest.mark.engine
BATCH = 64  # as the worker has it
_EMPTY = "import psutil, xllamacpp; print(psutil.Process().memory_info().rss)"


@pytest.fixture(scope="module")
def empty() -> int:
    """Bytes of a process that has the engine's library and no model."""
    ran = subprocess.run([sys.executable, "-c", _EMPTY], capture_output=True, text=True, check=True, timeout=120)
    return int(ran.stdout)


@pytest.mark.parametrize(("window", "slots"), [(512, 1), (4096, 2), (8192, 2)])
def test_the_prediction_is_never_below_what_is_taken_and_at_most_a_seventh_above(
    bench: Bench, weights: Path, empty: int, window: int, slots: int
) -> None:
    """The whole window is taken when it is loaded, not when it is used."""

    async def taken() -> int:
        async with bench.open(window=window, slots=slots) as model:
            await bench.answer(model, bench.request("word " * 300))
            return int(psutil.Process(bench.pid(model)).memory_info().rss) - empty

    predicted = need(weights.stat().st_size, read_head(weights).shape, window=window, slots=slots, batch=BATCH)
    assert predicted.total / 1.15 <= asyncio.run(taken()) <= predicted.total
