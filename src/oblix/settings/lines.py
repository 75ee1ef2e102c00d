"""On which line of a TOML text a key or a list's element stands: what `tomllib` does not tell. Pure."""

from __future__ import annotations

import re
from bisect import bisect_left
from contextlib import suppress

from oblix.decision.section import KeyPath

_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_KEY = re.compile(r"""([A-Za-z0-9_-]+)|'([^'\n]*)'|"(?:\\.|[^"\\\n])*\"""")
_TEXT = re.compile(
    r'''"""(?:\\.|[^\\])*?""""{0,2}|\'\'\'.*?\'\'\''{0,2}|"(?:\\.|[^"\\\n])*"|'[^'\n]*\'''', re.DOTALL
)  # three quotes may be followed by two more, which belong to the text
_BARE = re.compile(r"[^,\]}#\r\n]*")  # numbers, dates, true and false


def line_of(text: str, path: KeyPath) -> int:
    """The line (1-based) of what a path leads to: where its key stands, or the nearest table around it that is there.

    Args:
        text: A document that `tomllib` accepts.
    """
    found = lines(text)
    while path not in found and path:
        path = path[:-1]
    return found.get(path, 1)


def lines(text: str) -> dict[KeyPath, int]:
    """The line of every key, table and element of a document that `tomllib` accepts."""
    walk = _Walk(text)
    with suppress(RecursionError):  # as deep as tomllib can just go: what was seen until then is right
        walk.document()
    return walk.lines


class _Walk:
    """Goes through a document once. It may be careless, because the document is known to be right."""

    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._text = text
        self._at = 0
        self._breaks = [found.start() for found in re.finditer("\n", text)]
        self._sizes: dict[KeyPath, int] = {}  # of the arrays of tables

    def document(self) -> None:
        table: KeyPath = ()
        self._skip(_GAP)
        while self._at < len(self._text):
            if self._next("["):
                table = self._header(is_element=self._next("["))
            else:
                self._pair(table)
            self._skip(_GAP)

    def _header(self, *, is_element: bool) -> KeyPath:
        """`[a.b]` or `[[a.b]]`: the path of the table that follows. A name on the way stands for the last element of its list."""
        line = self._line()
        path: KeyPath = ()
        *way, last = self._keys()
        for key in way:
            path = self._last((*path, key))
            self.lines.setdefault(path, line)
        path = (*path, last)
        if is_element:
            self._sizes[path] = self._sizes.get(path, 0) + 1
            self.lines.setdefault(path, line)
        self._at += 1 + is_element
        path = self._last(path)
        self.lines[path] = line
        return path

    def _last(self, path: KeyPath) -> KeyPath:
        return (*path, self._sizes[path] - 1) if path in self._sizes else path

    def _pair(self, table: KeyPath) -> None:
        line, path = self._line(), table
        for key in self._keys():
            path = (*path, key)
            self.lines.setdefault(path, line)
        self._next("=")
        self._skip(_BLANK)
        self._value(path)

    def _keys(self) -> list[str]:
        keys: list[str] = []
        self._skip(_BLANK)
        while found := _KEY.match(self._text, self._at):
            self._at = found.end()
            keys.append(found[1] or found[2] or _unquote(found[0]))
            self._skip(_BLANK)
            self._next(".")
            self._skip(_BLANK)
        return keys

    def _value(self, path: KeyPath) -> None:
        if self._next("["):
            self._array(path)
        elif self._next("{"):
            self._inline(path)
        else:
            self._skip(_TEXT if self._text[self._at] in "\"'" else _BARE)

    def _array(self, path: KeyPath) -> None:
        position = 0
        self._skip(_GAP)
        while not self._next("]"):
            self.lines[(*path, position)] = self._line()
            self._value((*path, position))
            position += 1
            self._skip(_GAP)
            self._next(",")
            self._skip(_GAP)

    def _inline(self, path: KeyPath) -> None:
        self._skip(_GAP)
        while not self._next("}"):
            self._pair(path)
            self._skip(_GAP)
            self._next(",")
            self._skip(_GAP)

    def _line(self) -> int:
        return bisect_left(self._breaks, self._at) + 1

    def _next(self, sign: str) -> bool:
        """Whether this sign comes next; if so, goes behind it."""
        comes = self._text.startswith(sign, self._at)
        self._at += comes
        return comes

    def _skip(self, what: re.Pattern[str]) -> None:
        found = what.match(self._text, self._at)
        self._at = found.end() if found else self._at


def _unquote(key: str) -> str:
    if "\\" not in key:
        return key[1:-1]
    import tomllib

    return next(iter(tomllib.loads(f"{key} = 0")))
