"""Faults of the three protocols: JSON and events that are wrong, missing or too many, or unusual but right."""

from __future__ import annotations

import re
from collections.abc import Callable

from oblix.errors import FailureKind as K
from oblix.testing.faults.exchange import Exchange, Moment
from oblix.testing.faults.kind import END, Kind, failures, wires

_PLACE = "\u2603"  # stands in a piece where raw bytes go
_SSE = wires("openai", "claude")


def _instead(make: Callable[[Exchange], bytes]) -> Callable[[Exchange], None]:
    """Something broken in the place of the next right event, and then on as if nothing were."""

    def act(x: Exchange) -> None:
        x.body(make(x))
        x.lose()
        x.go_on()

    return act


def _raw_piece(raw: bytes) -> Callable[[Exchange], bytes]:
    """A piece whose text is raw bytes, quotes included."""
    return lambda x: x.wire.piece(_PLACE).replace(f'"{_PLACE}"'.encode(), raw)


def _half_json(x: Exchange) -> bytes:
    return x.wire.event(b'{"choices":[{"index":0,"delta":{"content":"ha')


def _half_json_end(x: Exchange) -> None:
    x.body(_half_json(x))
    x.end()


def _none(x: Exchange, moment: Moment) -> None:
    x.opening = b""


def _twice(x: Exchange) -> None:
    x.body(b"".join(x.closing()))
    x.prove()


def _more_after(x: Exchange) -> None:
    x.body(b"".join(x.closing()))
    x.body(x.wire.piece(" AND MORE") + x.wire.piece(" AFTER THE END"))
    x.end()


def _shaped(shape: Callable[[bytes], bytes]) -> Callable[[Exchange, Moment], None]:
    def prepare(x: Exchange, moment: Moment) -> None:
        x.shape = shape

    return prepare


def _bom(x: Exchange, moment: Moment) -> None:
    x.opening = b"\xef\xbb\xbf" + x.opening


def with_field(value: bytes) -> Callable[[bytes], bytes]:
    """Adds a field that no client knows to each event."""
    return lambda data: re.sub(
        rb'(?m)^((?:data: )?\{)(?=")', lambda found: found[1] + b'"new_field":' + value + b",", data
    )


def _two_lines(data: bytes) -> bytes:
    return re.sub(rb"(?m)^(data: \{[^,\n]*,)", rb"\1\ndata: ", data)


def _unknown_event(x: Exchange) -> None:
    x.body(b"id: 7\nretry: 100\nunknown: field\n\n")
    x.go_on()


_BROKEN = failures(K.PROTOCOL, K.TRUNCATED)

KINDS = (
    Kind("half_json", "protocol", "An event that breaks off, and a clean end.", _half_json_end, failures=_BROKEN),
    Kind("bad_json", "protocol", "One event is no JSON; the others are right.", _instead(_half_json), failures=_BROKEN),
    Kind("bad_utf8", "protocol", "Bytes that are no UTF-8.", _instead(_raw_piece(b'"\xff\xfe"')), failures=_BROKEN),
    Kind("nul_bytes", "protocol", "NUL bytes inside of an event.", _instead(_raw_piece(b'"a\0b"')), failures=_BROKEN),
    Kind("wrong_type", "protocol", "A number where text belongs.", _instead(_raw_piece(b"5")), failures=_BROKEN),
    Kind(
        "json_array",
        "protocol",
        "An array where an object belongs.",
        _instead(lambda x: x.wire.event(b"[]")),
        failures=_BROKEN,
    ),
    Kind(
        "empty_data",
        "protocol",
        "An event whose data is empty.",
        _instead(lambda x: x.wire.event(b"")),
        wires=_SSE,
        failures=_BROKEN,
    ),
    Kind(
        "empty_stream",
        "protocol",
        "Right headers, no event, a clean end.",
        Exchange.end,
        moments=frozenset({"before_first_token"}),
        failures=_BROKEN,
        prepare=_none,
    ),
    Kind("end_twice", "protocol", "The end is told twice.", _twice, moments=END, harmless=True),
    Kind(
        "more_after_end",
        "protocol",
        "Text after the proof of completion, which belongs to no answer.",
        _more_after,
        moments=END,
        failures=_BROKEN,
        may_answer=True,
    ),
    Kind(
        "bom",
        "protocol",
        "A byte-order mark before the first event.",
        Exchange.go_on,
        moments=frozenset({"before_first_token"}),
        harmless=True,
        prepare=_bom,
    ),
    Kind(
        "crlf",
        "protocol",
        "Lines that end in CR and LF.",
        Exchange.go_on,
        harmless=True,
        prepare=_shaped(lambda data: data.replace(b"\n", b"\r\n")),
    ),
    Kind(
        "no_space",
        "protocol",
        "No space after `data:`.",
        Exchange.go_on,
        wires=_SSE,
        harmless=True,
        prepare=_shaped(lambda data: re.sub(rb"(?m)^data: ", b"data:", data)),
    ),
    Kind(
        "two_lines",
        "protocol",
        "The data of each event in two lines.",
        Exchange.go_on,
        wires=_SSE,
        harmless=True,
        prepare=_shaped(_two_lines),
    ),
    Kind(
        "unknown_fields",
        "protocol",
        "Fields that no version of the protocol had so far.",
        Exchange.go_on,
        harmless=True,
        prepare=_shaped(with_field(b'{"a":[null,1.5e3,{}]}')),
    ),
    Kind("unknown_event", "protocol", "An event without data.", _unknown_event, wires=_SSE, harmless=True),
)
