"""Bytes to lines, as they arrive: LF, CRLF or CR, one byte-order mark at the start, a cap on the length."""

from __future__ import annotations

from oblix.errors import AttemptFailed, FailureKind

MAX_LINE = 4 << 20  # bytes
_BOM = b"\xef\xbb\xbf"


class LineDecoder:
    """Feed bytes, get whole lines without their ending. Splitting bytes, not text, keeps split characters whole."""

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self._max = max_line
        self._parts: list[bytes] = []  # of the unfinished line; joined once, so that many small pieces cost no square
        self._size = 0
        self._after_cr = False
        self._at_start = True

    @property
    def rest(self) -> bytes:
        """What came after the last line ending."""
        return b"".join(self._parts)

    @property
    def is_between_lines(self) -> bool:
        """Whether the next byte begins a line."""
        return not (self._parts or self._after_cr)

    def pass_by(self) -> None:
        """Whole lines went by that were not fed, with no mark before them."""
        self._at_start = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes.

        Raises:
            AttemptFailed: kind `protocol`, when a line is longer than the cap.
        """
        if self._after_cr or b"\r" in chunk:
            chunk = self._unify(chunk)
        if self._at_start:
            chunk = self.rest + chunk
            if len(chunk) < len(_BOM) and _BOM.startswith(chunk):
                self._parts = [chunk]
                return []
            chunk, self._at_start, self._parts = chunk.removeprefix(_BOM), False, []
        lines = chunk.split(b"\n")
        if self._size and len(lines) > 1:
            lines[0] = b"".join([*self._parts, lines[0]])
            self._parts, self._size = [], 0
        if rest := lines.pop():
            self._parts.append(rest)
            self._size += len(rest)
        if self._size > self._max or max(map(len, lines), default=0) > self._max:
            self._parts, self._size = [], 0
            raise self.too_long("line", self._max)
        return lines

    def _unify(self, chunk: bytes) -> bytes:
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]  # the second half of a CRLF whose first half ended the last chunk
            if not chunk:
                self._after_cr = False
                return chunk
        if chunk:
            self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    @staticmethod
    def too_long(what: str, cap: int) -> AttemptFailed:
        """The error for a line or an event above its cap (bytes)."""
        return AttemptFailed(
            FailureKind.PROTOCOL, f"the answer has a {what} of more than {cap >> 20} MiB; it was cut off"
        )
