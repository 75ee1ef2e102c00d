"""Runs the proof: ``python -m tests.privacy --requests 2000 [--jobs 2] [--seed S]``."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from .run import Part, run_part
from .tally import Tally

CONTROLS = 30  # requests of each control, in each process


def main(arguments: Sequence[str]) -> int:
    """Run, print, and say with the exit code whether nothing leaked and every control fired."""
    parser = argparse.ArgumentParser("python -m tests.privacy")
    parser.add_argument("--requests", type=int, default=2000, help="private requests")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, default=1, help="the same seed asks the same requests")
    options = parser.parse_args(arguments)
    parts = [Part(options.requests, options.seed, CONTROLS, index, options.jobs) for index in range(options.jobs)]
    tally = Tally()
    # Fresh interpreters: a fork would copy what this one has open.
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        for found in pool.map(run_part, parts):
            tally.merge(found)
    for line in tally.lines():
        print(line)
    return 0 if tally.is_good and tally.requests.total() == options.requests else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
