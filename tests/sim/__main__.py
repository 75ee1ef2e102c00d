"""Runs many simulated worlds, or looks at one: ``python -m tests.sim [--seeds N] [--jobs J] [--seed S [--replay] [--trace]]``."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence

from .many import results
from .simulate import Result, simulate

TAIL = 25  # lines of the trace of a failing seed
TOLD = 10  # failing seeds whose trace is shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; 0 when nothing broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim")
    parser.add_argument("--seeds", type=int, default=1000, help="how many worlds")
    parser.add_argument("--start", type=int, default=1, help="the first seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--replay", action="store_true", help="run it twice and compare")
    parser.add_argument("--trace", action="store_true", help="print all that happened")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        return _one(options.seed, replay=options.replay, trace=options.trace)
    return _many(range(options.start, options.start + options.seeds), options.jobs)


def _one(seed: int, *, replay: bool, trace: bool) -> int:
    result = simulate(seed)
    _tell(result, len(result.lines) if trace else TAIL)
    print(f"seed {seed}: {len(result.lines)} events, trace {result.digest}")
    if replay:
        again = simulate(seed)
        differs = next((pair for pair in zip(result.lines, again.lines, strict=False) if pair[0] != pair[1]), None)
        same = result.digest == again.digest
        print(f"replay: trace {again.digest}, {'the same' if same else f'DIFFERENT, first at {differs}'}")
        if not same:
            return 1
    return 1 if result.unsafe or result.stuck else 0


def _many(seeds: Sequence[int], jobs: int) -> int:
    began = time.perf_counter()
    unsafe = stuck = requests = told = 0
    broken_by: dict[str, list[int]] = {}
    met: Counter[str] = Counter()
    for result in results(seeds, jobs):
        requests += result.requests
        met += result.met
        unsafe += bool(result.unsafe)
        stuck += bool(result.stuck)
        for invariant in {broken.invariant for broken in (*result.unsafe, *result.stuck)}:
            broken_by.setdefault(invariant, []).append(result.seed)
        if (result.unsafe or result.stuck) and told < TOLD:
            told += 1
            _tell(result, TAIL)
    seconds = time.perf_counter() - began
    print(f"sim: met {', '.join(f'{what} {count}' for what, count in sorted(met.items()))}")
    for invariant, found in sorted(broken_by.items()):
        print(f"sim: {invariant}: {len(found)} seeds, the first {', '.join(map(str, found[:TOLD]))}")
    print(f"sim: {requests} requests in {seconds:.1f} s, {len(seeds) / seconds:.1f} seeds/s")
    print(f"sim: seeds={len(seeds)} unsafe={unsafe} stuck={stuck}")
    return 1 if unsafe or stuck else 0


def _tell(result: Result, lines: int) -> None:
    for line in result.lines[-lines:] if not (result.unsafe or result.stuck) else _around(result, lines):
        print(f"  {line}")
    for broken in (*result.unsafe, *result.stuck):
        print(f"seed {result.seed}: {broken}")
    if result.unsafe or result.stuck:
        print(f"again: python -m tests.sim --seed {result.seed} --replay --trace\n")


def _around(result: Result, lines: int) -> Sequence[str]:
    """The lines up to the first thing that broke."""
    first = next(number for number, line in enumerate(result.lines, 1) if " BROKEN " in line)
    return result.lines[max(0, first - lines) : first] if lines < len(result.lines) else result.lines


if __name__ == "__main__":
    sys.exit(main())
