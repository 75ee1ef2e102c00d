"""Bombs: answers that want all memory or all time. Each is bounded, and stops when the peer leaves."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import lru_cache

from oblix.errors import FailureKind as K
from oblix.testing.faults.exchange import Exchange
from oblix.testing.faults.kind import AFTER, BEFORE, END, INSIDE, Kind, failures
from oblix.testing.faults.protocol import with_field
from oblix.testing.faults.wire_http import head

DEPTH = 100_000  # of nested arrays; any recursive parser's stack ends before
DIGITS = 10_000  # of a number; Python refuses to turn more than 4,300 into an integer


async def _long_line(x: Exchange) -> None:
    x.body(x.wire.piece("")[:-10])
    await x.flood(b"a")
    x.end()


async def _headers_for_ever(x: Exchange) -> None:
    x.send(b"HTTP/1.1 200 OK\r\n")
    await x.flood(b"x-filler: " + b"a" * 1000 + b"\r\n", framed=False)
    x.close()


async def _silence(x: Exchange) -> None:
    await x.flood(x.wire.silent())
    x.end()


async def _comments(x: Exchange) -> None:
    await x.flood(x.wire.comment())
    x.end()


async def _after_end(x: Exchange) -> None:
    x.body(b"".join(x.closing()))
    await x.flood(x.wire.silent())
    x.end()


async def _error_for_ever(x: Exchange) -> None:
    x.send(head(500, {"content-type": "application/json", "transfer-encoding": "chunked"}))
    x.body(b'{"error":"')
    await x.flood(b"a")
    x.end()


@lru_cache(maxsize=1)
def _mebibyte_of_nothing() -> bytes:
    return gzip.compress(b"\n" * (1 << 20), mtime=0)


def _gzip_bomb(x: Exchange) -> None:
    """Compressed to a thousandth: one member a mebibyte, and gzip lets members follow each other."""
    x.rows["content-encoding"] = "gzip"
    x.send(x.head())
    x.body(_mebibyte_of_nothing() * max(1, x.tempo.bomb >> 20))
    x.end()


def _huge_chunk(x: Exchange) -> None:
    x.send(b"ffffffffffffff0\r\n" + b"a" * 1000)
    x.close()


def _beside_text(value: bytes) -> Callable[[Exchange], None]:
    """In a field that no client knows, beside the next piece of text; there no type refuses it before it is read."""

    def act(x: Exchange) -> None:
        x.shape = with_field(value)
        x.say(1)
        x.shape = bytes
        x.go_on()

    return act


_deep = _beside_text(b"[" * DEPTH + b"]" * DEPTH)
_digits = _beside_text(b"9" * DIGITS)
_PROTOCOL = failures(K.PROTOCOL)
_BROKEN = failures(K.PROTOCOL, K.TRUNCATED)

KINDS = (
    Kind("long_line", "bomb", "One event of 64 MB.", _long_line, moments=INSIDE, failures=_PROTOCOL),
    Kind(
        "endless_headers",
        "bomb",
        "Headers without end.",
        _headers_for_ever,
        moments=BEFORE,
        failures=failures(K.PROTOCOL, K.CONNECT),
    ),
    Kind(
        "endless_silence",
        "bomb",
        "Right events without a word, at full speed.",
        _silence,
        failures=_BROKEN,
        in_time=True,
    ),
    Kind("endless_comments", "bomb", "Comments at full speed.", _comments, failures=_BROKEN, in_time=True),
    Kind(
        "endless_after_end",
        "bomb",
        "Events without end after the proof of completion.",
        _after_end,
        moments=END,
        failures=_BROKEN,
        may_answer=True,
    ),
    Kind(
        "endless_error",
        "bomb",
        "Status 500, and a body without end.",
        _error_for_ever,
        moments=BEFORE,
        failures=failures(K.SERVER_ERROR),
    ),
    Kind("gzip_bomb", "bomb", "Compressed to a thousandth, unasked.", _gzip_bomb, moments=BEFORE, failures=_PROTOCOL),
    Kind("huge_chunk", "bomb", "A chunk that announces an exbibyte.", _huge_chunk, moments=AFTER, failures=_BROKEN),
    Kind(
        "deep_json", "bomb", "A hundred thousand brackets.", _deep, moments=INSIDE, failures=_PROTOCOL, may_answer=True
    ),
    Kind(
        "long_number",
        "bomb",
        "A number of ten thousand digits.",
        _digits,
        moments=INSIDE,
        failures=_PROTOCOL,
        may_answer=True,
    ),
)
