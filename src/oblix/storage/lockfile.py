"""One at a time, among all processes: a lock that the system frees when its holder ends, however it ends."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

LOOK_EVERY = 0.02  # seconds


@contextmanager
def locked(path: Path, *, patience: float) -> Iterator[None]:
    """Hold the lock. Its file stays: to remove it would let two holders in. Blocks.

    Raises:
        OSError: The lock file cannot be made, or somebody held it for longer than `patience` seconds.
    """
    gives_up_at = time.monotonic() + patience
    with path.open("ab") as file:
        while not _try(file):
            if time.monotonic() >= gives_up_at:
                raise TimeoutError(f"another process holds {path.name!r}")
            time.sleep(LOOK_EVERY)
        yield


def _try(file: BinaryIO) -> bool:
    if sys.platform == "win32":  # pragma: no cover  not where the tests run
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
