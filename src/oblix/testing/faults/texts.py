"""What a healthy upstream answers: the same words for the same marker every time, other words at every other upstream."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from itertools import cycle, islice

MIN_PIECES = 12  # so that a middle has at least three pieces on either side

# Characters of two to four bytes in UTF-8, quotes, backslashes and line breaks: whatever a decoder may stumble over.
_ODD = ("naïve", "Straße", "Ελλάδα", "日本語", "🙂", "ñandú", "“so”", "Łódź")
_PLAIN = (
    *("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "islet", "jetty", "knoll", "lagoon"),
    *("marsh", "north", "ocean", "prairie", "quarry", "river", "shore", "tundra", "upland", "valley", "willow"),
    *("zephyr", "a\\b", 'a "quoted" one', "first\nsecond", "tab\there", "{brace}", "data: no event", "[DONE] not yet"),
)


@lru_cache(maxsize=4096)
def pieces_of(upstream: str, marker: str, lengths: tuple[int, int] | None = None) -> tuple[str, ...]:
    """The answer in pieces of one token each: 14 to 21 of them, one with characters beyond ASCII.

    72 bits of a hash choose the words, so that no two of a test's answers are alike.

    Args:
        lengths: The fewest and the most pieces instead, at least 2.
    """
    digest = blake2b(f"{upstream}\0{marker}".encode(), digest_size=32).digest()
    count = MIN_PIECES + digest[30] % 8
    if lengths is not None:
        fewest, most = lengths
        count = fewest + int.from_bytes(digest[24:30], "big") % (most - fewest + 1) - 2
    words = [_PLAIN[byte % len(_PLAIN)] for byte in islice(cycle(digest[:24]), count)]
    return (upstream, " " + _ODD[digest[31] % len(_ODD)], *(" " + word for word in words))


def without_start(pieces: tuple[str, ...], length: int) -> tuple[str, ...]:
    """The pieces that follow the first `length` characters: how a model goes on with an answer that was begun."""
    left = list(pieces)
    while left and length >= len(left[0]):
        length -= len(left.pop(0))
    if left and length:
        left[0] = left[0][length:]
    return tuple(left)
