"""How a fetched file gets to its place: one fetch at a time, checked, and moved there whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from oblix.errors import ConfigurationError
from oblix.models.embedded.gguf import MAGIC

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes done and the bytes in all (`None`: unknown). What it raises ends the fetch, cleanly."""

_POLL = 0.1  # seconds between two looks at a lock
_SPARE = 64 << 20  # bytes of the disk that a fetch leaves free


@contextlib.contextmanager
def alone(target: Path) -> Iterator[None]:
    """Hold the lock for `target`; wait as long as another process (or thread) holds it.

    The system frees the lock when its holder ends, however it ends. The lock file stays: to remove it would let two holders in.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = target.with_name(f".{target.name}.lock").open("ab")
    except OSError as exc:
        raise ConfigurationError(
            f"The folder {str(target.parent)!r} cannot be written to: {exc}.",
            hint="set OBLIX_HOME to another folder",
            cause=exc,
        ) from exc
    with file:
        while not _try_lock(file):
            time.sleep(_POLL)
        yield


def _try_lock(file: BinaryIO) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def check_room(folder: Path, size: int) -> None:
    """Refuse a fetch that would fill the disk.

    Raises:
        ConfigurationError: Fewer than `size` bytes and a spare are free.
    """
    free = shutil.disk_usage(folder).free
    if free < size + _SPARE:
        raise ConfigurationError(
            f"{size / 1e6:.0f} MB are needed in {str(folder)!r}, {free / 1e6:.0f} MB are free.",
            hint="make room, or set OBLIX_HOME to a folder on another disk",
        )


def settle(part: Path, target: Path, sha256: str | None) -> None:
    """Check the finished file `part` and move it to `target`; a file that fails is removed.

    Raises:
        ConfigurationError: Its sum is wrong, or it is no GGUF file.
    """
    with part.open("rb") as file:
        magic = file.read(len(MAGIC))
        file.seek(0)
        found = hashlib.file_digest(file, "sha256").hexdigest() if sha256 else None
    if magic != MAGIC:
        part.unlink()
        raise ConfigurationError(
            f"What came for {target.name!r} starts with {magic!r}: no GGUF file.",
            hint="check the address: it may be a web page",
        )
    if found != sha256:
        part.unlink()
        raise ConfigurationError(
            f"What came for {target.name!r} has the sha256 {found}, expected {sha256}.",
            hint="fetch it again; if the sum stays wrong, the file was changed at its source",
        )
    with part.open("rb") as file:
        os.fsync(file.fileno())  # a power cut must not leave the name without the bytes
    part.replace(target)
