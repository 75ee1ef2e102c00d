"""Faults of HTTP itself: status lines, headers, lengths and chunks that are wrong, or unusual but right."""

from __future__ import annotations

from collections.abc import Callable

from oblix.errors import FailureKind as K
from oblix.testing.faults.exchange import Exchange, Moment
from oblix.testing.faults.kind import BEFORE, END, Kind, failures, wires
from oblix.testing.faults.wire_http import whole

_PORTAL = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Welcome to the hotel's network.</body></html>"
BIG_HEADER = 1 << 20  # bytes; a hundred times what clients and servers commonly allow


def _portal(x: Exchange) -> None:
    x.send(whole(200, _PORTAL, "text/html; charset=utf-8"))


def _raw_head(*lines: bytes) -> Callable[[Exchange], None]:
    def act(x: Exchange) -> None:
        x.send(b"\r\n".join([*lines, b"", b""]))
        x.close()

    return act


def _wrong_type(x: Exchange) -> None:
    x.rows["content-type"] = "text/plain"
    x.begin()
    x.go_on()


def _too_long(x: Exchange, moment: Moment) -> None:
    x.framing, x.length = "length", x.size_at(len(x.pieces), closed=True) + 1000


def _cut_or_prove(x: Exchange) -> None:
    """In mid-stream the connection ends; at the end the proof comes, but fewer bytes than were promised."""
    if len(x.said) == len(x.pieces):
        x.prove()
    x.close()


def _too_short(x: Exchange, moment: Moment) -> None:
    promised = x.size_at(x.half + 1 if moment == "mid_stream" else len(x.pieces))
    x.framing, x.length = "length", promised if moment == "mid_stream" else promised + 1


def _all_the_rest(x: Exchange) -> None:
    """In one write, so that the surplus is there when the promised part ends."""
    x.send(b"".join(x.rest()))


def _both_lengths(x: Exchange) -> None:
    x.rows["content-length"] = "5"
    x.begin()
    x.go_on()


def _bad_chunk(x: Exchange) -> None:
    x.send(b"zz\r\nnot a chunk\r\n")
    x.close()


def _cut_chunk(x: Exchange) -> None:
    x.send(b"3e8\r\n" + x.wire.piece("half of a ch")[:12])
    x.close()


def _unasked(x: Exchange) -> None:
    """In one write with the end of the answer: what came after the next request had left, no client could tell from its answer."""
    x.send(b"".join(x.rest()) + x.stray("an answer that nobody asked for"))


def _first(status: bytes) -> Callable[[Exchange], None]:
    def act(x: Exchange) -> None:
        x.send(b"HTTP/1.1 " + status + b"\r\n\r\n")
        x.answer()

    return act


def _old_http(x: Exchange, moment: Moment) -> None:
    x.version, x.framing = "1.0", "close"


_BROKEN = failures(K.PROTOCOL, K.TRUNCATED)
_WRONG = failures(K.PROTOCOL)
_HEAD = "it takes the place of the answer's head"

KINDS = (
    Kind("captive_portal", "protocol", "A sign-in page, with status 200.", _portal, moments=BEFORE, failures=_WRONG),
    Kind(
        "wrong_content_type",
        "protocol",
        "A right stream that calls itself plain text.",
        _wrong_type,
        moments=BEFORE,
        failures=_WRONG,
        billed=BEFORE,
        elsewhere=_HEAD,
    ),
    Kind(
        "bad_status_line",
        "protocol",
        "A status line without a status.",
        _raw_head(b"HTTP/1.1 okay fine", b"content-length: 0"),
        moments=BEFORE,
        failures=_WRONG,
        elsewhere=_HEAD,
    ),
    Kind(
        "bad_version",
        "protocol",
        "A version of HTTP that is none.",
        _raw_head(b"HTCPCP/1.0 200 OK", b"content-length: 0"),
        moments=BEFORE,
        failures=_WRONG,
        elsewhere=_HEAD,
    ),
    Kind(
        "bad_header",
        "protocol",
        "A header line without a colon.",
        _raw_head(b"HTTP/1.1 200 OK", b"content type text"),
        moments=BEFORE,
        failures=_WRONG,
        elsewhere=_HEAD,
    ),
    Kind(
        "nul_header",
        "protocol",
        "A NUL byte in a header.",
        _raw_head(b"HTTP/1.1 200 OK", b"content-type: text/event\0stream", b"content-length: 0"),
        moments=BEFORE,
        failures=_WRONG,
        elsewhere=_HEAD,
    ),
    Kind(
        "huge_header",
        "protocol",
        "One header of a mebibyte.",
        _raw_head(b"HTTP/1.1 200 OK", b"x-filler: " + b"a" * BIG_HEADER),
        moments=BEFORE,
        failures=failures(K.PROTOCOL, K.CONNECT),
        elsewhere=_HEAD,
    ),
    Kind(
        "gzip_unasked",
        "protocol",
        "A whole answer, compressed although nobody asked.",
        Exchange.answer_zipped,
        moments=BEFORE,
        failures=_WRONG,
        billed=BEFORE,
        elsewhere=_HEAD,
    ),
    Kind(
        "both_lengths",
        "protocol",
        "A content length besides chunks: who believes the first cuts the answer.",
        _both_lengths,
        moments=BEFORE,
        failures=_WRONG,
        may_answer=True,
        billed=BEFORE,
        elsewhere=_HEAD,
    ),
    Kind(
        "length_too_long",
        "protocol",
        "Fewer bytes than the content length says.",
        _cut_or_prove,
        moments=frozenset({"mid_stream", "at_end"}),
        failures=_BROKEN,
        may_answer=True,
        prepare=_too_long,
    ),
    Kind(
        "length_too_short",
        "protocol",
        "A content length that ends before the proof; the rest follows all the same.",
        _all_the_rest,
        moments=frozenset({"mid_stream", "at_end"}),
        failures=_BROKEN,
        prepare=_too_short,
    ),
    Kind("bad_chunk", "protocol", "A chunk size that is no number.", _bad_chunk, failures=_BROKEN),
    Kind("cut_chunk", "protocol", "The connection ends inside of a chunk.", _cut_chunk, failures=_BROKEN),
    Kind(
        "answer_unasked",
        "protocol",
        "A second answer on the connection: the next request must not take it for its own.",
        _unasked,
        moments=END,
        harmless=True,
    ),
    Kind(
        "continue_100",
        "protocol",
        "An interim answer comes first.",
        _first(b"100 Continue"),
        moments=BEFORE,
        harmless=True,
    ),
    Kind(
        "hints_103",
        "protocol",
        "Early hints come first.",
        _first(b"103 Early Hints\r\nlink: </>"),
        moments=BEFORE,
        harmless=True,
    ),
    Kind(
        "buffered",
        "protocol",
        "The answer in one JSON object, although a stream was asked for.",
        Exchange.answer_buffered,
        moments=BEFORE,
        wires=wires("openai", "ollama"),
        harmless=True,
        elsewhere=_HEAD,
    ),
    Kind(
        "http_1_0",
        "protocol",
        "An answer of HTTP/1.0.",
        Exchange.go_on,
        moments=frozenset({"before_first_token"}),
        harmless=True,
        prepare=_old_http,
    ),
)
