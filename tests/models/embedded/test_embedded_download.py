"""Downloads from an address, against a real server on loopback that breaks in the ways servers do."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from oblix.errors import ConfigurationError
from oblix.models.embedded import download, weights

BODY = b"GGUF" + bytes(range(256)) * 4000
SUM = hashlib.sha256(BODY).hexdigest()


@dataclass
class Shop:
    """What the server does.

    Attributes:
        breaks: Bytes after which each connection in turn is closed.
        ranges: The `Range` headers that came, or an empty text.
    """

    url: str = ""
    body: bytes = BODY
    etag: str = '"one"'
    status: int = 200
    honours_ranges: bool = True
    tells_length: bool = True
    redirect: str = ""
    breaks: list[int] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)


def handler_for(shop: Shop) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wished = self.headers.get("Range", "")
            shop.ranges.append(wished)
            if shop.redirect or shop.status != 200:
                self.send_response(302 if shop.redirect else shop.status)
                self.send_header("Location", shop.redirect)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = self._start(wished)
            if start > len(shop.body) or (start and start == len(shop.body)):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(shop.body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self._send(start)

        def _start(self, wished: str) -> int:
            fresh = self.headers.get("If-Range", shop.etag) == shop.etag
            return int(wished.removeprefix("bytes=").rstrip("-")) if wished and shop.honours_ranges and fresh else 0

        def _send(self, start: int) -> None:
            rest = shop.body[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(shop.body) - 1}/{len(shop.body)}")
            if shop.etag:
                self.send_header("ETag", shop.etag)
            if shop.tells_length:
                self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: shop.breaks.pop(0)] if shop.breaks else rest)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setenv("OBLIX_HOME", str(tmp_path))
    found = Shop()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_for(found)) as server:
        found.url = f"http://127.0.0.1:{server.server_address[1]}/models/x.gguf"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        server.shutdown()
        thread.join()


def fetch(name: str) -> tuple[bytes, list[tuple[int, int | None]]]:
    reports: list[tuple[int, int | None]] = []
    target = weights.cached(name)
    download.fetch(name, target, lambda done, total: reports.append((done, total)))
    assert [path.name for path in target.parent.iterdir() if not path.name.endswith(".lock")] == [target.name]
    return target.read_bytes(), reports


def test_a_file_is_downloaded_checked_and_reported(shop: Shop) -> None:
    body, reports = fetch(f"{shop.url}#sha256={SUM.upper()}")
    assert body == BODY
    assert reports[0] == (0, len(BODY))
    assert reports[-1] == (len(BODY), len(BODY))


@pytest.mark.parametrize("pinned", [True, False])
def test_a_broken_download_goes_on_where_it_stopped(shop: Shop, pinned: bool) -> None:
    shop.breaks = [100_000, 50_000]
    body, _ = fetch(f"{shop.url}#sha256={SUM}" if pinned else shop.url)
    assert body == BODY
    assert shop.ranges == ["", "bytes=100000-", "bytes=150000-"]


def test_an_interrupted_download_goes_on_with_the_next_fetch(shop: Shop) -> None:
    def interrupt(done: int, total: int | None) -> None:
        if done > 300_000:
            raise KeyboardInterrupt

    target = weights.cached(shop.url)
    with pytest.raises(KeyboardInterrupt):
        download.fetch(shop.url, target, interrupt)
    assert not target.exists()
    body, reports = fetch(shop.url)
    assert body == BODY
    assert reports[0][0] > 300_000 - 1


def test_a_file_that_changed_in_between_is_begun_again(shop: Shop) -> None:
    shop.breaks = [100_000]
    target = weights.cached(shop.url)

    def swap(done: int, total: int | None) -> None:
        if done >= 100_000:
            shop.body, shop.etag = b"GGUF" + b"new" * 100_000, '"two"'

    download.fetch(shop.url, target, swap)
    assert target.read_bytes() == b"GGUF" + b"new" * 100_000


@pytest.mark.parametrize("shape", ["no-ranges", "no-etag", "no-length"])
def test_simpler_servers_do_as_well(shop: Shop, shape: str) -> None:
    shop.breaks = [] if shape == "no-length" else [100_000]
    shop.honours_ranges = shape != "no-ranges"
    shop.etag = "" if shape == "no-etag" else shop.etag
    shop.tells_length = shape != "no-length"
    assert fetch(shop.url)[0] == BODY


def test_a_part_that_is_already_whole_is_only_checked(shop: Shop) -> None:
    name = f"{shop.url}#sha256={SUM}"
    target = weights.cached(name)
    target.parent.mkdir(parents=True)
    target.with_name(f".{target.name}.part").write_bytes(BODY)
    assert fetch(name)[0] == BODY


def test_a_part_that_is_too_long_is_thrown_away(shop: Shop) -> None:
    name = f"{shop.url}#sha256={SUM}"
    target = weights.cached(name)
    target.parent.mkdir(parents=True)
    target.with_name(f".{target.name}.part").write_bytes(BODY + b"more")
    assert fetch(name)[0] == BODY


@pytest.mark.parametrize("change", ["sum", "page"])
def test_what_fails_its_check_does_not_stay(shop: Shop, change: str) -> None:
    shop.body = b"<html>" if change == "page" else BODY
    name = shop.url if change == "page" else f"{shop.url}#sha256={'0' * 64}"
    target = weights.cached(name)
    with pytest.raises(ConfigurationError, match="sha256" if change == "sum" else "no GGUF"):
        download.fetch(name, target, lambda *_: None)
    assert [path for path in target.parent.iterdir() if not path.name.endswith(".lock")] == []


def test_a_refusal_is_told_at_once_and_a_bad_gateway_after_some_tries(shop: Shop) -> None:
    shop.status = 404
    with pytest.raises(ConfigurationError, match="404"):
        weights.fetch(shop.url)
    assert len(shop.ranges) == 1
    shop.status = 502
    with pytest.raises(ConfigurationError, match="502"):
        weights.fetch(shop.url)
    assert len(shop.ranges) == 5


def test_a_server_that_is_not_there_is_told_with_a_hint(shop: Shop) -> None:
    with pytest.raises(ConfigurationError, match="could not be downloaded") as failed:
        weights.fetch("http://127.0.0.1:9/x.gguf")
    assert "network" in (failed.value.hint or "")


@pytest.mark.parametrize("place", ["http://10.0.0.1/x.gguf", "ftp://127.0.0.1/x.gguf", "file:///etc/x.gguf"])
def test_a_redirect_to_an_unsafe_place_is_not_followed(shop: Shop, place: str) -> None:
    shop.redirect = place
    with pytest.raises(ConfigurationError):
        weights.fetch(shop.url)


@pytest.mark.parametrize(
    "name",
    [
        "http://example.com/x.gguf",
        "http://127.0.0.1.example.com/x.gguf",
        "https://h/x.bin",
        "https://h/x.gguf#sha256=12",
        "https://h/x.gguf#md5=12",
    ],
)
def test_unsafe_or_odd_addresses_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        download.parse(name)


@pytest.mark.parametrize("path", ["a%2f..%2f..%2fetc.gguf", "..%00.gguf", "x" * 500 + ".gguf", "%ff.gguf"])
def test_the_name_in_the_cache_is_plain(path: str) -> None:
    name = download.file_name(f"https://h/{path}")
    assert "/" not in name
    assert "\0" not in name
    assert len(name) < 120
    assert name.endswith(".gguf")
