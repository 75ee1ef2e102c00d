"""Faults of the connection: refused, reset, closed, silent, or not HTTP at all."""

from __future__ import annotations

from oblix.errors import FailureKind as K
from oblix.testing.faults.exchange import Exchange, Moment
from oblix.testing.faults.kind import AFTER, ANY, BEFORE, Kind, failures

# What a TLS server says to a client that spoke plain: alert, fatal, "unexpected message" (RFC 8446, section 6).
_TLS_ALERT = bytes.fromhex("1503030002020a")
_NOISE = bytes(range(128, 256)) + b"SSH-2.0-OpenSSH_9.9\r\n"


def _cut_in_headers(x: Exchange) -> None:
    head = x.head()
    x.send(head[: len(head) // 2])
    x.close()


def _cut_in_status(x: Exchange) -> None:
    x.send(b"HTTP/1.1 2")
    x.reset()


def _noise(x: Exchange) -> None:
    x.send(_NOISE)
    x.close()


def _tls(x: Exchange) -> None:
    x.send(_TLS_ALERT)
    x.close()


async def _half_close(x: Exchange) -> None:
    x.half_close()
    await x.hold()


def _open_end(x: Exchange, moment: Moment) -> None:
    x.framing = "close"


def _leave_after(x: Exchange) -> None:
    x.go_on()
    x.close()


_GONE = failures(K.CONNECT, K.TRUNCATED)
_NO_HTTP = failures(K.PROTOCOL, K.CONNECT)

KINDS = (
    Kind(
        "refuse",
        "connection",
        "The port is closed.",
        Exchange.reset,
        moments=BEFORE,
        failures=failures(K.CONNECT),
        of_upstream=True,
        closes_port=True,
    ),
    Kind(
        "accept_close",
        "connection",
        "Accepted, and closed at once.",
        Exchange.close,
        moments=BEFORE,
        failures=failures(K.CONNECT),
        of_upstream=True,
    ),
    Kind(
        "accept_reset",
        "connection",
        "Accepted, and reset at once.",
        Exchange.reset,
        moments=BEFORE,
        failures=failures(K.CONNECT),
        of_upstream=True,
    ),
    Kind("reset", "connection", "A reset (RST).", Exchange.reset, moments=ANY, failures=_GONE),
    Kind("close", "connection", "An orderly end (FIN) where none may be.", Exchange.close, moments=ANY, failures=_GONE),
    Kind(
        "half_close", "connection", "The server says it is done, and stays.", _half_close, moments=ANY, failures=_GONE
    ),
    Kind(
        "stall",
        "connection",
        "Not another byte, on a connection that stays open.",
        Exchange.hold,
        moments=ANY,
        in_time=True,
        billed=ANY,
    ),
    Kind(
        "cut_in_status",
        "connection",
        "A reset inside of the status line.",
        _cut_in_status,
        moments=BEFORE,
        failures=_NO_HTTP,
    ),
    Kind(
        "cut_in_headers",
        "connection",
        "An end inside of the headers.",
        _cut_in_headers,
        moments=BEFORE,
        failures=_NO_HTTP,
    ),
    Kind("noise", "connection", "Bytes that are no HTTP.", _noise, moments=BEFORE, failures=_NO_HTTP),
    Kind("tls_alert", "connection", "A TLS server on a plain address.", _tls, moments=BEFORE, failures=_NO_HTTP),
    Kind(
        "open_end_cut",
        "connection",
        "A body that ends with the connection, which ends too early: HTTP sees nothing wrong.",
        Exchange.close,
        moments=AFTER,
        failures=failures(K.TRUNCATED, K.PROTOCOL),
        prepare=_open_end,
    ),
    Kind(
        "open_end",
        "connection",
        "A body that ends with the connection, as in HTTP/1.0.",
        Exchange.go_on,
        moments=AFTER,
        harmless=True,
        prepare=_open_end,
    ),
    Kind(
        "leaves_after",
        "connection",
        "Closes after the answer, although it promised to stay.",
        _leave_after,
        moments=AFTER,
        harmless=True,
    ),
)
