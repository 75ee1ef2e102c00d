"""What a probe reads from: this machine, or the folder of a recorded one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class System:
    """Files and programs of a machine. For a sensor's own thread: a file of a broken device may hang.

    A recorded machine is a folder: its files lie under their own paths, what its programs say in `commands/`, each in a file that is
    named by the words of the command, joined by `_` (`commands/ioreg_-a_-r_-c_IOAccelerator.txt`).

    Args:
        root: The folder of a recorded machine; `None` for this one.
        platform: As `sys.platform` has it: `linux`, `darwin`, `win32`.
    """

    def __init__(self, root: Path | None = None, platform: str = sys.platform) -> None:
        self.platform = platform
        self.is_recorded = root is not None
        self._root = "" if root is None else str(root)

    def path(self, path: str) -> Path:
        """Where a file of that machine lies on this one."""
        return Path(f"{self._root}/{path.lstrip('/')}")

    def text(self, path: str) -> str | None:
        """What the file holds, without the space around it; `None` where it is missing or may not be read."""
        try:
            # Without buffers and `Path`: some files are read twice a second for as long as a client lives, cold each time, and this takes
            # 28 µs a file instead of 75.
            with open(f"{self._root}/{path.lstrip('/')}", "rb", buffering=0) as file:  # noqa: PTH123
                return file.read().decode("utf-8", "replace").strip()
        except OSError:
            return None

    def number(self, path: str) -> int | None:
        """The whole number that the file holds, `None` where it holds none."""
        try:
            return int(self.text(path) or "")
        except ValueError:
            return None

    def names(self, path: str) -> tuple[str, ...]:
        """What the folder holds, sorted; empty where there is none."""
        try:
            return tuple(sorted(entry.name for entry in self.path(path).iterdir()))
        except OSError:
            return ()

    def output(self, *command: str, within: float = 2.0) -> str | None:
        """What the program prints; `None` where it is missing, fails, or takes longer than so many seconds."""
        if self.is_recorded:
            return self.text("commands/" + "_".join(_UNSAFE.sub("-", word) for word in command) + ".txt")
        try:
            done = subprocess.run(command, capture_output=True, timeout=within, check=True, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.decode("utf-8", "replace").strip()


HERE = System()
