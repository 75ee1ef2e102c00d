"""The page with the five programs: found, and cut into files at run time, so that its code is never copied into this repository."""

from __future__ import annotations

import os
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = ("basic", "tiers", "offline", "performance", "cost")  # ours, in the page's order
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def path() -> Path:
    """Where the page is: the environment's `SEED`, else beside the repository; relative to the repository."""
    return REPOSITORY / os.environ.get("SEED", "../shared/seed/edge-cloud-orchestration.md")


def absent() -> str | None:
    """Why the page cannot be read, or `None` when it can."""
    return None if path().is_file() else f"the page {path()} is absent (say where it is with SEED=...)"


def cut(folder: Path) -> dict[str, Path]:
    """Write each program of the page to a file of its own in `folder`; returns the files by name."""
    blocks = _BLOCK.findall(path().read_text(encoding="utf-8"))
    if len(blocks) != len(NAMES):
        raise ValueError(f"{path()} holds {len(blocks)} Python blocks, expected {len(NAMES)}")
    files = {name: folder / f"{name}.py" for name in NAMES}
    for name, block in zip(NAMES, blocks, strict=True):
        files[name].write_text(block, encoding="utf-8")
    return files
