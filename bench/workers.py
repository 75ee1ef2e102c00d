"""The processes of a run: started, given orders, and ended with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parent.parent
PATIENCE = 10.0  # seconds for a process to leave


class Worker:
    """A process that takes orders on its standard input and answers on its standard output, one JSON value a line.

    Args:
        home: Where Oblix keeps its things in that process.
        prefix: Words to put before the command, for one that runs in another network namespace.
        variables: What is to be added to its environment.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        home: Path | None = None,
        prefix: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=environment(home) | dict(variables or {}),
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as stack:
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                stack.callback(pipe.close)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def read(self) -> Any:
        """The next answer."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"bench: {self._process.args!r} ended with code {self._process.wait()}")
        return json.loads(line)

    def tell(self, order: str, *given: Any) -> Any:
        """Give an order and wait for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([order, *given]).encode() + b"\n")
        self._process.stdin.flush()
        return self.read()


def environment(home: Path | None) -> dict[str, str]:
    """Ours, without keys, proxies and recorded readings of the user's; what Oblix keeps goes to `home`."""
    dropped = ("OPENAI", "OBLIX", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(dropped)}
    return kept if home is None else kept | {"OBLIX_HOME": str(home)}
