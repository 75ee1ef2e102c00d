"""Recorded machines, and such as a test writes down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from oblix.agents.probes.system import System

RECORDED = Path(__file__).parent.parent / "recorded"
PLATFORMS = {"linux": "linux", "mac": "darwin", "windows": "win32"}


def recorded(name: str) -> System:
    """One of the folders of `recorded`."""
    assert (RECORDED / name).is_dir()
    return System(RECORDED / name, PLATFORMS[name.partition("-")[0]])


def write(root: Path, files: Mapping[str, object]) -> None:
    """Files of a machine; bytes as they are, everything else as a line of text. `None` takes one away."""
    for path, value in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if value is None:
            file.unlink(missing_ok=True)
        elif isinstance(value, bytes):
            file.write_bytes(value)
        else:
            file.write_text(f"{value}\n")


def written(root: Path, files: Mapping[str, object], platform: str = "linux") -> System:
    """A machine of these files."""
    write(root, files)
    return System(root, platform)


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def go(self, seconds: float) -> None:
        self.now += seconds


def nobody() -> frozenset[int]:
    """No process is our own inference."""
    return frozenset()


def only(*pids: int) -> Callable[[], frozenset[int]]:
    """These processes are our own inference."""
    return lambda: frozenset(pids)
