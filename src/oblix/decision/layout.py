"""Paragraphs and tables as lines of a given width. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import wrap

NARROWEST = 24  # columns for a table's last column; with less it goes below its row
_GAP = "  "
_ENDLESS = 1 << 20  # columns, for lines that are not wrapped
_BEFORE_A_UNIT = re.compile(r"(?<=\d) (?=%|m?s\b)")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows below a head; the last column holds prose."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A title with lines below it, each of which is a sentence, or a table. Without a title it is a paragraph."""

    title: str = ""
    lines: tuple[str, ...] = ()
    table: Table | None = None


def lay_out(parts: Iterable[Part], *, width: int | None = 80, tabs: bool = False) -> str:
    """The whole as text.

    Args:
        width: Columns at which lines are wrapped; `None` wraps none.
        tabs: Tables without a head, their cells between tabs and never wrapped: for programs that read a pipe.
    """
    return "\n\n".join("\n".join(_part(part, width or _ENDLESS, tabs)) for part in parts)


def _part(part: Part, width: int, tabs: bool) -> list[str]:
    indent = _GAP if part.title else ""
    lines = [part.title] if part.title else []
    for line in part.lines:
        lines += _wrapped(line, width, first=indent, further=indent * 2)
    if part.table is None:
        return lines
    if tabs:
        return [*lines, *("\t".join(row) for row in part.table.rows)]
    return [*lines, *columns(part.table, width=width, indent=indent)]


def columns(table: Table, *, width: int = 80, indent: str = "") -> list[str]:
    """A table in columns; what its last column has no room for goes on below."""
    rows = (table.head, *table.rows)
    widths = [max(map(len, column)) for column in zip(*(row[:-1] for row in rows), strict=True)]
    left = width - len(indent) - sum(widths) - len(_GAP) * len(widths)
    lines: list[str] = []
    for row in rows:
        start = indent + "".join(cell.ljust(size) + _GAP for cell, size in zip(row[:-1], widths, strict=True))
        if left >= NARROWEST:
            pieces = _wrapped(row[-1], left)
            lines.append((start + pieces[0]).rstrip())
            lines += [" " * len(start) + piece for piece in pieces[1:]]
        else:
            below = indent + 2 * _GAP
            lines.append(start.rstrip())
            lines += [
                below + piece for piece in _wrapped(row[-1], width - len(below)) if piece and row is not table.head
            ]
    return lines


def _wrapped(text: str, width: int, *, first: str = "", further: str = "") -> list[str]:
    """At least one line; a number keeps its unit."""
    kept = _BEFORE_A_UNIT.sub("\xa0", text)
    lines = wrap(kept, width, initial_indent=first, subsequent_indent=further, break_on_hyphens=False)
    return [line.replace("\xa0", " ") for line in lines] or [first]
