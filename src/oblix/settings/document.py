"""A TOML file, read with errors that tell the file, the line, what is wrong and what would be right."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

from oblix.decision.section import Misfit
from oblix.errors import ConfigurationError, known_hint
from oblix.settings.lines import line_of

LARGEST = 1 << 20  # bytes: a thousand rules are a tenth of it
_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True, slots=True)
class Document:
    """A file that is TOML, whatever it says."""

    source: Path
    text: str
    values: Mapping[str, Any]

    @contextmanager
    def locating(self) -> Iterator[None]:
        """Errors about a value get the file and the line."""
        try:
            yield
        except Misfit as misfit:
            line = line_of(self.text, misfit.path)
            raise ConfigurationError(f"{self.source}, line {line}: {misfit.message}", hint=misfit.hint) from None


def read(source: Path, what: str) -> Document:
    """Read a file.

    Args:
        what: Of what kind it is, for errors: `policy file`.

    Raises:
        ConfigurationError: It is not there, no file, too large, not UTF-8, or no TOML.
    """
    try:
        mode = source.stat().st_mode
        found = _bytes(source) if S_ISREG(mode) else None  # a pipe would be waited for
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a path with a null byte is a ValueError
        message, hint = missing(source, what)
        raise ConfigurationError(message, hint=hint) from None
    except OSError as error:
        said = f"The {what} {str(source)!r} cannot be read: {error.strerror}."
        raise ConfigurationError(said, hint="Check the path, and who may read it.", cause=error) from None
    if found is None:
        said = f"The {what} {str(source)!r} is {'a directory' if S_ISDIR(mode) else 'no regular file'}."
        raise ConfigurationError(said, hint="Name a file that ends in .toml.")
    if len(found) > LARGEST:
        raise ConfigurationError(f"{source} is too large for a {what}.", hint=f"At most {LARGEST >> 20} MiB are read.")
    text = _decode(source, found)
    return Document(source, text, _parse(source, text))


def _bytes(source: Path) -> bytes:
    with source.open("rb") as file:
        return file.read(LARGEST + 1)


def expanded(path: str | Path) -> Path:
    """A path with `~` for the home folder; a user that does not exist is left as it stands."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  Path.expanduser raises a RuntimeError there


def missing(source: Path, what: str) -> tuple[str, str]:
    """Message and hint for a file that does not exist: the nearest name in its folder is told."""
    try:
        names = sorted(each.name for each in source.parent.iterdir() if each.suffix == ".toml")
    except (OSError, ValueError):
        return f"The {what} {str(source)!r} does not exist, nor does its folder.", "Check the path."
    hint = known_hint(source.name, names[:50], heading="In its folder") if names else "Leave it out, or create it."
    return f"The {what} {str(source)!r} does not exist.", hint


def _decode(source: Path, found: bytes) -> str:
    try:
        return found.decode("utf-8-sig").replace("\r\n", "\n")  # some editors begin a file with a byte-order mark
    except UnicodeDecodeError as error:
        line = found.count(b"\n", 0, error.start) + 1
        said = f"{source}, line {line}: byte 0x{found[error.start]:02x} is not UTF-8."
        raise ConfigurationError(said, hint="Save the file as UTF-8.", cause=error) from None


def _parse(source: Path, text: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except RecursionError as error:
        said = f"{source} is nested too deeply."
        raise ConfigurationError(said, hint="Three levels are enough for everything.", cause=error) from None
    except tomllib.TOMLDecodeError as error:
        found = _PLACE.search(str(error))
        at_end = f", line {text.count(chr(10)) + 1}"
        where = f", line {found[1]}, column {found[2]}" if found and found[1] else at_end
        hint = 'It must be TOML: key = "text", key = 1.5, [table], [[list of tables]].'
        raise ConfigurationError(f"{source}{where}: {_PLACE.sub('', str(error))}.", hint=hint, cause=error) from None
    except ValueError as error:  # of int(), for thousands of digits, which tomllib hands on without a line
        said = f"{source}: a whole number in it is too long to be read."
        raise ConfigurationError(said, hint="Write a shorter one.", cause=error) from None
