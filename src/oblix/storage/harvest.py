"""Reads a table of a damaged file: from both ends up to the damage, then every stretch between that can still be reached."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import apsw

Key = int | bytes
Row = tuple[Any, ...]
MOST_PROBES = 20_000  # of numbered rows, some 10 µs each; a lost page of 4 KiB takes two for each of its rows
MOST_GUESSES = 1_000  # of keys in text, which never come to an end
MOST_SIGNS = 64  # of a key in text that tell it apart from its neighbours
NEARBY = 512  # rows that are looked for one by one behind the last that could be read
NUMBER_BITS = 40  # nobody writes more rows


class Shape(NamedTuple):
    """What is known of a table by its definition.

    Attributes:
        key: What it is sorted by: `rowid`, or its key, if that is one column of text; else `None`.
        texts: The columns that hold text.
    """

    name: str
    columns: tuple[str, ...]
    key: str | None
    texts: frozenset[str]


class Harvest:
    """The rows of one table, as far as they can be read.

    Attributes:
        lost: Places that could not be read: most hold one row, some more.
    """

    def __init__(self, db: apsw.Connection, shape: Shape, take: Callable[[Key, Row], None]) -> None:
        """`take` gets each row, after its key; some come twice."""
        self.lost = 0
        self._db = db
        self._take = take
        self._is_numbered = shape.key == "rowid"
        self._key = shape.key if shape.key is None or self._is_numbered else quoted(shape.key)
        self._left = MOST_PROBES if self._is_numbered else MOST_GUESSES
        # Text comes as bytes: damaged, it is no text to Python any more.
        self._mark = "?" if self._is_numbered else "CAST(? AS TEXT)"
        key = "0" if shape.key is None else "rowid" if self._is_numbered else f"CAST({self._key} AS BLOB)"
        columns = [f"CAST({quoted(name)} AS BLOB)" if name in shape.texts else quoted(name) for name in shape.columns]
        self._select = f'SELECT {", ".join([key, *columns])} FROM "{shape.name}"'  # noqa: S608  names of ours

    def gather(self) -> None:
        """Read all that can be read."""
        low, is_whole = self._run("ASC")
        if is_whole:
            return
        if self._key is None:
            self.lost += 1
            return
        high, _ = self._run("DESC")
        if not self._is_numbered:
            self._close(b"" if low is None else low, b"\xff" * MOST_SIGNS if high is None else high)
        elif high is None:
            self._go_on(int(low or 0))
        else:
            self._close(0 if low is None else low, high)

    def _go_on(self, low: int) -> None:
        """Where the last row cannot be read either, look for the next one ever farther away."""
        while self._left > 0:
            for bits in range(NUMBER_BITS):
                start = low + 2**bits
                last, is_whole = self._run("ASC", (">=", start))
                if is_whole or last is not None:
                    break
            else:
                lost = self.lost
                self._close(low, low + NEARBY)
                self.lost = lost + 1
                return
            self._close(low, start)
            if is_whole:
                return
            low = max(start, int(last or 0))  # in a damaged table they need not ascend

    def _close(self, low: Key, high: Key) -> None:
        """Read what lies between two keys, by halves; the wide gaps first."""
        gaps = deque([(low, high)])
        while gaps and self._left > 0:
            low, high = gaps.popleft()
            middle = between(low, high)
            if middle is None:
                self.lost += not self._is_numbered
                continue
            last, is_whole = self._run("ASC", (">=", middle), ("<", high))
            if not is_whole:
                self.lost += self._is_numbered and last is None
                gaps.append((middle if last is None else last, high))
            first, is_whole = self._run("DESC", (">", low), ("<", middle))
            if not is_whole:
                gaps.append((low, middle if first is None else first))
        # Of text nobody knows how many keys a gap held: neighbours count as one.
        left = sorted(gaps)
        self.lost += sum(1 for n, gap in enumerate(left) if not n or left[n - 1][1] != gap[0])

    def _run(self, direction: str, *bounds: tuple[str, Key]) -> tuple[Key | None, bool]:
        """Take rows until one cannot be read: the key of the last that could, and whether all could."""
        import apsw

        self._left -= 1
        where = " AND ".join(f"{self._key} {sign} {self._mark}" for sign, _ in bounds)
        order = "" if self._key is None else f" ORDER BY {self._key} {direction}"
        query = f"{self._select}{' WHERE ' if bounds else ''}{where}{order}"
        last: Key | None = None
        try:
            rows = self._db.execute(query, [key for _, key in bounds])
            row = next(rows, None)
        except (apsw.Error, UnicodeDecodeError):
            return None, False
        while row is not None:
            key: Any = row[0]
            if bounds and last is not None and (key > last) != (direction == "ASC"):
                return last, False  # out of order: what follows may come again and again
            self._take(key, row[1:])  # outside of any `try`: that the new file is full is no damage of the old one
            last = key
            try:
                row = next(rows, None)
            except (apsw.Error, UnicodeDecodeError):
                return last, False
        return last, True


def quoted(name: str) -> str:
    """A name as SQL takes it, whatever damage has made of it. Pure."""
    return '"' + name.replace('"', '""') + '"'


def between(low: Key, high: Key) -> Key | None:
    """A key in the middle of two others; `None` where none is. Pure."""
    if isinstance(low, int) and isinstance(high, int):
        return (low + high) // 2 if high - low > 1 else None
    assert isinstance(low, bytes)
    assert isinstance(high, bytes)
    size = max(len(low), len(high)) + 1
    if size > MOST_SIGNS + 1:
        return None
    first, last = (int.from_bytes(each.ljust(size, b"\0")) for each in (low, high))
    middle = ((first + last) // 2).to_bytes(size).rstrip(b"\0")
    return middle if low < middle < high else None
