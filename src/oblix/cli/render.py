"""How things look on a terminal: the answer goes to stdout, everything else to stderr, colour only where it is welcome."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence

from oblix.decision.layout import Part, Table, columns, lay_out
from oblix.errors import OblixError

WIDEST = 120  # columns; longer lines are hard to read


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
    return "\n".join(columns(Table(tuple(head), tuple(tuple(row) for row in rows)), width=_width()))


def show_story(parts: Iterable[Part]) -> None:
    """Paragraphs and tables; in a pipe one line for each sentence, and tab-separated tables."""
    is_terminal = sys.stdout.isatty()
    sys.stdout.write(lay_out(parts, width=_width() if is_terminal else None, tabs=not is_terminal) + "\n")


def _width() -> int:
    return min(WIDEST, shutil.get_terminal_size().columns)
