"""A program that runs many commands, each in a process of its own that is forked once everything is imported.

Reads a JSON list of command lines (lists of words), and prints a JSON list of what each wrote, its exit code first.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from typing import IO

from oblix.cli.main import COMMANDS, main

AT_ONCE = 2


def start(words: list[str], out: IO[bytes]) -> int:
    """The process id of one that runs `oblix WORDS`."""
    if pid := os.fork():
        return pid
    os.dup2(out.fileno(), 1)
    os.dup2(out.fileno(), 2)
    sys.exit(main(words))


def run_all(lines: list[list[str]]) -> list[str]:
    """What each wrote."""
    running: dict[int, int] = {}
    codes: dict[int, int] = {}

    def collect() -> None:
        pid, status = os.wait()
        codes[running.pop(pid)] = os.waitstatus_to_exitcode(status)

    with ExitStack() as stack:
        outs = [stack.enter_context(tempfile.TemporaryFile()) for _ in lines]
        for number, words in enumerate(lines):
            if len(running) == AT_ONCE:
                collect()
            running[start(words, outs[number])] = number
        while running:
            collect()
        return [f"exit {codes[number]}\n{_read(out)}" for number, out in enumerate(outs)]


def _read(out: IO[bytes]) -> str:
    out.seek(0)
    return out.read().decode()


if __name__ == "__main__":
    wanted = json.load(sys.stdin)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for name in (
        "oblix.client",
        "oblix.agents",
        "asyncio",
        "aiohttp",
        *(f"oblix.cli.commands.{each}" for each in COMMANDS),
    ):
        importlib.import_module(name)
    print(json.dumps(run_all(wanted)))
