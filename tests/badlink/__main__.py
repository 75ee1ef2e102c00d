"""Judges the connectivity agent: ``python -m tests.badlink``; ``--help`` tells the rest."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from oblix.testing import badlink

from . import certificates, page
from .away import Papers
from .judge import Verdict, outcomes
from .play import play
from .stage import Account, How
from .worlds import WORLDS, World


def main(arguments: Sequence[str]) -> int:
    """Play, print, and say with the exit code whether everything was right."""
    options = _options(arguments)
    if (reason := badlink.available() or certificates.missing()) is not None:
        print(f"The links cannot be made here: {reason}.")
        return 2
    with suppress(PermissionError):
        os.nice(-10)  # with all who are started: the agent is judged, and not what else this machine has to do
    how = How(seed=options.seed, congestion=options.congestion)
    worlds = [world for world in WORLDS if not options.only or any(part in world.name for part in options.only)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        papers = certificates.make(Path(folder))
        longest_first = sorted(worlds, key=lambda world: -world.seconds)
        verdicts = dict(pool.map(lambda world: (world.name, _play(world, papers, how, options.traces)), longest_first))
    judged = [(world, verdicts[world.name]) for world in worlds]
    lines = [page.machine(how), "", *page.table(judged), "", f"`{page.last_line(judged)}`"]
    print("\n".join(lines[:-1]))
    if options.write:
        options.write.write_text(page.put_into(options.write.read_text("utf-8"), lines), "utf-8")
    print(page.last_line(judged))
    return 0 if all(verdict.right for verdict in verdicts.values()) else 1


def _play(world: World, papers: dict[str, Papers], how: How, traces: Path | None) -> Verdict:
    verdict, account = play(world, papers, how)
    print(f"{'right' if verdict.right else 'WRONG'}  {world.name}  {outcomes(account)}", file=sys.stderr)
    for finding in verdict.findings:
        if not finding.right:
            print(f"       {finding.truth}: {finding.said} {finding.soon}", file=sys.stderr)
    if account.errors:
        print(account.errors, file=sys.stderr)
    if traces is not None:
        _keep(traces, world, account)
    return verdict


def _keep(folder: Path, world: World, account: Account) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(event)} for event in account.events] + [asdict(sample) for sample in account.samples]
    text = "".join(json.dumps(row) + "\n" for row in sorted(rows, key=lambda row: row["at"]))
    name = "".join(letter if letter.isalnum() else "_" for letter in world.name)
    (folder / f"{name}.jsonl").write_text(text, "utf-8")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.badlink")
    parser.add_argument("--only", nargs="*", default=[], help="links whose names hold one of these")
    parser.add_argument("--jobs", type=int, default=2, help="links at the same time")
    parser.add_argument("--seed", type=int, default=1, help="decides which packets are lost")
    parser.add_argument(
        "--congestion", help="how TCP finds its pace (reno, cubic, bbr), as far as the kernel allows it"
    )
    parser.add_argument("--write", type=Path, help="put the table of this run into a page")
    parser.add_argument("--traces", type=Path, help="keep everything that the agents said there")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
