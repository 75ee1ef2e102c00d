"""How things look on a terminal: the answer goes to stdout, everything else to stderr, colour only where it is welcome."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from oblix.errors import OblixError


def is_colourful() -> bool:
    """Whether stderr may have colour: `NO_COLOR` says no, `FORCE_COLOR` says yes, else a terminal decides."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stderr.isatty()


def note(text: str) -> None:
    """A line beside the answer."""
    dim, plain = ("\x1b[2m", "\x1b[0m") if is_colourful() else ("", "")
    sys.stderr.write(f"{dim}{text}{plain}\n")


def show_error(error: OblixError) -> None:
    """What happened, why, what to do next."""
    red, plain = ("\x1b[31m", "\x1b[0m") if is_colourful() else ("", "")
    sys.stderr.write(f"{red}error:{plain} {error}\n")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns on a terminal, tab-separated values in a pipe."""
    if not sys.stdout.isatty():
        return "\n".join("\t".join(row) for row in rows)
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]
    return "\n".join(lines)
