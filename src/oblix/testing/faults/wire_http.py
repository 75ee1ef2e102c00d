"""HTTP/1.1 as the fault server reads and writes it: pure, and able to be wrong on purpose."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

MAX_HEAD = 64 << 10  # bytes; more than any client of ours sends in request line and headers
MARKER = re.compile(rb"REQ-\d{5,}")  # how a test marks its request, anywhere in the body
LAST_CHUNK = b"0\r\n\r\n"  # RFC 9112, section 7.1
_REASONS = {200: "OK", 204: "No Content", 206: "Partial Content", 301: "Moved Permanently", 404: "Not Found"}


class BadRequestError(Exception):
    """A request that this server cannot read; its connection is closed."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: method and path, the head's raw bytes, the body's raw bytes; `is_last` when the peer wants the connection closed."""

    method: str
    path: str
    head: bytes
    body: bytes
    is_last: bool = False


def take_request(buffer: bytearray) -> Asked | None:
    """The first whole request, which leaves the buffer; `None` until it is whole.

    Raises:
        BadRequestError: The head has no end, or the body no length.
    """
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        if len(buffer) > MAX_HEAD:
            raise BadRequestError("the head of the request has no end")
        return None
    head = bytes(buffer[: end + 4])
    lower = head.lower()
    length = _length(lower)
    if len(buffer) < len(head) + length:
        return None
    body = bytes(buffer[len(head) : len(head) + length])
    del buffer[: len(head) + length]
    method, path, *_ = [*head.split(b"\r\n", 1)[0].decode("latin-1").split(" "), "", ""]
    return Asked(method, path.partition("?")[0], head, body, b"\r\nconnection: close\r\n" in lower)


def _length(lower: bytes) -> int:
    if b"\r\ntransfer-encoding:" in lower:
        raise BadRequestError("the body of the request has no content length")
    found = re.search(rb"\r\ncontent-length:[ \t]*(\d{1,12})[ \t]*\r\n", lower)
    return int(found[1]) if found else 0


def marker_of(body: bytes) -> str:
    """The first marker in a body; empty where there is none."""
    found = MARKER.search(body)
    return found[0].decode() if found else ""


def head(status: int, rows: Mapping[str, str], version: str = "1.1") -> bytes:
    """Status line and headers, with the empty line that ends them."""
    lines = [f"HTTP/{version} {status} {_REASONS.get(status, 'Played')}", *(f"{k}: {v}" for k, v in rows.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def whole(status: int, body: bytes, content_type: str = "application/json", **rows: str) -> bytes:
    """A complete answer with its content length; `retry_after="7"` becomes `retry-after: 7`."""
    named = {name.replace("_", "-"): value for name, value in rows.items()}
    return head(status, {"content-type": content_type, "content-length": str(len(body)), **named}) + body


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def odd_pieces(data: bytes, seed: int, count: int) -> list[bytes]:
    """About `count` pieces whose borders fall anywhere, the first one inside of the first character that is no ASCII."""
    stride = len(data) // count + 1 + seed % 7
    cuts = set(range(stride, len(data), stride))
    if split := re.search(rb"[\x80-\xff]", data):
        cuts.add(split.start() + 1)
    borders = [0, *sorted(cuts), len(data)]
    return [data[a:b] for a, b in pairwise(borders) if b > a]
