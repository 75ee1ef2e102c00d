"""The one place that sends prompts: the guard before every socket, two lanes, and every foreign exception as one of ours."""

from __future__ import annotations

import asyncio
import gc
import re
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from oblix.errors import AttemptFailed, FailureKind
from oblix.models import transport
from oblix.models.transport import MAX_ERROR_BODY, Answer, Permit, Transport
from oblix.types.messages import Message
from oblix.types.spec import ModelSpec, Place

from .asking import KEY, ask, lanes, run
from .test_resolver import names
from .upstream import HANGUP, LAST, RESET, Hold, Script, Step, Upstream, chunk, head, whole

K = FailureKind
OK = [whole({"ok": True})]


def spec_at(base: str, place: Place = "edge", provider: str = "openai") -> ModelSpec:
    return ModelSpec(f"{provider}:tried", provider, "tried", place, endpoint=base)


async def send(
    transport: Transport, base: str, place: Place = "edge", *, private: bool = False, seconds: float = 5.0
) -> tuple[int, bytes]:
    """Status and body of one POST, with a key."""
    spec = spec_at(base, place)
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = await transport.post(
        f"{base}/v1", body=b"{}", permit=Permit(spec, private), headers=headers, connect_timeout=seconds
    )
    try:
        return answer.status, await answer.read()
    finally:
        answer.close()


def outcome(*scripts: Script, place: Place = "edge", host: str | None = None, **how: bool) -> tuple[object, Upstream]:
    """Body or failure of one POST, and the upstream that it went to."""

    async def main() -> tuple[object, Upstream]:
        async with Upstream(*scripts) as upstream, lanes() as transport:
            base = upstream.url if host is None else upstream.url.replace("127.0.0.1", host)
            try:
                return (await send(transport, base, place, **how))[1], upstream
            except AttemptFailed as failure:
                return failure, upstream

    return run(main())


def failure_of(*scripts: Script, place: Place = "edge", host: str | None = None, **how: bool) -> AttemptFailed:
    found, _ = outcome(*scripts, place=place, host=host, **how)
    assert isinstance(found, AttemptFailed), found
    assert KEY not in f"{found!r}{found}"
    return found


def test_a_private_prompt_opens_no_socket_to_a_cloud() -> None:
    """The permit is asked before a name is looked up; the upstream sees no connection at all."""
    found, upstream = outcome(OK, place="cloud", private=True)
    assert isinstance(found, AttemptFailed)
    assert found.kind is K.POLICY
    assert upstream.connections == []


def test_a_private_prompt_may_go_to_the_edge() -> None:
    assert outcome(OK, private=True)[0] == b'{"ok": true}'


@pytest.mark.parametrize(
    ("wishes", "private"),
    [
        ({}, False),
        ({"private": True}, True),
        ({"redact": True}, True),
        ({"messages": (Message("user", "a", private=True), Message("user", "b"))}, True),
        ({"messages": (Message("user", "a"), Message("tool", "b", private=True))}, True),
        ({"messages": (Message("user", "a"), Message("user", "b"))}, False),
    ],
)
def test_a_permit_knows_every_label(wishes: dict[str, Any], private: bool) -> None:
    assert Permit.of(spec_at("http://127.0.0.1:9"), ask(**wishes)).private is private


def test_no_provider_reads_one_label_only() -> None:
    """A permit for a prompt is made of the whole request: by hand, somebody would forget the labels of its messages."""
    sources = [path.read_text("utf-8") for path in Path(transport.__file__).parent.rglob("*.py")]
    assert sum("Permit.of(self.spec, request)" in text for text in sources) >= 3
    assert not [text for text in sources if re.search(r"Permit\([^)]*request", text)]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("place", ["edge", "cloud"])
def test_a_redirect_is_never_followed(status: int, place: Place) -> None:
    """Prompt and key never reach the server that a redirect names."""

    async def main() -> None:
        async with lanes() as transport:
            async with (
                Upstream(OK) as second,
                Upstream([whole(b"", status=status, location=f"{second.url}/v1")]) as first,
            ):
                with pytest.raises(AttemptFailed, match=f"redirects to 127.0.0.1:{second.port}") as failed:
                    await send(transport, first.url, place)
                await transport.close()
            assert failed.value.kind is K.PROTOCOL
            assert failed.value.status == status
            assert len(first.requests) == 1
            assert second.connections == []
            assert KEY not in str(failed.value)

    run(main())


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "zstd", "x-bomb"])
def test_a_compressed_answer_that_nobody_asked_for_is_refused(coding: str) -> None:
    """Nothing is ever decompressed, so that no compression bomb can go off."""
    found, upstream = outcome([whole(b"\x1f\x8b" + b"\0" * 1000, content_encoding=coding)])
    assert isinstance(found, AttemptFailed)
    assert found.kind is K.PROTOCOL
    assert "compresses" in found.message
    assert upstream.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ([HANGUP], K.CONNECT),
        ([RESET], K.CONNECT),
        ([b"HTTP/1.1 200 OK\r\ncontent-le", HANGUP], K.CONNECT),
        ([b"SSH-2.0-OpenSSH_9.2\r\n\r\n"], K.PROTOCOL),
        ([b"HTTP/1.1 abc OK\r\n\r\n"], K.PROTOCOL),
        ([b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n"], K.PROTOCOL),
        ([b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n"], K.PROTOCOL),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n"], K.PROTOCOL),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"], K.PROTOCOL),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort", HANGUP], K.TRUNCATED),
        ([head(), chunk(b"some"), HANGUP], K.TRUNCATED),
        ([head(), chunk(b"some"), RESET], K.TRUNCATED),
        ([head(), b"5\r\nsome", HANGUP], K.TRUNCATED),
        ([head() + chunk(b"some") + b"zz\r\nno chunk\r\n"], K.PROTOCOL),
    ],
    ids=[
        "hangs up",
        "resets",
        "hangs up in its headers",
        "no HTTP",
        "no status",
        "a bad header",
        "a huge header",
        "a negative length",
        "two lengths",
        "shorter than it said",
        "no last chunk",
        "a reset in the middle",
        "half a chunk",
        "a bad chunk",
    ],
)
def test_broken_peers(script: Script, kind: FailureKind) -> None:
    """Before its headers a peer has not answered, after them the answer broke off."""
    failure = failure_of(script)
    assert failure.kind is kind, failure
    assert failure.cause is not None


def test_a_closed_port_is_refused() -> None:
    async def main() -> None:
        async with lanes() as transport:
            async with Upstream() as upstream:
                base = upstream.url
            for provider, hint in (("ollama", "ollama serve"), ("openai", "None")):
                with pytest.raises(AttemptFailed, match="connection refused") as failed:
                    await transport.post(f"{base}/x", body=b"", permit=Permit(spec_at(base, provider=provider), False))
                assert failed.value.kind is K.CONNECT
                assert hint in str(failed.value.hint)
                assert base in failed.value.message

    run(main())


def test_an_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch)
    failure = failure_of(OK, host="nowhere.example", place="cloud")
    assert failure.kind is K.DNS
    assert "nowhere.example" in failure.message


def test_a_look_up_that_hangs_is_a_connection_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: release.wait(20) and [])

    async def main() -> None:
        async with lanes() as transport:
            with pytest.raises(AttemptFailed) as failed:
                await send(transport, "http://slow.example", "cloud", seconds=0.05)
            assert failed.value.kind is K.TIMEOUT_CONNECT

    try:
        run(main())
    finally:
        release.set()


def test_no_cookie_is_kept() -> None:
    async def main() -> None:
        async with lanes() as transport, Upstream([whole(b"{}", set_cookie="session=1")]) as upstream:
            await send(transport, upstream.url)
            await send(transport, upstream.url)
            assert "cookie" not in upstream.requests[1].headers

    run(main())


def test_an_answer_that_is_left_is_hung_up() -> None:
    """Closing an unread answer drops the connection, so that the peer stops working."""

    async def main() -> None:
        async with lanes() as transport, Upstream([head(), chunk(b"first"), Hold("more")]) as upstream:
            spec = spec_at(upstream.url)
            answer = await transport.get(f"{upstream.url}/x", permit=Permit(spec, False))
            assert await answer.next() == b"first"
            answer.close()
            await asyncio.wait_for(upstream.connections[0].left.wait(), 5)

    run(main())


def test_what_follows_the_proof_is_read_so_that_the_connection_lives() -> None:
    async def main() -> None:
        async with (
            lanes() as transport,
            Upstream([head(), chunk(b"proof"), Hold("rest"), chunk(b"rest"), LAST]) as upstream,
        ):
            upstream.release("rest")
            for _ in range(2):
                answer = await transport.get(f"{upstream.url}/x", permit=Permit(spec_at(upstream.url), False))
                assert (await answer.next()).startswith(b"proof")
                await answer.finish()
                answer.close()
            assert len(upstream.connections) == 1

    run(main())


@pytest.mark.parametrize("rest", [[], [RESET], [b"zz\r\n"]], ids=["nothing", "a reset", "no chunk"])
def test_a_peer_that_does_not_end_after_the_proof_is_hung_up(rest: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is whole: whatever follows cannot fail it, nor hold it up for long."""
    monkeypatch.setattr("oblix.models.transport.END_GRACE", 0.05)

    async def main() -> None:
        script = [head(), chunk(b"proof"), Hold("rest"), *rest, Hold("never")]
        async with Upstream(script) as upstream, lanes() as transport:
            answer = await transport.get(f"{upstream.url}/x", permit=Permit(spec_at(upstream.url), False))
            assert await answer.next() == b"proof"
            upstream.release("rest")
            await answer.finish()
            answer.close()
            await asyncio.wait_for(upstream.connections[0].left.wait(), 5)

    run(main())


def test_an_endless_error_text_is_cut() -> None:
    """An error answer is read up to 64 KiB, whatever it says."""

    async def main() -> None:
        async with lanes() as transport:
            endless: list[Step] = [head("text/plain", status=500), *[chunk(b"x" * 8192)] * 64, Hold("never")]
            async with Upstream(endless) as upstream:
                status, body = await send(transport, upstream.url)
                assert (status, len(body)) == (500, MAX_ERROR_BODY)
                await asyncio.wait_for(upstream.connections[0].left.wait(), 5)

    run(main())


def test_a_server_without_tls_behind_https() -> None:
    async def main() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 The plain HTTP request was sent to HTTPS port\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server, lanes() as transport:
            with pytest.raises(AttemptFailed) as failed:
                await send(transport, f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", "cloud")
        assert failed.value.kind is K.TLS

    run(main())


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that nobody signed but itself."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    pem = tmp_path_factory.mktemp("tls") / "self.pem"
    make = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -keyout {pem} -out {pem}.crt"
    subprocess.run(make.split(), check=True, capture_output=True)
    pem.write_bytes(pem.read_bytes() + Path(f"{pem}.crt").read_bytes())
    return pem


def test_a_certificate_that_nobody_trusts(certificate: Path) -> None:
    """The connection ends before anything of ours is sent."""

    async def main() -> None:
        async with lanes() as transport:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            async with Upstream(OK, tls=tls) as upstream:
                with pytest.raises(AttemptFailed) as failed:
                    await send(transport, upstream.url, "cloud")
                assert upstream.requests == []
            assert failed.value.kind is K.TLS
            assert "certificate" in failed.value.message

    run(main())


@pytest.mark.parametrize(
    "key", ["sk-abc\nx-injected: 1", "sk-abc\r", "sk-\0abc"], ids=["line feed", "carriage return", "NUL"]
)
def test_a_key_that_no_header_can_carry(key: str) -> None:
    """It is refused before anything is sent, the message does not blame the address, and the key is not told."""

    async def main() -> None:
        async with lanes() as transport:
            async with Upstream(OK) as upstream:
                headers = {"Authorization": f"Bearer {key}"}
                with pytest.raises(AttemptFailed) as failed:
                    await transport.post(
                        upstream.url, body=b"", permit=Permit(spec_at(upstream.url), False), headers=headers
                    )
                assert upstream.requests == []
            assert failed.value.kind is K.BAD_REQUEST
            assert "header" in failed.value.message.lower()
            assert "no usable address" not in failed.value.message
            assert key not in failed.value.message

    run(main())


@pytest.mark.parametrize("base", ["http://[::1", "http://", "ftp://127.0.0.1"])
def test_an_address_that_cannot_be(base: str) -> None:
    async def main() -> None:
        async with lanes() as transport:
            with pytest.raises(AttemptFailed) as failed:
                await send(transport, base)
            assert failed.value.kind is K.BAD_REQUEST

    run(main())


def test_leaving_without_closing_is_quiet(recwarn: pytest.WarningsRecorder) -> None:
    """A program that ends without `shutdown` must not be told about unclosed connections."""

    async def main(transport: Transport) -> None:
        async with Upstream(OK) as upstream:
            await send(transport, upstream.url)
            await send(transport, upstream.url, "cloud")

    def program() -> None:
        transport = Transport()
        run(main(transport))
        transport.abandon()

    program()
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []


def test_closing_twice_and_abandoning_after_closing_does_no_harm() -> None:
    async def main() -> None:
        transport = Transport()
        async with Upstream(OK) as upstream:
            await send(transport, upstream.url)
            await transport.close()
            await transport.close()
            transport.abandon()
            assert (await send(transport, upstream.url))[0] == 200
            await transport.close()

    run(main())


def test_an_answer_reads_like_http() -> None:
    """Status, headers without regard to case, and the bare content type."""

    async def main() -> Answer:
        async with lanes() as transport:
            async with Upstream([whole(b"{}", "application/json; charset=utf-8", x_limit="5")]) as upstream:
                answer = await transport.get(f"{upstream.url}/x", permit=Permit(spec_at(upstream.url), False))
                answer.close()
            return answer

    answer = run(main())
    assert (answer.status, answer.content_type, answer.headers["X-Limit"]) == (200, "application/json", "5")
