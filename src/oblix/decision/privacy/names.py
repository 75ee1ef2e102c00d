"""The user's own list: people, projects, places that must not leave, found as whole words in any number at the same cost."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

from oblix.decision.privacy.patterns import UNSPACED
from oblix.types.privacy import Finding

_WORD = re.compile(r"[\w\u0300-\u036f]+")  # with combining accents, which \w leaves out
_JOINERS = " \t\r\n\u00a0\u2009\u202f.-'’‐‑"  # between two words of a name; after a comma something else begins
_GAP = 3  # of them
_UNSPACED = re.compile(f"[{UNSPACED}]")
_IS_NAME = ""  # key of a tree: the words so far are a name


def _plain(word: str) -> str:
    """A word as it is compared: without regard to case, accents in one form."""
    return (
        word.casefold()
        if word.isascii()
        else unicodedata.normalize("NFC", unicodedata.normalize("NFC", word).casefold())
    )


def _words(text: str) -> Iterable[str]:
    """The words of a text as they are compared; an ASCII text at once, in half the time."""
    return _WORD.findall(text.lower()) if text.isascii() else map(_plain, _WORD.findall(text))


def _joins(gap: str) -> bool:
    return len(gap) <= _GAP and not gap.strip(_JOINERS)


class Names:
    """Names to look for, without regard to case.

    They are kept as a tree by words, so that a text is read once however long the list is. In scripts that set no spaces (Chinese,
    Japanese, Thai, …) a name is found anywhere.

    Not caught: other forms of a word (`Lovelaces`), other spellings, initials, invisible characters inside of a word.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(dict.fromkeys(name.strip() for name in names if _WORD.search(name)))
        self._tree: dict[str, Any] = {}
        self._unspaced: dict[str, list[str]] = {}  # first two characters → the rest, the longest first
        for name in self.names:
            if _UNSPACED.search(name):
                self._unspaced.setdefault(name[:2], []).append(name[2:])
                continue
            tree = self._tree
            for word in _WORD.findall(name):
                tree = tree.setdefault(_plain(word), {})
            tree[_IS_NAME] = None
        for rests in self._unspaced.values():
            rests.sort(key=len, reverse=True)

    def __repr__(self) -> str:
        return f"<{len(self.names)} names>"  # they are private

    def __bool__(self) -> bool:
        return bool(self.names)

    def find(self, text: str) -> Iterator[Finding]:
        """Each name in `text`; where one begins another, the longer."""
        if self._tree and not self._tree.keys().isdisjoint(_words(text)):
            yield from self._find_words(text)
        if self._unspaced and not text.isascii():
            yield from self._find_unspaced(text)

    def _find_words(self, text: str) -> Iterator[Finding]:
        words = [(found.start(), found.end(), _plain(found.group())) for found in _WORD.finditer(text)]
        number = 0
        while number < len(words):
            end = self._end(text, words, number)
            if end is None:
                number += 1
            else:
                yield Finding("name", words[number][0], words[end][1])
                number = end + 1

    def _end(self, text: str, words: list[tuple[int, int, str]], first: int) -> int | None:
        """Number of the last word of the longest name that begins with word number `first`."""
        tree, found = self._tree, None
        for number in range(first, len(words)):
            start, _, word = words[number]
            if word not in tree or (number > first and not _joins(text[words[number - 1][1] : start])):
                break
            tree = tree[word]
            if _IS_NAME in tree:
                found = number
        return found

    def _find_unspaced(self, text: str) -> Iterator[Finding]:
        for start in range(len(text) - 1):
            for rest in self._unspaced.get(text[start : start + 2], ()):
                if text.startswith(rest, start + 2):
                    yield Finding("name", start, start + 2 + len(rest))
                    break
