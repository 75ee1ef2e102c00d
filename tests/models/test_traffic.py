"""What real connections on 127.0.0.1 tell: each step, each kind of failure, and nothing of what was said."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from oblix.errors import AttemptFailed
from oblix.models import tcp_info
from oblix.models.transport import Permit, Transport
from oblix.types.spec import Place
from oblix.types.traffic import Endpoint, Exchange, Trouble

from .asking import run
from .test_resolver import names
from .test_transport import OK, certificate, send, spec_at  # noqa: F401  a fixture among them
from .upstream import HANGUP, RESET, Hold, Script, Step, Upstream, chunk, head, whole

BIG = b"x" * 300_000


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[Transport, list[Exchange]]]:
    """A transport, and what it tells."""
    transport, told = Transport(), list[Exchange]()
    transport.traffic.sink, transport.traffic.tell_every = told.append, 0.0
    try:
        yield transport, told
    finally:
        await transport.close()


def told_of(*scripts: Script, host: str = "127.0.0.1", place: Place = "cloud", times: int = 1) -> list[Exchange]:
    """What so many requests to an upstream that plays `scripts` tell, whatever comes of them."""

    async def main() -> list[Exchange]:
        async with Upstream(*scripts) as upstream, listening() as (transport, told):
            for _ in range(times):
                with suppress(AttemptFailed):
                    await send(transport, f"http://{host}:{upstream.port}", place)
            return told

    return run(main())


def steps(told: list[Exchange]) -> list[tuple[str, Trouble | None]]:
    return [(exchange.step, exchange.trouble) for exchange in told]


def test_a_connection_and_two_answers_over_it() -> None:
    connect, first, second = told_of(OK, times=2)
    assert [connect.step, first.step, second.step] == ["connect", "answer", "answer"]
    assert connect.connection == first.connection == second.connection != 0
    assert connect.endpoint == first.endpoint
    assert (connect.endpoint.scheme, connect.endpoint.host) == ("http", "127.0.0.1")
    assert connect.connect_ms is not None
    assert 0 < connect.connect_ms < 5_000
    assert (connect.lookup_ms, connect.tls_ms, connect.first_byte_ms) == (None, None, None)
    assert connect.at <= first.at <= second.at
    for answer in (first, second):
        assert answer.trouble is None
        assert not answer.is_probe
        assert not answer.is_proxied
        assert answer.first_byte_ms is not None
        assert 0 < answer.first_byte_ms < 5_000
        assert (answer.connect_ms, answer.lookup_ms) == (None, None)


def test_of_many_short_answers_some_are_told() -> None:
    """What went wrong is told in any case, and the counters hold what was not told."""

    async def main() -> list[Exchange]:
        async with Upstream(OK, OK, OK, [head(), RESET]) as upstream, listening() as (transport, told):
            transport.traffic.tell_every = 1e9
            for _ in range(3):
                await send(transport, upstream.url, "cloud")
            with pytest.raises(AttemptFailed):
                await send(transport, upstream.url, "cloud")
            return told

    told = run(main())
    assert steps(told) == [("connect", None), ("answer", None), ("answer", "reset")]
    _, first, last = (exchange.tcp for exchange in told)
    if first is not None and last is not None:
        assert (last.received_bytes or 0) > 3 * (first.received_bytes or 0)


@pytest.mark.skipif(tcp_info._READ is None, reason="this system tells nothing of its connections")
def test_the_counters_go_on_within_a_connection() -> None:
    connect, first, second = (exchange.tcp for exchange in told_of(OK, times=2))
    assert connect is not None
    assert first is not None
    assert second is not None
    assert connect.received_bytes == 0
    assert 0 < (first.received_bytes or 0) < (second.received_bytes or 0)


def test_the_edge_tells_nothing() -> None:
    assert told_of(OK, place="edge") == []


def test_a_name_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that need it at the same time share one look-up, which is evidence once."""
    names(monkeypatch, cloud_example=("127.0.0.1",))

    async def main() -> list[Exchange]:
        async with Upstream([Hold("both"), *OK]) as upstream, listening() as (transport, told):
            base = f"http://cloud.example:{upstream.port}"
            asked = asyncio.gather(send(transport, base, "cloud"), send(transport, base, "cloud"))
            while len(upstream.requests) < 2:
                await asyncio.sleep(0)
            upstream.release("both")
            await asked
            return told

    connects = [exchange for exchange in run(main()) if exchange.step == "connect"]
    assert {exchange.endpoint.host for exchange in connects} == {"cloud.example"}
    first, second = sorted((exchange.lookup_ms for exchange in connects), key=lambda ms: ms is None)
    assert first is not None
    assert first > 0
    assert second is None


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch)
    (told,) = told_of(OK, host="nowhere.example")
    assert (told.step, told.trouble) == ("connect", "lookup")
    assert told.lookup_ms is not None


def test_a_resolver_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told of while it is waited for, once, and again when the time is over."""
    hang = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_settings: hang.wait(30) and [])

    async def main() -> list[Exchange]:
        async with listening() as (transport, told):
            asked = asyncio.create_task(send(transport, "http://cloud.example:1", "cloud", seconds=0.3))
            while not transport.traffic._watched:
                await asyncio.sleep(0)
            later = transport.traffic.clock() + 2.0
            (dial,) = transport.traffic._watched
            while (pulse := dial.look(later)) is None:
                await asyncio.sleep(0)
            assert dial.look(later + 1.0) is None
            told.append(pulse)
            with pytest.raises(AttemptFailed):
                await asked
            return told

    try:
        pulse, failed = run(main())
    finally:
        hang.set()
    assert (pulse.step, pulse.trouble, failed.step, failed.trouble) == ("pulse", "lookup", "connect", "lookup")
    assert (pulse.lookup_ms or 0) > 1_000
    assert pulse.connection == failed.connection


def test_a_port_where_nobody_listens() -> None:
    async def main() -> list[Exchange]:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            port = gone.getsockname()[1]
        async with listening() as (transport, told):
            with pytest.raises(AttemptFailed):
                await send(transport, f"http://127.0.0.1:{port}", "cloud")
            return told

    assert steps(run(main())) == [("connect", "refused")]


def test_a_host_that_says_nothing() -> None:
    """Its backlog is full, so that the SYN is dropped; nobody answers in time."""

    async def main() -> list[Exchange]:
        with socket.socket() as listener, socket.socket() as filler, socket.socket() as more:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            for other in (filler, more):
                other.setblocking(False)
                other.connect_ex(listener.getsockname())
            async with listening() as (transport, told):
                with pytest.raises(AttemptFailed):
                    await send(transport, f"http://127.0.0.1:{listener.getsockname()[1]}", "cloud", seconds=0.2)
                return told

    assert steps(run(main())) == [("connect", "silence")]


def test_a_network_without_a_way_there() -> None:
    """No TCP leads to the broadcast address: the kernel says so, and nothing is sent."""

    async def main() -> list[Exchange]:
        async with listening() as (transport, told):
            with pytest.raises(AttemptFailed):
                await send(transport, "http://255.255.255.255:9", "cloud", seconds=5.0)
            return told

    ((step, trouble),) = steps(run(main()))
    assert step == "connect"
    assert trouble in ("no_route", "other")  # a broadcast address is refused to TCP by its own number on some systems


def test_who_gives_up_says_nothing_about_the_way() -> None:
    async def main() -> list[Exchange]:
        begun, gate, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def never(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            begun.set()
            await gate.wait()
            writer.close()
            ended.set()

        server = await asyncio.start_server(never, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, listening() as (transport, told):
            # TLS is begun and never answered: the connection is not made yet.
            asked = asyncio.create_task(send(transport, f"https://127.0.0.1:{port}", "cloud"))
            await begun.wait()
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            assert transport.traffic._watched == set()
            gate.set()
            await ended.wait()
            return told

    assert run(main()) == []


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ([RESET], [("connect", None), ("answer", "reset")]),
        ([head(), chunk(b"data: {}\n\n"), RESET], [("connect", None), ("answer", "reset")]),
        ([head(), chunk(b"data: {}\n\n"), HANGUP], [("connect", None), ("answer", "other")]),
        ([b"SMTP ready\r\n\r\n"], [("connect", None), ("answer", "other")]),
        ([whole(b"{}", status=500)], [("connect", None), ("answer", None)]),
        ([whole(b"", status=302, location="http://portal.example/login")], [("connect", None), ("answer", "portal")]),
        ([whole(b"", status=302, location="/v2")], [("connect", None), ("answer", None)]),
        ([whole(b"<html>Log in</html>", "text/html")], [("connect", None), ("answer", "portal")]),
        ([whole(b"<html>Bad gateway</html>", "text/html", status=502)], [("connect", None), ("answer", None)]),
        ([whole(b"<html>Log in</html>", "text/html", status=511)], [("connect", None), ("answer", "portal")]),
    ],
    ids=[
        *("reset", "reset in mid-answer", "ends in mid-answer", "no HTTP", "an error", "led elsewhere", "led within"),
        *("a page", "a page of an error", "asked to log in"),
    ],
)
def test_how_answers_end(script: Script, expected: list[tuple[str, Trouble | None]]) -> None:
    # A connection that breaks before it was heard of is tried once more, on a new one.
    told = steps(told_of(script))
    assert told[: len(expected)] == expected
    assert len(told) in (len(expected), 2 * len(expected))


def test_a_kept_connection_that_the_peer_had_closed_is_no_news_of_the_way() -> None:
    """It closes as soon as the next request comes; that one is sent again on a new connection."""
    told = told_of(OK, [RESET], OK, times=2)
    assert steps(told) == [("connect", None), ("answer", None), ("connect", None), ("answer", None)]


def test_an_answer_that_is_not_wanted_any_more() -> None:
    async def main() -> list[Exchange]:
        script: list[Step] = [head(), chunk(b"data: 1\n\n"), Hold("rest")]
        async with Upstream(script) as upstream, listening() as (transport, told):
            permit = Permit(spec_at(upstream.url, "cloud"), False)
            answer = await transport.post(upstream.url, body=b"{}", permit=permit)
            await answer.next()
            assert len(transport.traffic._watched) == 1
            answer.close()
            assert transport.traffic._watched == set()
            return told

    _, answer = run(main())
    assert (answer.step, answer.trouble) == ("answer", None)
    assert answer.first_byte_ms is not None


def trust(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> None:  # noqa: F811
    """Let aiohttp trust that certificate, as if the system did."""
    context = ssl.create_default_context()
    context.load_verify_locations(f"{certificate}.crt")
    context.check_hostname = False
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", context)


def secure(certificate: Path) -> ssl.SSLContext:  # noqa: F811
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    return tls


def test_tls_is_timed_apart(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> None:  # noqa: F811
    trust(monkeypatch, certificate)

    async def main() -> list[Exchange]:
        async with Upstream(OK, tls=secure(certificate)) as upstream, listening() as (transport, told):
            await send(transport, upstream.url, "cloud")
            return told

    connect, answer = run(main())
    assert (connect.endpoint.scheme, connect.trouble, answer.trouble) == ("https", None, None)
    assert connect.connect_ms is not None
    assert connect.tls_ms is not None
    assert connect.connect_ms > 0
    assert connect.tls_ms > 0


def test_a_certificate_that_nobody_trusts(certificate: Path) -> None:  # noqa: F811
    async def main() -> list[Exchange]:
        async with Upstream(OK, tls=secure(certificate)) as upstream, listening() as (transport, told):
            with pytest.raises(AttemptFailed):
                await send(transport, upstream.url, "cloud")
            return told

    (told,) = run(main())
    assert (told.step, told.trouble, told.tls_ms) == ("connect", "certificate", None)
    assert told.connect_ms is not None  # that far it came


def test_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection that is timed leads to the proxy, and is told as such; the endpoint stays the model's."""
    names(monkeypatch, cloud_example=("127.0.0.1",))

    async def main() -> tuple[list[Exchange], int]:
        async with Upstream(OK) as proxy, listening() as (transport, told):
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            monkeypatch.setenv("http_proxy", proxy.url)
            await send(transport, "http://cloud.example:81", "cloud")
            return told, len(proxy.requests)

    (connect, answer), asked = run(main())
    assert asked == 1
    assert connect.is_proxied
    assert answer.is_proxied
    assert connect.endpoint == Endpoint("http", "cloud.example", 81)
    assert connect.connect_ms is not None


def test_through_a_tunnel(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> None:  # noqa: F811
    """TLS begins inside of the proxy's tunnel, and is timed from there."""
    trust(monkeypatch, certificate)
    names(monkeypatch, cloud_example=("127.0.0.1",))

    async def main() -> list[Exchange]:
        ended = asyncio.Event()
        async with Upstream(OK, tls=secure(certificate)) as server, listening() as (transport, told):

            async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"\r\n\r\n")
                inner, outer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

                async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                    while data := await source.read(1 << 16):
                        sink.write(data)
                    sink.close()

                await asyncio.gather(pump(reader, outer), pump(inner, writer), return_exceptions=True)
                ended.set()

            proxy = await asyncio.start_server(tunnel, "127.0.0.1", 0)
            for name in ("HTTPS_PROXY", "https_proxy"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
            async with proxy:
                await send(transport, "https://cloud.example", "cloud")
                await transport.close()
                await ended.wait()
            return told

    connect, answer = run(main())
    assert (connect.endpoint, connect.is_proxied) == (Endpoint("https", "cloud.example", 443), True)
    assert (connect.trouble, answer.trouble) == (None, None)
    assert connect.connect_ms is not None
    assert connect.tls_ms is not None


def test_who_listens_hurts_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> tuple[int, bytes]:
        def broken(exchange: Exchange) -> None:
            raise RuntimeError("not today")

        async with Upstream(OK) as upstream, listening() as (transport, _):
            transport.traffic.sink = broken
            return await send(transport, upstream.url, "cloud")

    with caplog.at_level(logging.CRITICAL, "oblix.traffic"):
        assert run(main())[0] == 200


def test_no_byte_of_what_was_said_is_told() -> None:
    """Sizes and times only: neither the prompt, nor the answer, nor the key."""
    secret = "correct horse battery staple"

    async def main() -> list[Exchange]:
        answer = [whole({"said": secret[::-1]})]
        async with Upstream(answer) as upstream, listening() as (transport, told):
            permit = Permit(spec_at(upstream.url, "cloud"), False)
            body, headers = json.dumps({"prompt": secret}).encode(), {"Authorization": f"Bearer {secret}"}
            found = await transport.post(f"{upstream.url}/v1/{secret[:7]}", body=body, permit=permit, headers=headers)
            await found.read()
            found.close()
            return told

    text = json.dumps([dataclasses.asdict(exchange) for exchange in run(main())])
    for word in (*secret.split(), *secret[::-1].split()):
        assert word not in text


def options(sock: socket.socket) -> dict[str, int]:
    """The options that watch over a connection, where this system has them."""
    watched = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
    return {
        name: sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in watched if hasattr(socket, name)
    }


def test_the_kernel_watches_over_connections_to_the_cloud() -> None:
    async def main() -> tuple[int, dict[str, int]]:
        async with Upstream(OK) as upstream, listening() as (transport, _):
            await send(transport, upstream.url, "cloud")
            connector: Any = transport._lanes["cloud", True].connector
            ((protocol, _),) = next(iter(connector._conns.values()))
            sock = protocol.transport.get_extra_info("socket")
            return sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), options(sock)

    kept, found = run(main())
    assert kept == 1
    wanted = {"TCP_KEEPIDLE": 1, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 15, "TCP_USER_TIMEOUT": 16_000}
    assert found == {name: wanted[name] for name in found}


def test_a_system_without_these_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """As macOS, where some have other names, and Windows."""
    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT"):
        monkeypatch.delattr(socket, name, raising=False)
    monkeypatch.setattr(socket, "TCP_KEEPALIVE", 0x7FFF, raising=False)  # a number that this kernel refuses
    monkeypatch.setattr(tcp_info, "_READ", None)
    monkeypatch.setattr(tcp_info, "progress", lambda _sock: None)
    connect, answer = told_of([whole({"big": BIG.decode()})])
    assert (connect.tcp, answer.tcp, answer.trouble) == (None, None, None)
    assert connect.connect_ms is not None
    assert (answer.up_mbps, answer.down_mbps) == (None, None)


def test_a_sender_that_takes_its_time_is_not_taken_for_a_slow_way() -> None:
    """300 kB in pieces: on loopback the pieces come at once, and the pauses are the sender's."""
    script: list[Step] = [head("application/json"), *(chunk(BIG[:10_000]) for _ in range(30)), b"0\r\n\r\n"]
    _, answer = told_of(script)
    assert answer.down_mbps is None


def test_nothing_is_timed_while_nothing_is_awaited() -> None:
    """The timer lapses with the first pulse that finds nothing; closing ends it at once."""

    async def main() -> None:
        async with Upstream(OK) as upstream, listening() as (transport, _):
            traffic = transport.traffic
            await send(transport, upstream.url, "cloud")
            assert traffic._watched == set()
            traffic._take_pulses()
            assert traffic._pulse is None
            await send(transport, upstream.url, "cloud")
            assert traffic._pulse is not None
            await transport.close()
            assert traffic._pulse is None

    run(main())


def kept(transport: Transport) -> int:
    """How many connections to the cloud are kept for later."""
    connector: Any = transport._lanes["cloud", True].connector
    return sum(len(row) for row in connector._conns.values())


@pytest.mark.parametrize("from_a_thread", [True, False])
def test_another_network_ends_what_is_kept_and_nothing_that_is_in_flight(from_a_thread: bool) -> None:
    async def main() -> None:
        script: list[Step] = [head(), chunk(b"data: 1\n\n"), Hold("rest"), chunk(b"data: 2\n\n"), b"0\r\n\r\n"]
        async with Upstream(script, OK, OK) as upstream, listening() as (transport, told):
            permit = Permit(spec_at(upstream.url, "cloud"), False)
            answer = await transport.post(upstream.url, body=b"{}", permit=permit)
            assert b"1" in await answer.next()
            await send(transport, upstream.url, "cloud")
            assert kept(transport) == 1
            forget: Callable[[], None] = transport.forget_idle
            if from_a_thread:
                await asyncio.to_thread(forget)
            else:
                forget()
            await upstream.connections[1].left.wait()
            assert kept(transport) == 0
            upstream.release("rest")
            assert b"2" in await answer.read()
            answer.close()
            await send(transport, upstream.url, "cloud")
            # The connection that was in flight showed that it still works, and is used again.
            assert len(upstream.connections) == 2
            assert [exchange.trouble for exchange in told] == [None] * len(told)

    run(main())


def test_another_network_before_and_after_everything() -> None:
    transport = Transport()
    transport.forget_idle()

    async def main() -> None:
        async with Upstream(OK) as upstream:
            await send(transport, upstream.url, "cloud")

    run(main())
    transport.forget_idle()  # its loop is closed
    transport.abandon()
    transport.forget_idle()


def test_a_reset_by_the_kernels_book() -> None:
    """A peer that ends with unread bytes resets; so does one that is killed."""

    async def main() -> list[Exchange]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server, listening() as (transport, told):
            with pytest.raises(AttemptFailed):
                await send(transport, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "cloud")
            return told

    told = run(main())
    assert {exchange.trouble for exchange in told} >= {"reset"}
