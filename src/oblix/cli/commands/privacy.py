"""`oblix privacy`: what the detectors see in a text, without showing it."""

from __future__ import annotations

import json
import sys
from bisect import bisect_right
from pathlib import Path

import click

from oblix.cli.render import note, table
from oblix.client.screening import kinds_of
from oblix.decision.privacy.scan import KINDS, LARGEST, Names, scan
from oblix.errors import InvalidRequest
from oblix.settings import load
from oblix.types.privacy import Finding, Screening

_SHOWN = 2  # characters at either end of something long; of what is short, none
_LONG = 9


@click.group("privacy")
def command() -> None:
    """See what the privacy detectors see."""


@command.command("scan")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--names", "names_file", type=click.Path(path_type=Path), help="A list of names to look for, one a line.")
@click.option("--check", is_flag=True, help="Exit with 1 if anything is found that counts as private.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def scan_file(file: Path, names_file: Path | None, check: bool, as_json: bool) -> int:
    """Tell where FILE (or `-`, standard input) holds something private: kind, line:column, and a masked piece of it.

    A prompt with one of the kinds marked `private` stays on the edge, by default or as oblix.toml has it; the others are told, and keep
    nothing at home.
    """
    text = _read(file)
    screening = load().screening or Screening()
    listed = (*screening.names, *(_read(names_file).splitlines() if names_file else ()))
    found, private = scan(text, Names(listed) if listed else None), kinds_of(screening)
    places = _Places(text)
    rows = [
        (finding.kind, places.of(finding.start), _masked(text, finding), finding.kind in private) for finding in found
    ]
    if as_json:
        click.echo(
            json.dumps(
                {
                    "characters": len(text),
                    "found": [_record(text, places, each, each.kind in private) for each in found],
                }
            )
        )
    elif rows:
        click.echo(table(("kind", "place", "piece", "counts as"), [_row(*each) for each in rows]))
    if len(text) > LARGEST:
        note(
            f"As a prompt, this would count as private unseen: it has {len(text):,} characters, more than {LARGEST:,}."
        )
    if not as_json:
        note(_summary(found))
    return int(check and any(finding.kind in private for finding in found))


class _Places:
    """Where in a text a character stands, as editors count: from 1."""

    def __init__(self, text: str) -> None:
        self._starts = [0]
        for line in text.split("\n"):
            self._starts.append(self._starts[-1] + len(line) + 1)

    def of(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1


def _read(file: Path) -> str:
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise InvalidRequest(
            f"{str(file)!r} cannot be read: {error.strerror or error}.",
            hint="Give a text file, or - for standard input.",
        ) from None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest(
            f"{str(file)!r} is no text in UTF-8, and what cannot be read must not look clean.", hint="Convert it first."
        ) from None


def _masked(text: str, finding: Finding) -> str:
    """The first and the last characters, and how many there are: enough to find it again, never the whole."""
    value = text[finding.start : finding.end]
    size = len(value)
    if size < _LONG or finding.kind == "password":
        return f"… ({size})"
    head, tail = (each if each.isprintable() else "…" for each in (value[:_SHOWN], value[-_SHOWN:]))
    return f"{head}…{tail} ({size})"


def _row(kind: str, place: tuple[int, int], piece: str, is_private: bool) -> tuple[str, str, str, str]:
    return kind, f"{place[0]}:{place[1]}", piece, "private" if is_private else "told"


def _record(text: str, places: _Places, finding: Finding, is_private: bool) -> dict[str, object]:
    line, column = places.of(finding.start)
    return {
        "kind": finding.kind,
        "line": line,
        "column": column,
        "start": finding.start,
        "end": finding.end,
        "piece": _masked(text, finding),
        "private": is_private,
    }


def _summary(found: tuple[Finding, ...]) -> str:
    if not found:
        return "Nothing private was found."
    counts: dict[str, int] = {}
    for finding in found:
        counts[finding.kind] = counts.get(finding.kind, 0) + 1
    return "Found " + ", ".join(f"{KINDS[kind].plural}: {count}" for kind, count in counts.items()) + "."
