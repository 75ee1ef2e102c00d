"""Runs the matrix and prints one line per cell: ``python -m tests.seed [PROGRAM-OR-CONDITION ...]``."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

from . import needs, page
from .matrix import Cell, Result, cells, try_cell
from .world import World


def main(wanted: Sequence[str]) -> int:
    """Run the cells whose program or condition is named, or all."""
    reason = needs.missing()
    if reason is not None:
        print(f"seed: cannot run, {reason}")
        print("seed: programs=0 cells=0 ok=0")
        return 1 if os.environ.get("CI") else 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave through the `with` blocks: nothing stays behind
    started = time.monotonic()
    chosen = [cell for cell in cells() if not wanted or cell.program in wanted or cell.condition in wanted]
    results = _run(chosen)
    programs = len({result.cell.program for result in results})
    ok = sum(not result.problems for result in results)
    print(f"seed: {time.monotonic() - started:.0f} s in all")
    print(f"seed: programs={programs} cells={len(results)} ok={ok}")
    return 0 if ok == len(results) > 0 else 1


def _run(chosen: Sequence[Cell]) -> list[Result]:
    results = []
    with tempfile.TemporaryDirectory(prefix="oblix-seed-") as folder, World(needs.weights()) as world:
        programs = page.cut(Path(folder))
        for cell in chosen:
            started = time.monotonic()
            result = try_cell(cell, programs[cell.program], world)
            print(_line(result, time.monotonic() - started), flush=True)
            results.append(result)
    return results


def _line(result: Result, seconds: float) -> str:
    models = " ".join(model.partition(":")[2] for model in result.models) or "no answer"
    words = textwrap.shorten(result.last_words, 60, placeholder=" …")
    verdict = "FAIL" if result.problems else "ok"
    line = f"{result.cell.program:<12}{result.cell.condition:<26}{verdict:<5}{seconds:5.1f} s  {models} | {words}"
    if not result.problems:
        return line
    told = "\n".join([*(f"! {problem}" for problem in result.problems), result.output])
    return f"{line}\n{textwrap.indent(told, '    ')}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
