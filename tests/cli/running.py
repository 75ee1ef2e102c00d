"""The command line as a child process, and a home with a history."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from oblix import OblixClient, Price
from oblix.testing import Fail, ScriptedModel
from oblix.testing import run as run_virtually

PAID = Price(10.0, 30.0, "test")  # USD per million tokens


def environment(home: Path, **variables: str) -> dict[str, str]:
    """The variables of a program that knows nothing of the machine that runs the tests."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "OBLIX_HOME": str(home / "oblix"),
        "OLLAMA_HOST": "127.0.0.1:9",  # the discard port: nobody answers
        **variables,
    }


def run(home: Path, *args: str, stdin: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """`oblix ARGS` with nothing in the environment but what is said here; warnings are errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "oblix", *args],
        env=environment(home, **variables),
        cwd=home,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def remember(home: Path, *wishes: dict[str, Any], fails: bool = False) -> list[str]:
    """Ask a client with an edge and a cloud model; the ids of the requests.

    Args:
        fails: The edge model does at its first try.
    """
    first: list[Any] = [[Fail("connect", "connection refused")]] if fails else []

    async def main() -> list[str]:
        client = OblixClient(store=home / "oblix" / "oblix.db")
        client.hook(ScriptedModel("ollama:phi", *first, *["yes"] * 50, window=4096))
        client.hook(ScriptedModel("openai:gpt", *["yes"] * 50, price=PAID))
        ids = [(await client.execute(**wish)).request_id for wish in wishes]
        await client.shutdown()
        await asyncio.sleep(0)
        return ids

    return run_virtually(main())
