"""A child process of ours that never outlives its parent, in whatever way that one ends."""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
import threading
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_ROOT = str(Path(__file__).parents[3])
_LAUNCH = (
    "import sys, runpy; sys.path.append(sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def command(module: str, *arguments: str) -> list[str]:
    """The command line that runs one of our modules in a fresh interpreter.

    Unlike plain `-m` it finds the package where this process found it, and nothing in the working directory, where a
    stranger's `msgspec.py` might lie.
    """
    return [sys.executable, "-P", "-c", _LAUNCH, _ROOT, module, *arguments]


def die_with_parent(parent: int) -> None:
    """Ask Linux for SIGTERM when the thread that started this process ends; elsewhere do nothing.

    The end of standard input says the same on every system, but is missed while native code holds Python's lock (the engine
    does while it loads), or when a fork of the parent holds the other end of the pipe.

    Args:
        parent: The parent's process id. When it is gone already, this process ends here.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before the call above could help
        os._exit(0)


def exit_at_end_of_input() -> None:
    """End this process, from a thread of its own, when standard input reaches its end."""
    threading.Thread(target=_read_to_end, name="oblix-orphan-watch", daemon=True).start()


def _read_to_end() -> None:
    try:
        while os.read(0, 4096):
            pass
    finally:
        os._exit(0)  # sys.exit would only end this thread


def main() -> None:
    """Run another module, such as `pip`, as a child that does not outlive its parent: `orphan PARENT MODULE ARGUMENT…`."""
    parent, module = int(sys.argv.pop(1)), sys.argv.pop(1)
    die_with_parent(parent)
    exit_at_end_of_input()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
