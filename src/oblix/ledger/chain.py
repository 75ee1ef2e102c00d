"""The books' hash chain: each entry's hash covers the one before it, so that a change, a gap or a swap shows.

It is no signature: who may write the file can make a whole new chain. And entries cut off at the end leave a chain that is whole, but no
longer agrees with the balances (`oblix.ledger.books.unbalanced`).
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    import apsw

Row = tuple[Any, ...]  # an entry's columns but its hash, `seq` first
SIZE = 16  # bytes
START = bytes(SIZE)  # stands before the first entry
_ENCODER = msgspec.json.Encoder()


class Verdict(NamedTuple):
    """What a look at the whole chain found.

    Attributes:
        entries: That were looked at.
        broken_at: The `seq` of the first one that does not fit, `None` where all do.
        why: In words; empty where all do.
    """

    entries: int
    broken_at: int | None = None
    why: str = ""


def link(before: bytes, row: Row) -> bytes:
    """The hash of an entry."""
    return blake2b(_ENCODER.encode(row), key=before, digest_size=SIZE).digest()


def verify(db: apsw.Connection) -> Verdict:
    """Look at every entry: 100,000 take half a second."""
    before, count = START, 0
    for *row, found in db.execute("SELECT * FROM entry ORDER BY seq"):
        count += 1
        if row[0] != count:
            return Verdict(count, count, f"entry {count} is missing: {row[0]} stands in its place")
        if link(before, tuple(row)) != found:
            return Verdict(count, count, f"entry {count} was changed: it does not fit the one before it")
        before = found
    return Verdict(count)
