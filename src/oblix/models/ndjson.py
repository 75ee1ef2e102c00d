"""A strict decoder of newline-delimited JSON: one line, one object; empty lines are skipped."""

from __future__ import annotations

from oblix.models.lines import LineDecoder


class NdjsonDecoder:
    """Feed bytes as they come, get the lines that are complete; `rest` is what came after the last line ending."""

    def __init__(self) -> None:
        self._lines = LineDecoder()

    @property
    def rest(self) -> bytes:
        """An unfinished line; some servers send the last one without its line ending."""
        return self._lines.rest.strip()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes, without empty ones.

        Raises:
            AttemptFailed: kind `protocol`, when a line exceeds its cap.
        """
        return [line for line in self._lines.feed(chunk) if line.strip()]
