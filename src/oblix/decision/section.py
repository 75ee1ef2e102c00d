"""A table as users write it, read key by key: what does not fit is told with the path to it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from reprlib import Repr
from typing import Any

from oblix.errors import ConfigurationError, known_hint

KeyPath = tuple[str | int, ...]  # keys, and positions in lists from 0

_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029]"
)  # names and reasons stand in headers and on one line of a log


class Misfit(ConfigurationError):
    """A value that does not fit; `path` leads to it, so that the reader of a file can tell the line."""

    def __init__(self, path: KeyPath, message: str, *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.path = path


@dataclass(frozen=True, slots=True)
class Section:
    """A table, and where it stands. Each method gives what a key holds, checked; `None` or `()` where it is absent."""

    values: Mapping[str, Any]
    path: KeyPath = ()

    def expect(self, known: Iterable[str], what: str, *, elsewhere: Mapping[str, str] | None = None) -> None:
        """Refuse any other key.

        Args:
            what: What a key is here, e.g. `condition of a rule`.
            elsewhere: Keys that stand in another place, and what to do about them.
        """
        names = tuple(known)
        for key in self.values:
            if key not in names:
                hint = (elsewhere or {}).get(key) or known_hint(key, names)
                raise self.misfit(key, f"{show(key)} is no {what}.", hint=hint)

    def misfit(self, key: str | None, message: str, *, hint: str) -> Misfit:
        """What is wrong with a key, or with the table as a whole."""
        return Misfit(self.path if key is None else (*self.path, key), message, hint=hint)

    def text(self, key: str, example: str) -> str | None:
        """One line of text, without blanks around it."""
        return None if key not in self.values else _text((*self.path, key), self.values[key], example)

    def switch(self, key: str) -> bool | None:
        """True or false."""
        value = self.values.get(key)
        if value is None or isinstance(value, bool):
            return value
        raise self._wrong(key, "true or false", "true")

    def number(self, key: str, low: float, high: float, *, example: str) -> float | None:
        """A number from `low` to `high`; neither NaN nor infinite."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high or value == inf:
            bounds = f"from {low:g} to {high:g}" if high < inf else f"of at least {low:g}"
            raise self._wrong(key, f"a number {bounds}", example)
        return float(value)

    def whole(self, key: str, low: int, *, example: str) -> int | None:
        """A whole number of at least `low`, and less than 2⁵³, so that JSON can carry it."""
        value = self.values.get(key)
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and low <= value < 1 << 53):
            return value
        raise self._wrong(key, f"a whole number of at least {low}", example)

    def choice(self, key: str, known: Iterable[str], what: str, example: str) -> str | None:
        """One of the known words."""
        value = self.text(key, example)
        return None if value is None else _known((*self.path, key), value, known, what)

    def texts(self, key: str, example: str) -> tuple[str, ...]:
        """One text, or a list of them that is not empty."""
        return tuple(_text(path, value, example) for path, value in self._items(key, example))

    def choices(self, key: str, known: Iterable[str], what: str, example: str) -> tuple[str, ...]:
        """One of the known words, or a list of them that is not empty."""
        names, found = tuple(known), self._items(key, example)
        return tuple(_known(path, _text(path, value, example), names, what) for path, value in found)

    def section(self, key: str, example: str) -> Section | None:
        """A table."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self.misfit(key, f"{show(key)} is {show(value)}, not a table.", hint=f"Write {example}.")
        return Section(value, (*self.path, key))

    def sections(self, key: str) -> tuple[Section, ...]:
        """A list of tables."""
        found = self.values.get(key, [])
        if not isinstance(found, list | tuple) or not all(isinstance(each, Mapping) for each in found):
            said = f"[[{key}]] is {show(found)}, not a list of tables."
            raise self.misfit(key, said, hint=f"Write [[{key}]], with two brackets, above the keys of each.")
        return tuple(Section(each, (*self.path, key, position)) for position, each in enumerate(found))

    def _items(self, key: str, example: str) -> Iterator[tuple[KeyPath, Any]]:
        value, path = self.values.get(key, ()), (*self.path, key)
        if not isinstance(value, list | tuple):
            yield path, value
            return
        if not value and key in self.values:
            raise self.misfit(key, f"{show(key)} is an empty list.", hint=f"Leave it out, or write {key} = {example}.")
        for position, each in enumerate(value):
            yield (*path, position), each

    def _wrong(self, key: str, expected: str, example: str) -> Misfit:
        said = f"{show(key)} is {show(self.values[key])}, not {expected}."
        return self.misfit(key, said, hint=f"Write {key} = {example}.")


def _text(path: KeyPath, value: object, example: str) -> str:
    if isinstance(value, str) and value.strip() and not _CONTROL.search(value.strip()):
        return value.strip()
    key = next(part for part in reversed(path) if isinstance(part, str))
    said = f"{show(key)} {'is' if path[-1] == key else 'holds'} {show(value)}, not a line of text."
    raise Misfit(path, said, hint=f"Write {key} = {example}.")


def _known(path: KeyPath, word: str, known: Iterable[str], what: str) -> str:
    names = tuple(known)
    if word not in names:
        raise Misfit(path, f"{show(word)} is no {what}.", hint=known_hint(word, names))
    return word


class _Short(Repr):
    """Short in every case, and as TOML writes it; an integer of a million digits has no `repr` at all."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 80
        self.maxlevel = 3

    def repr_bool(self, value: bool, _level: int) -> str:
        return "true" if value else "false"

    def repr_int(self, value: int, _level: int) -> str:
        return repr(value) if value.bit_length() <= 128 else "a huge number"

    def repr_dict(self, _value: object, _level: int) -> str:
        return "a table"

    def repr_date(self, value: object, _level: int) -> str:
        return str(value)

    repr_datetime = repr_time = repr_date


_SHORT = _Short()


def show(value: object) -> str:
    """A value as an error names it."""
    return _SHORT.repr(value)
