"""Bytes to lines, events and JSON lines: the same whatever the network makes of them, and never without bounds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.lines import MAX_LINE, LineDecoder
from oblix.models.ndjson import NdjsonDecoder
from oblix.models.sse import MAX_EVENT, Event, SseDecoder

BOM = b"\xef\xbb\xbf"
ENDINGS = st.sampled_from([b"\n", b"\r\n", b"\r"])
TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12)


@st.composite
def sse_lines(draw: st.DrawFn) -> bytes:
    """A line that a stream may hold: fields with and without the space, comments, blank lines, fields that we do not use."""
    text = draw(TEXT).encode()
    kind = draw(st.sampled_from(["data", "data", "data", "bare", "event", "comment", "blank", "blank", "other"]))
    made = {
        "data": b"data:" + draw(st.sampled_from([b"", b" ", b"  "])) + text,
        "bare": b"data",
        "event": b"event: " + text.replace(b":", b""),
        "comment": b":" + text,
        "blank": b"",
        "other": b"id: " + text,
    }
    return made[kind]


@st.composite
def streams(draw: st.DrawFn, lines: st.SearchStrategy[bytes]) -> bytes:
    """A whole stream: maybe a byte-order mark, then lines with mixed endings, maybe an unfinished one."""
    body = b"".join(line + draw(ENDINGS) for line in draw(st.lists(lines, max_size=12)))
    return draw(st.sampled_from([b"", BOM])) + body + draw(st.sampled_from([b"", b"data: cut", b"\xe2\x82"]))


@st.composite
def chunkings(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> tuple[bytes, list[bytes]]:
    """A stream and one way to cut it, anywhere: in characters, in line endings, in the mark; also into nothing."""
    data = draw(whole)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=10)))
    return data, [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def events_of(*pieces: bytes) -> list[Event]:
    decoder = SseDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


def lines_of(*pieces: bytes) -> tuple[list[bytes], bytes]:
    decoder = NdjsonDecoder()
    return [line for piece in pieces for line in decoder.feed(piece)], decoder.rest


@given(chunkings(streams(sse_lines())))
def test_any_chunking_gives_the_same_events(cut: tuple[bytes, list[bytes]]) -> None:
    """The network's cuts mean nothing; byte by byte is the same as all at once."""
    whole, pieces = cut
    expected = events_of(whole)
    assert events_of(*pieces) == expected
    assert events_of(*(bytes([byte]) for byte in whole)) == expected


@given(chunkings(streams(st.one_of(TEXT.map(str.encode), st.sampled_from([b"", b"  ", b'{"a": 1}'])))))
def test_any_chunking_gives_the_same_json_lines(cut: tuple[bytes, list[bytes]]) -> None:
    whole, pieces = cut
    expected = lines_of(whole)
    assert lines_of(*pieces) == expected
    assert lines_of(*(bytes([byte]) for byte in whole)) == expected


@given(streams(sse_lines()))
def test_every_line_ending_means_the_same(stream: bytes) -> None:
    """CRLF and CR are LF. The last ending is kept whole: a lone CR at the end could still become CRLF."""
    unified = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert events_of(stream) == events_of(unified)
    assert events_of(unified.replace(b"\n", b"\r\n")) == events_of(unified)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\n", [("", b"a")]),
        (b"data:a\n\n", [("", b"a")]),
        (b"data:  a\n\n", [("", b" a")]),
        (b"data: a\r\rdata: b\r\r", [("", b"a"), ("", b"b")]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [("", b"a"), ("", b"b")]),
        (b"data: a\ndata: b\n\n", [("", b"a\nb")]),
        (b"data\ndata\n\n", [("", b"\n")]),
        (b"event: ping\ndata: {}\n\ndata: x\n\n", [("ping", b"{}"), ("", b"x")]),
        (b"event: gone\n\ndata: x\n\n", [("", b"x")]),
        (b": comment\n:\n\nid: 7\nretry: 1\n\n", []),
        (b"data: never ended\n", []),
        (b"data: never ended", []),
        (b"database: no field of ours\n\n", []),
        (BOM + b"data: a\n\n", [("", b"a")]),
        (b"data: " + BOM + b"\n\n", [("", BOM)]),
        (BOM + BOM + b"data: a\n\n", []),
        ("data: é€😀\n\n".encode(), [("", "é€😀".encode())]),
        (b"data: \xff\n\n", [("", b"\xff")]),
        (b"", []),
    ],
    ids=[
        "space",
        "no space",
        "only one space is taken",
        "CR",
        "CRLF",
        "two data lines are one text",
        "data without colon",
        "a name counts for one event",
        "a name alone is no event",
        "comments and foreign fields",
        "no blank line, no event",
        "no line ending, no event",
        "a longer field name",
        "BOM",
        "BOM inside is data",
        "only one BOM",
        "UTF-8",
        "the bytes are not judged here",
        "nothing",
    ],
)
def test_server_sent_events(stream: bytes, expected: list[tuple[str, bytes]]) -> None:
    assert [tuple(event) for event in events_of(stream)] == expected


@pytest.mark.parametrize(
    ("stream", "expected", "rest"),
    [
        (b'{"a":1}\n{"b":2}\n', [b'{"a":1}', b'{"b":2}'], b""),
        (b'\n\r\n  \n{"a":1}\r\n', [b'{"a":1}'], b""),
        (b'{"a":1}\n{"done":true}', [b'{"a":1}'], b'{"done":true}'),
        (BOM + b'{"a":1}\n', [b'{"a":1}'], b""),
        (b'{"a":1}\n   ', [b'{"a":1}'], b""),
    ],
    ids=["lines", "empty lines", "an unfinished last line", "BOM", "blanks at the end"],
)
def test_json_lines(stream: bytes, expected: list[bytes], rest: bytes) -> None:
    assert lines_of(stream) == (expected, rest)


def test_a_crlf_cut_in_two_is_one_ending() -> None:
    """Not a line and an empty line, which would end the event too early."""
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\r") == []
    assert decoder.feed(b"") == []
    assert decoder.feed(b"\n") == []
    assert decoder.feed(b"data: b\r\n\r\n") == [Event("", b"a\nb")]


MIB = b"x" * (1 << 20)


def feed_all(feed: Callable[[bytes], object], piece: bytes, times: int) -> None:
    for _ in range(times):
        feed(piece)


@pytest.mark.parametrize("make", [LineDecoder, SseDecoder, NdjsonDecoder])
def test_a_line_without_end_is_cut_off(make: Callable[[], LineDecoder | SseDecoder | NdjsonDecoder]) -> None:
    with pytest.raises(AttemptFailed, match="line of more than 4 MiB") as failed:
        feed_all(make().feed, MIB, (MAX_LINE >> 20) + 1)
    assert failed.value.kind is FailureKind.PROTOCOL


def test_a_long_line_that_came_whole_is_refused_as_well() -> None:
    with pytest.raises(AttemptFailed, match="line"):
        LineDecoder().feed(b"x" * (MAX_LINE + 1) + b"\n")
    assert LineDecoder().feed(b"x" * MAX_LINE + b"\n") == [b"x" * MAX_LINE]


def test_an_event_without_end_is_cut_off() -> None:
    """Many short lines make a large event too."""
    with pytest.raises(AttemptFailed, match="event of more than 4 MiB") as failed:
        feed_all(SseDecoder().feed, b"data: " + MIB[:-1] + b"\n", (MAX_EVENT >> 20) + 1)
    assert failed.value.kind is FailureKind.PROTOCOL


def test_an_event_of_empty_lines_is_cut_off() -> None:
    """Lines without text cost memory as well."""
    with pytest.raises(AttemptFailed, match="event"):
        feed_all(SseDecoder().feed, b"data\n" * 20_000, MAX_EVENT // 20_000 + 1)


def test_events_after_one_another_have_a_cap_each() -> None:
    decoder = SseDecoder()
    for _ in range(12):
        assert len(decoder.feed(b"data: " + MIB + b"\n\n")) == 1


def test_a_long_line_may_come_in_small_pieces() -> None:
    """4 MiB in 1 KiB pieces: copying all of it for each piece would move 8 GiB, and took 5 s of CPU."""
    decoder = LineDecoder()
    for _ in range(4096):
        assert decoder.feed(b"y" * 1024) == []
    assert decoder.feed(b"\n") == [b"y" * (4 << 20)]
