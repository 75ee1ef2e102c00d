"""Finds the numbers of `numbers.ROWS`: entered at their first digit, compared with the writings that begin with a group of that length.

The work at each place is bounded by the number of writings, whatever the text is.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from oblix.decision.privacy.folding import Folded
from oblix.decision.privacy.numbers import ROWS, Row
from oblix.decision.privacy.patterns import NEAR, trie
from oblix.types.privacy import Finding


class _Writing(NamedTuple):
    shape: bytes
    before: int  # letters and joiners before its first digit
    row: Row


def _by_head() -> dict[int, list[_Writing]]:
    """Length of the first group of digits → the writings that have one of it."""
    found = defaultdict(list)
    for row in ROWS:
        for writing in row.writings:
            before = writing.index("0")
            tail = writing[before:]
            found[len(tail) - len(tail.lstrip("0"))].append(_Writing(writing.encode(), before, row))
    return dict(found)


_BY_HEAD = _by_head()
_FROM_FIRST_DIGIT = [each.shape[each.before :] for writings in _BY_HEAD.values() for each in writings]
# The look-behind keeps places inside of a group out; it stands after a literal, so that the engine looks for that with memchr.
_START = re.compile(rb"0(?<!00)(?=" + trie([tail[1:] for tail in _FROM_FIRST_DIGIT]) + rb")")
_GROUP = re.compile(rb"0+")
_NO_JOINERS = bytes.maketrans(b"", b""), b" -./+"

SIGN = trie(_FROM_FIRST_DIGIT).replace(b"0", b"[0-9]").replace(b"a", b"[A-Za-z]")


def has_start(text: Folded) -> bool:
    """Whether a number could be there."""
    return _START.search(text.shape) is not None


def find(text: Folded) -> Iterator[Finding]:
    """Each number that is written as one of its kind, proves itself, and stands near a word that it needs."""
    shape = text.shape
    for place in _START.finditer(shape):
        at = place.start()
        group = _GROUP.match(shape, at)
        assert group is not None
        for writing in _BY_HEAD.get(group.end() - at, ()):
            start = at - writing.before
            if start >= 0 and shape.startswith(writing.shape, start):
                end = start + len(writing.shape)
                if _stands_alone(shape, start, end) and _holds(text, writing.row, start, end):
                    yield Finding(writing.row.kind, start, end)


def _stands_alone(shape: bytes, start: int, end: int) -> bool:
    """Whether no word and no number goes on across either border: `4111…` is no card in `0.4111…`, nor in `a4111…`."""
    before, after = shape[max(0, start - 2) : start], shape[end : end + 2]
    return (
        before[-1:] not in (b"0", b"a", b"+")
        and before not in (b"0.", b"0-")
        and after[:1] not in (b"0", b"a")
        and after not in (b".0", b"-0")
    )


def _holds(text: Folded, row: Row, start: int, end: int) -> bool:
    if row.near and not row.near.search(text.lower, max(0, start - NEAR), end + NEAR):
        return False
    return row.valid(text.raw[start:end].translate(*_NO_JOINERS).decode())
