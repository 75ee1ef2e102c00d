"""Weights from an address: resumed where a broken download stopped, checked if a sum was given."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import ipaddress
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

import msgspec

from oblix.errors import ConfigurationError
from oblix.models.embedded.place import OnProgress, alone, check_room, settle

_TIMEOUT = 30.0  # seconds without a byte
_PIECE = 1 << 18  # bytes between two reports
_TRIES = 4  # in a row that bring nothing new; a link that moves on is never given up
_BROKEN = (OSError, http.client.HTTPException)  # urllib's errors, time-outs and resets are OSErrors


class _Part(msgspec.Struct):
    """What the server said of the file of which we hold the first bytes: ETag or date, or an empty text."""

    validator: str


@dataclass(frozen=True, slots=True)
class Address:
    """An address, taken apart: where from, and the sum in hexadecimal digits if one was given."""

    url: str
    sha256: str | None


def parse(name: str) -> Address:
    """Read `https://….gguf[#sha256=…]`.

    Raises:
        ConfigurationError: It is not safe (http to another machine), or no GGUF file.
    """
    parts = urlsplit(name)
    if not parts.path.endswith(".gguf"):
        raise ConfigurationError(
            f"The address {name!r} does not end in .gguf.", hint="name the file itself, not its web page"
        )
    _check_scheme(name)
    sha256 = None
    if parts.fragment:
        match = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", parts.fragment)
        if match is None:
            raise ConfigurationError(
                f"{parts.fragment!r} is no checksum.", hint="write #sha256= and 64 hexadecimal digits"
            )
        sha256 = match[1].lower()
    return Address(parts._replace(fragment="").geturl(), sha256)


def file_name(name: str) -> str:
    """The name in our cache: that of the file, after a short sum of its whole address."""
    address = parse(name)
    base = re.sub(r"[^A-Za-z0-9._-]", "_", unquote(urlsplit(address.url).path.rsplit("/", 1)[-1]))[-100:]
    return f"{hashlib.sha256(name.encode()).hexdigest()[:12]}-{base}"


def fetch(name: str, target: Path, report: OnProgress) -> None:
    """Bring the file to `target`. After an interruption the first part stays beside it, and the next fetch goes on from there.

    Raises:
        ConfigurationError: The server does not have it, cannot be reached, or sent something else.
    """
    address = parse(name)
    with alone(target):
        if target.is_file():
            return
        part = target.with_name(f".{target.name}.part")
        failures = 0
        while True:
            before = _size(part)
            try:
                if _bring(address, part, report):
                    break
                problem: Exception = ConnectionError("the connection was closed early")
            except urllib.error.HTTPError as exc:
                exc.close()
                if exc.code < 500 and exc.code not in (408, 429):
                    raise ConfigurationError(
                        f"{address.url!r} answers {exc.code} {exc.reason}.", hint="check the address", cause=exc
                    ) from exc
                problem = exc
            except _BROKEN as exc:
                problem = exc
            failures = 0 if _size(part) > before else failures + 1
            if failures == _TRIES:
                raise ConfigurationError(
                    f"{address.url!r} could not be downloaded: {problem}.",
                    hint="check the network and fetch again; what has come is kept",
                    cause=problem,
                ) from problem
        _notes(part).unlink(missing_ok=True)
        settle(part, target, address.sha256)


def _bring(address: Address, part: Path, report: OnProgress) -> bool:
    """Append to `part` what one connection brings; whether that was all."""
    have = _size(part)
    validator = _remembered(part)
    if have and not validator and not address.sha256:  # nothing would tell that the file has changed in between
        part.unlink()
        have = 0
    request = urllib.request.Request(address.url, headers={"User-Agent": "oblix", "Accept-Encoding": "identity"})  # noqa: S310 - checked
    if have:
        request.add_header("Range", f"bytes={have}-")
        if validator:
            request.add_header("If-Range", validator)
    try:
        response = _opener(address.url).open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as exc:
        if exc.code == 416:  # we hold all of it, or more than there is
            exc.close()
            return _is_whole(part, exc.headers.get("Content-Range", ""))
        raise
    with response:
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if not resumed:
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        check_room(part.parent, (total or 0) - have)
        strong = response.headers.get("ETag", "")
        validator = strong if strong and not strong.startswith("W/") else response.headers.get("Last-Modified", "")
        _notes(part).write_bytes(msgspec.json.encode(_Part(validator)))
        with part.open("ab" if resumed else "wb") as sink:
            have = _copy(response, sink, have, total, report)
    return total is None or have == total


def _copy(source: http.client.HTTPResponse, sink: IO[bytes], have: int, total: int | None, report: OnProgress) -> int:
    report(have, total)
    while piece := source.read1(_PIECE):
        sink.write(piece)
        have += len(piece)
        report(have, total)
    return have


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


def _notes(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _remembered(part: Path) -> str:
    try:
        return msgspec.json.decode(_notes(part).read_bytes(), type=_Part).validator
    except (OSError, msgspec.DecodeError):
        return ""


def _is_whole(part: Path, content_range: str) -> bool:
    """After 416: `bytes */TOTAL` tells the size. What is longer was another file, and goes."""
    if content_range == f"bytes */{_size(part)}":
        return True
    part.unlink(missing_ok=True)
    return False


def _check_scheme(url: str) -> None:
    """Allow https, and http on this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        return
    raise ConfigurationError(f"{url!r} is not fetched over a connection without TLS.", hint="use an https address")


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect must not lead from https to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        _check_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(url: str) -> urllib.request.OpenerDirector:
    proxies: dict[str, str] | None = (
        {} if _is_loopback(urlsplit(url).hostname or "") else None
    )  # None: as the environment says
    return urllib.request.build_opener(_SafeRedirects, urllib.request.ProxyHandler(proxies))
