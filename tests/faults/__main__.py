"""Runs the fault matrix: ``python -m tests.faults --requests 10000 [--jobs 2] [--seed S] [--json PATH] [--without FAMILY …]``."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from . import report
from .run import Part, run_part
from .tally import Tally


def main(arguments: Sequence[str]) -> int:
    """Run, print, and say with the exit code whether every counter is 0."""
    options = _options(arguments)
    parts = [
        Part(options.requests, options.seed, index, options.jobs, frozenset(options.without))
        for index in range(options.jobs)
    ]
    tally = Tally()
    # Fresh interpreters: a fork would copy what this one has open.
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        for found in pool.map(run_part, parts):
            tally.merge(found)
    for line in (*report.table(tally), "", *report.findings(tally), report.surroundings(tally)):
        print(line)
    if options.page:
        command = (
            f"make faults N={options.requests}"
            if options.seed == 1
            else f"python -m tests.faults --seed {options.seed}"
        )
        options.page.write_text(report.put_into(options.page.read_text("utf-8"), command, tally), "utf-8")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(tally.to_dict(), indent=1) + "\n", "utf-8")
    print(report.last_line(tally))
    return 0 if tally.is_good() and tally.requests >= options.requests else 1


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.faults")
    parser.add_argument("--requests", type=int, default=10_000, help="how many must meet their fault")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, default=1, help="the same seed asks the same requests")
    parser.add_argument("--json", type=Path, help="write every figure there")
    parser.add_argument("--page", type=Path, help="put the table of this run into a page")
    parser.add_argument("--without", nargs="*", default=[], help="families to leave out")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
