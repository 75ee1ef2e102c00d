"""Small builders of regular expressions; what they build backtracks nowhere."""

from __future__ import annotations

import re
from collections.abc import Collection

NEAR = 40  # characters before and after: a label, a colon, and what table and form put in between

# Scripts that set no spaces between words (Thai, Lao, Burmese, Khmer, Kana, Han), as ranges of a character class.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"


def trie(words: Collection[bytes]) -> bytes:
    """A pattern that matches where one of `words` begins, in the time of the longest of them, however many there are."""
    if b"" in words:
        return b""
    heads = sorted({word[:1] for word in words})
    arms = [re.escape(head) + trie({word[1:] for word in words if word[:1] == head}) for head in heads]
    return arms[0] if len(arms) == 1 else b"(?:" + b"|".join(arms) + b")"


def near(words: str) -> re.Pattern[bytes]:
    """Finds one of `words`, given in lower case with blanks between them, as a word of its own."""
    return re.compile(rb"\b(?:" + b"|".join(re.escape(word).encode() for word in words.split()) + rb")\b")
