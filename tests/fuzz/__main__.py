"""Fuzzes the decoders and readers: ``python -m tests.fuzz --runs 1000000 [TARGET …]``; a crash is printed in hex and kept in .fuzz/."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import seeds
from .targets import TARGETS

_ROOT = Path(__file__).parents[2]
PYTHON = _ROOT / ".venv-fuzz" / "bin" / "python"
FOUND = _ROOT / ".fuzz"
_MAX_LENGTH = 160  # bytes of an input; the interesting things are short
_HANG = 10  # seconds for one input
_MEMORY = 1024  # MiB for one process: nothing that is decoded may grow without bounds
_WORDS = (
    "\\x0a\\x0a",
    "\\x0d\\x0a",
    "\\xef\\xbb\\xbf",
    "data: ",
    "event: ",
    "[DONE]",
    "null",
    "true",
    "1e999",
    "retry-after",
)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one target."""

    name: str
    runs: int
    seconds: float
    crash: bytes | None
    words: str  # what the worker said, where it did not come to its end


def main(arguments: Sequence[str]) -> int:
    """Run the targets, two at a time or as many as there are processors."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000, help="executions of each target")
    parser.add_argument("--seed", type=int, default=1, help="of the mutations; the same one does the same")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; by default all")
    given = parser.parse_args(arguments)
    if unknown := set(given.targets) - TARGETS.keys():
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if not PYTHON.is_file():
        print("fuzz: cannot run, atheris is not installed: `make .venv-fuzz/.ready`")
        return 1
    names = given.targets or list(TARGETS)
    results = []
    with tempfile.TemporaryDirectory(prefix="oblix-fuzz-") as folder, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for result in pool.map(lambda name: _fuzz(name, given.runs, given.seed, Path(folder)), names):
            print(_line(result), flush=True)
            results.append(result)
    failed = sum(result.crash is not None or result.runs < given.runs for result in results)
    print(f"fuzz: targets={len(results)} executions={sum(result.runs for result in results)} exceptions={failed}")
    return 1 if failed else 0


def _fuzz(name: str, runs: int, seed: int, folder: Path) -> Result:
    """One target in a process of its own. A finding ends it, and its input is kept."""
    corpus, words, found = folder / name, folder / f"{name}.dict", folder / f"{name}.found"
    corpus.mkdir()
    found.mkdir()
    for number, data in enumerate(TARGETS[name].seeds):
        (corpus / f"seed-{number}").write_bytes(data)
    words.write_text(
        "".join(f'"{word}"\n' for word in (*_WORDS, *sorted(_keys([*seeds.EVENTS.values(), seeds.ENGINE]))))
    )
    started = time.monotonic()
    ran = subprocess.run(
        [
            PYTHON, "-m", "tests.fuzz.worker", name, f"-runs={runs}", f"-seed={seed}", f"-max_len={_MAX_LENGTH}", f"-timeout={_HANG}",
            f"-rss_limit_mb={_MEMORY}", f"-dict={words}", f"-artifact_prefix={found}/", str(corpus),
        ],
        cwd=_ROOT, env={**os.environ, "PYTHONPATH": str(_ROOT / "src")}, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    seconds = time.monotonic() - started
    done = re.findall(r"^(?:#|Done )(\d+)", ran.stderr, re.MULTILINE)
    crash = next((path.read_bytes() for path in found.iterdir()), None)
    if crash is not None:
        FOUND.mkdir(exist_ok=True)
        (FOUND / f"{name}-{hashlib.sha256(crash).hexdigest()[:12]}").write_bytes(crash)
    return Result(name, int(done[-1]) if done else 0, seconds, crash, ran.stdout + ran.stderr if ran.returncode else "")


def _keys(value: object) -> set[str]:
    """Every name that a field has in the seeds."""
    if isinstance(value, dict):
        return {*value, *_keys([*value.values()])}
    return {key for inner in value for key in _keys(inner)} if isinstance(value, list | tuple) else set()


def _line(result: Result) -> str:
    line = f"{result.name:<18}{result.runs:>9} runs{result.runs / max(result.seconds, 1e-9):>9.0f}/s{result.seconds:>7.0f} s"
    if not result.words:
        return line
    told = "\n".join(line for line in result.words.splitlines() if not line.startswith(("INFO", "WARNING", "#")))
    return f"{line}  FOUND {result.crash.hex() if result.crash is not None else 'nothing to keep'}\n{told[-3000:]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
