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
from oblix.testing import badlink

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
        sensed = _read("bench.senses", address, home=home)
        idle = _idle(address, home)
        kept = _read("bench.books", home=home)
        stalled = {case: stood for case in stalls.CASES if (stood := _stall(case, address, home))}
        failed = {case: _failover(case, address, home) for case in failover.CASES}
    found = report.Found(
        seen, together, stalled, imports.measure(), thinking.measure(), failed, hands.measure(), sensed, idle, kept
    )
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


def _read(module: str, *arguments: str, home: Path) -> Any:
    """What a process measured that takes no orders."""
    with Worker(module, *arguments, home=home) as worker:
        return worker.read()


def _idle(address: str, home: Path) -> dict[str, float]:
    """Shares of a core, with the agents and without, measured at the same time."""
    with ExitStack() as stack:
        workers = {
            which: stack.enter_context(Worker("bench.idle", which, address, home=home)) for which in ("with", "without")
        }
        return {which: worker.read() for which, worker in workers.items()}


def _failover(case: str, address: str, home: Path) -> dict[str, float]:
    found: dict[str, float] = _read("bench.failover", case, address, home=home)
    return found


def _stall(case: str, address: str, home: Path) -> dict[str, float] | None:
    """The best of a few tries, as long as it is above a limit; `None` where the case cannot be made."""
    best: dict[str, float] = {}
    for number in range(TRIES):
        kept = home / f"{case}-{number}"
        kept.mkdir()
        found = (
            _behind_a_black_hole(case, kept) if case == "resolver" else _read("bench.stalls", case, address, home=kept)
        )
        if found is None:
            return None
        best = min(best or found, found, key=_badness)
        if _badness(best) <= 1.0:
            break
    return best


def _badness(seen: dict[str, float]) -> float:
    """How near it came to the nearest of its limits."""
    return max(seen["stall"] / report.STALL, seen["longest"] / report.DELAY, seen["opening"] / report.DELAY)


def _behind_a_black_hole(case: str, home: Path) -> dict[str, float] | None:
    """In a network of its own, whose name server gives no answer; libc would wait for it for two minutes and a half."""
    if badlink.available() is not None:
        return None
    with badlink.BadLink() as link:
        link.look_names_up_at(link.away_address)
        link.cut()
        with Worker("bench.upstream", prefix=link.in_home) as upstream:
            address = f"http://127.0.0.1:{upstream.read()}"
            waiting = {"RES_OPTIONS": "timeout:30 attempts:5"}
            with Worker("bench.stalls", case, address, home=home, prefix=link.in_home, variables=waiting) as worker:
                found: dict[str, float] = worker.read()
                return found


if __name__ == "__main__":
    sys.exit(main())
