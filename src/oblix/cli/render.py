"""How things look on a terminal: the answer goes to stdout, everything else to stderr, colour only where it is welcome."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

from oblix.client.terminal import STEERING, inert
from oblix.decision.layout import Part, Table, columns, lay_out
from oblix.errors import OblixError

WIDEST = 120  # columns; longer lines are hard to read
# Not printable by Python's book, but written by people: French and Japanese spaces, and what joins or parts Persian letters and emoji.
_HARMLESS = "\n\t\xa0\u202f\u3000\u200b\u200c\u200d"
# SGR colour → the states that are shown in it: all is well, beware, nothing goes.
_COLOURS = {
    32: ("available", "optimal", "sufficient", "reached", "ready", "yes"),
    33: ("constrained", "degraded", "low", "hot", "empty", "perhaps", "loading", "locked", "strange"),
    31: ("critical", "disconnected", "failing", "hung", "no"),
}
# A state stands in the second or third column of a row.
_STATE = re.compile(
    rf"(?m)^(?P<before>\S+ {{2,}}(?:(?:edge|cloud) +)?)(?P<state>{'|'.join(w for ws in _COLOURS.values() for w in ws)})(?= {{2}}|$)"
)


def is_colourful() -> bool:
    """Whether stderr may have colour: `NO_COLOR` says no, `FORCE_COLOR` says yes, else a terminal decides."""
    return _may_be_coloured(sys.stderr)


def _may_be_coloured(stream: TextIO) -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(os.environ.get("FORCE_COLOR")) or stream.isatty()


def note(text: str) -> None:
    """A line beside the answer; it may quote what a server said."""
    dim, plain = ("\x1b[2m", "\x1b[0m") if is_colourful() else ("", "")
    sys.stderr.write(f"{dim}{inert(text, sys.stderr)}{plain}\n")


def show_error(error: OblixError, *, as_json: bool = False) -> None:
    """What happened, why, what to do next."""
    if as_json:
        told = {"code": error.code, "message": error.message, "hint": error.hint, "request_id": error.request_id}
        show_error_object({**told, "exit_code": error.exit_code})
        return
    red, plain = ("\x1b[31m", "\x1b[0m") if is_colourful() else ("", "")
    sys.stderr.write(f"{red}error:{plain} {inert(str(error), sys.stderr)}\n")


def show_warning(message: str, *, as_json: bool) -> None:
    """What went wrong beside the answer, which goes on."""
    if as_json:
        sys.stderr.write(json_line({"warning": {"message": message}}).decode() + "\n")
    else:
        note(f"warning: {message}")


def show_error_object(error: Mapping[str, object]) -> None:
    """For programs that asked for JSON: one line beside the answer, which there is none of."""
    sys.stderr.write(json_line({"error": error}).decode() + "\n")


def json_line(value: object) -> bytes:
    """One line, in UTF-8 wherever it goes; halves of characters, and what would steer a terminal, are written by their numbers."""
    import msgspec

    plain = msgspec.to_builtins(value, enc_hook=str)
    try:
        text = msgspec.json.encode(plain).decode()
    except UnicodeEncodeError:  # halves of characters, as arguments have them that are no UTF-8
        text = json.dumps(plain)
    return STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns on a terminal, tab-separated values in a pipe."""
    if not sys.stdout.isatty():
        return "\n".join("\t".join(row) for row in rows)
    return inert("\n".join(columns(Table(tuple(head), tuple(tuple(row) for row in rows)), width=_width())))


def show_story(parts: Iterable[Part]) -> None:
    """Paragraphs and tables; in a pipe one line for each sentence, and tab-separated tables."""
    sys.stdout.write(_laid_out(parts) + "\n")


def show_screen(parts: Iterable[Part], *, anew: bool = False) -> None:
    """The same, with states in colour on a terminal; `anew` takes the place of what the terminal shows."""
    is_terminal, text = sys.stdout.isatty(), _laid_out(parts)
    if is_terminal and _may_be_coloured(sys.stdout):
        text = _STATE.sub(_painted, text)
    if not anew:
        sys.stdout.write(text + "\n")
    elif is_terminal:
        lines = text.splitlines()[: shutil.get_terminal_size().lines - 1]
        sys.stdout.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
    else:
        sys.stdout.write(text + "\n\n")


def _laid_out(parts: Iterable[Part]) -> str:
    """As the terminal, or the pipe, wants it; what others called their models must not steer a terminal."""
    is_terminal = sys.stdout.isatty()
    text = lay_out(parts, width=_width() if is_terminal else None, tabs=not is_terminal)
    return "".join(sign if sign.isprintable() or sign in _HARMLESS else "?" for sign in text)


def _painted(found: re.Match[str]) -> str:
    word = found["state"]
    colour = next(colour for colour, words in _COLOURS.items() if word in words)
    return f"{found['before']}\x1b[{colour}m{word}\x1b[0m"


def _width() -> int:
    return min(WIDEST, shutil.get_terminal_size().columns)
