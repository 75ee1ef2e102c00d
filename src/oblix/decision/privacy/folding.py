"""A text as the detectors read it: one ASCII byte per character, whatever writing it came in.

Full-width digits and letters, the many spaces, dashes and quotes of Unicode become their plain ASCII twins, and characters that nobody
sees (zero-width spaces, soft hyphens, direction marks) are left out. Any other character becomes a question mark, which is part of no word
and no number. Because each byte is one character, an offset needs no counting; where something was left out, `Folded.place` adds it again.
"""

from __future__ import annotations

import codecs
from bisect import bisect_right
from functools import cached_property

_TWINS = {
    **{
        chr(0xFEE0 + code): chr(code) for code in range(0x21, 0x7F) if chr(code).isalnum() or chr(code) in "@.+-_/():=#"
    },
    **{chr(0x0660 + digit): str(digit) for digit in range(10)},  # Arabic-Indic digits
    **dict.fromkeys("\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
    **dict.fromkeys("“”„«»", '"'),
    **dict.fromkeys("‘’", "'"),
}
_UNSEEN = "\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
_OUT = b"\x7f"  # stands for what is left out; a real DEL is as little part of a number as any control character
_UNUSED = "\ufffe"  # how a table of codecs says: this byte has no character


def _tables() -> tuple[object, bytes]:
    """Character → byte for `codecs.charmap_encode` (a trie in C: 3 ns a character, where `str.translate` takes 60), and byte → ASCII."""
    odd = [*_TWINS.items(), *((char, _OUT.decode()) for char in _UNSEEN)]
    room = [*range(128, 256), *range(1, 9), *range(14, 32), 127]  # control characters lose their bytes, and become "?"
    chars = [chr(code) if code not in room else _UNUSED for code in range(256)]
    twin = bytearray(range(256))
    for code, (char, ascii_twin) in zip(room, odd, strict=False):
        chars[code], twin[code] = char, ord(ascii_twin)
    assert len(odd) <= len(room)
    return codecs.charmap_build("".join(chars)), bytes(twin)


_ENCODING, _TWIN_OF = _tables()
_SHAPE = bytes(
    ord("0") if chr(code).isdigit() else ord("a") if chr(code).isalpha() else code for code in range(128)
) + bytes(128)


class Folded:
    """A text in plain ASCII.

    Attributes:
        text: The characters themselves, without those that nobody sees.
        raw: One ASCII byte for each character of `text`.
    """

    def __init__(self, text: str, raw: bytes, left_out: tuple[int, ...] = ()) -> None:
        self.text = text
        self.raw = raw
        # What was left out before each place: position number n, less the n that were left out before it.
        self._gaps = tuple(position - number for number, position in enumerate(left_out))

    @cached_property
    def lower(self) -> bytes:
        """`raw` in lower case."""
        return self.raw.lower()

    @cached_property
    def shape(self) -> bytes:
        """`raw` with 0 for each digit and a for each letter: `1.234 EUR` has the shape `0.000 aaa`."""
        return self.raw.translate(_SHAPE)

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Where a slice of `text` stands in the text as it was given."""
        if not self._gaps:
            return start, end
        return start + bisect_right(self._gaps, start), end + bisect_right(self._gaps, end - 1)


def fold(text: str) -> Folded:
    """`text` as the detectors read it. Linear, and never fails."""
    if text.isascii():
        return Folded(text, text.encode("ascii"))
    raw = codecs.charmap_encode(text, "replace", _ENCODING)[0].translate(_TWIN_OF)  # type: ignore[arg-type]  # EncodingMap has no name
    if _OUT not in raw:
        return Folded(text, raw)
    left_out = []
    position = raw.find(_OUT)
    while position >= 0:
        left_out.append(position)
        position = raw.find(_OUT, position + 1)
    kept = [text[after + 1 : before] for after, before in zip([-1, *left_out], [*left_out, len(text)], strict=True)]
    return Folded("".join(kept), raw.replace(_OUT, b""), tuple(left_out))
