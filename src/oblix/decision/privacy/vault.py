"""What stands for what in one request: placeholders, and the originals that they stand for."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from types import MappingProxyType

from oblix.decision.privacy.spelling import Spelling
from oblix.types.privacy import Finding

SHORTEST_ECHO = 4  # characters; a shorter value is too likely to stand in a text by chance
_EXACT = {"api_key", "jwt", "password", "pem", "secret"}  # every sign tells them from others
_LONGEST = 64  # characters of a placeholder; kinds have short names
_PLACEHOLDER = re.compile(rf"<([A-Z0-9_]{{1,{_LONGEST}}})>")
_WORD = re.compile("[A-Za-z0-9]+")
_NO_LETTERS = re.compile(r"[\d\s()+./-]+")


class Vault:
    """Placeholders such as `<EMAIL_1>`, each for one value of one kind.

    The form is one that models know from templates and repeat verbatim, and JSON has nothing to escape in it. Where the request itself
    holds something that could be taken for one, the placeholders of that kind get another tag: `<EMAIL_X1>`.

    It holds what is private: its `repr` shows none of it.

    Args:
        texts: All of the request, in which no placeholder may be found.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._texts = tuple(texts)
        self._stems: dict[str, str] = {}  # kind → `EMAIL_`, or `EMAIL_X`
        self._counts: Counter[str] = Counter()
        self._names: dict[tuple[str, str], str] = {}  # kind and value → `EMAIL_1`
        self._originals: dict[str, str] = {}
        self._spelled: dict[str, str] = {}  # a value as it was written → its kind
        self._shapes: dict[str, set[tuple[int, int]]] = {}  # its first word → where that stands in it, and its length

    def __repr__(self) -> str:
        return f"<Vault of {len(self._originals)} values>"

    def __len__(self) -> int:
        return len(self._originals)

    @property
    def originals(self) -> Mapping[str, str]:
        """Placeholder, without its brackets → the value as it was written first."""
        return MappingProxyType(self._originals)

    @property
    def placeholders(self) -> tuple[str, ...]:
        """All of them, in the order in which they were given."""
        return tuple(f"<{name}>" for name in self._originals)

    @property
    def spelling(self) -> Spelling:
        """How a model may write them."""
        return Spelling(tuple(sorted(self._stems.values())), len(str(max(self._counts.values(), default=1))))

    def placeholder(self, kind: str, value: str) -> str:
        """What stands for a value: the same for all its writings, another one for every other value or kind."""
        key = kind, _plain(kind, value)
        name = self._names.get(key)
        if name is None:
            stem = self._stems.get(kind) or self._stem(kind)
            self._counts[kind] += 1
            name = self._names[key] = f"{stem}{self._counts[kind]}"
            self._originals[name] = value
        self._keep(kind, value)
        return f"<{name}>"

    def places(self, text: str, start: int, end: int) -> list[tuple[int, int]]:
        """The placeholders that have a part in a slice of the text, each as a slice."""
        # Looked for a little around it, because it may begin or end inside of one.
        near = _PLACEHOLDER.finditer(text, max(0, start - _LONGEST), end + _LONGEST)
        return [p.span() for p in near if p[1] in self._originals and p.start() < end and p.end() > start]

    def echoes(self, text: str) -> Iterator[Finding]:
        """Where the text repeats a known value, word for word: a detector may have known it by its surroundings only."""
        if not self._shapes:
            return
        for word in _WORD.finditer(text):
            for before, length in self._shapes.get(word[0], ()):
                start = word.start() - before
                end = start + length
                if start < 0 or (end < len(text) and text[end - 1].isalnum() and text[end].isalnum()):
                    continue
                if (kind := self._spelled.get(text[start:end])) is not None:
                    yield Finding(kind, start, end)

    def ends_within(self, text: str) -> bool:
        """Whether the text ends in the middle of a known value, which no detector would recognise."""
        return any(_ends_with_a_beginning(text, value) for value in self._spelled)

    def _keep(self, kind: str, value: str) -> None:
        if value in self._spelled or len(value) < SHORTEST_ECHO or not (word := _WORD.search(value)):
            return
        self._spelled[value] = kind
        self._shapes.setdefault(word[0], set()).add((word.start(), len(value)))

    def _stem(self, kind: str) -> str:
        label = re.sub(r"[^A-Z0-9]+", "_", kind.upper()).strip("_")
        for number in count():
            stem = f"{label}_{'X' * number}"
            if stem not in self._stems.values() and not self._is_taken(stem):
                break
        self._stems[kind] = stem
        return stem

    def _is_taken(self, stem: str) -> bool:
        """Whether the request holds such a name in any writing, be it as a variable."""
        name = re.compile(stem.replace("_", r"\\*_") + "[0-9]", re.IGNORECASE)
        return any(map(name.search, self._texts))


def _plain(kind: str, value: str) -> str:
    """The value without what does not tell it from others."""
    text = unicodedata.normalize("NFKC", value)
    if kind in _EXACT:
        return value
    if kind in ("email", "name"):
        return " ".join(text.casefold().split())
    if kind == "iban":
        return "".join(text.upper().split())
    if _NO_LETTERS.fullmatch(text):
        return "".join(sign for sign in text if sign.isdigit() or sign == "+")
    return value


def _ends_with_a_beginning(text: str, value: str) -> bool:
    lengths = range(SHORTEST_ECHO, min(len(value), len(text) + 1))
    return any(text.endswith(value[:length]) and not text[-length - 1 : -length].isalnum() for length in lengths)
