"""`make bench`: everything is measured in one run against one local stand-in, the contenders taking turns, round by round."""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any

from bench import failover, hands, imports, report, stalls, thinking
from bench.contenders import CONTENDERS
from bench.workers import Worker

ROUNDS = 5  # each contender is measured once in each; ratios are taken within a round, then the median over the rounds
SLICE = 0.3  # seconds for one measurement of one contender: 200 calls of the slowest
WIDTH = 50  # calls in flight
STREAMS = 4  # of 100 tokens at once: 4 tokens a millisecond keep even the slowest from falling behind
CONCURRENT = 50  # calls at once to the 0.2 s model
REPEATS = 5  # of that: the best one counts, because noise only adds
TRIES = 3  # for a stall above its limit: what is ours shows in each, what is the machine's does not
ORDERS: tuple[tuple[Any, ...], ...] = (
    ("sequential", SLICE),
    ("in_flight", SLICE, WIDTH),
    ("hundred", SLICE, STREAMS),
    ("burst", SLICE, 1),
)


def main() -> int:
    """Measure, print, and give 1 when a Must was missed."""
    started = perf_counter()
    print(report.header())
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="oblix-bench-")))
        upstream = stack.enter_context(Worker("bench.upstream"))
        address = f"http://127.0.0.1:{upstream.read()}"
        workers = {
            name: stack.enter_context(Worker("bench.contenders", name, address, home=home)) for name in CONTENDERS
        }
        _check(workers)
        seen = _interleave(workers)
        together = {name: workers[name].tell("at_once", CONCURRENT, REPEATS) for name in ("plain", "oblix")}
        stalled = {case: _stall(case, address, home) for case in stalls.CASES}
        failed = {case: _failover(case, address, home) for case in failover.CASES}
    found = report.Found(seen, together, stalled, imports.measure(), thinking.measure(), failed, hands.measure())
    print(report.table(found))
    verdict, passed = report.verdict(found)
    print(f"\ntook {perf_counter() - started:.0f} s\n{verdict}")
    return 0 if passed else 1


def _check(workers: dict[str, Worker]) -> None:
    for name, worker in workers.items():
        wrong = [what for what, right in worker.tell("check").items() if not right]
        if wrong:
            raise SystemExit(f"bench: {name} read something else than was sent: {', '.join(wrong)}")


def _interleave(workers: dict[str, Worker]) -> dict[str, dict[str, list[Any]]]:
    """Contender → measurement → one result for each round."""
    seen: dict[str, dict[str, list[Any]]] = {name: {order[0]: [] for order in ORDERS} for name in workers}
    for _ in range(ROUNDS):
        for order in ORDERS:
            for name, worker in workers.items():
                seen[name][order[0]].append(worker.tell(*order))
    return seen


def _failover(case: str, address: str, home: Path) -> dict[str, float]:
    with Worker("bench.failover", case, address, home=home) as worker:
        found: dict[str, float] = worker.read()
        return found


def _stall(case: str, address: str, home: Path) -> dict[str, float]:
    """The best of a few tries, as long as the stall is above its limit."""
    best: dict[str, float] = {}
    for number in range(TRIES):
        kept = home / f"{case}-{number}"
        kept.mkdir()
        with Worker("bench.stalls", case, address, home=kept) as worker:
            found: dict[str, float] = worker.read()
        best = found if not best or found["stall"] < best["stall"] else best
        if best["stall"] <= report.STALL:
            break
    return best


if __name__ == "__main__":
    sys.exit(main())
