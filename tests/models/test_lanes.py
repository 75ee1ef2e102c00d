"""The two lanes: the edge stays at home and knows no proxy, the cloud goes the way that the environment names."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import get_args

import pytest

from oblix.errors import AttemptFailed, FailureKind
from oblix.types.failure import treatment
from oblix.types.spec import Place

from .asking import KEY, lanes, run
from .test_resolver import names
from .test_transport import OK, failure_of, outcome, send
from .upstream import HANGUP, RESET, Upstream

K = FailureKind


@pytest.mark.parametrize("private", [True, False], ids=["private", "not private"])
def test_the_edge_refuses_a_name_that_leads_away(monkeypatch: pytest.MonkeyPatch, private: bool) -> None:
    names(monkeypatch, box_lan=("8.8.8.8",))
    failure = failure_of(OK, host="box.lan", private=private)
    assert failure.kind is K.POLICY
    assert "away from home" in failure.message
    assert "place='cloud'" in (failure.hint or "")


def test_the_edge_takes_the_address_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several addresses, only those at home are tried."""
    names(monkeypatch, box_lan=("8.8.8.8", "127.0.0.1"))
    assert outcome(OK, host="box.lan", private=True)[0] == b'{"ok": true}'


@pytest.mark.parametrize(
    "host", ["8.8.8.8", "[2606:4700::1111]", "[::ffff:8.8.8.8]", "134744072", "8.526344", "0.0.0.0"]
)
def test_the_edge_refuses_an_address_away_however_it_is_written(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """About an address no resolver is asked, so that the guard stands before the socket itself (`134744072` is 8.8.8.8)."""
    dialled: list[object] = []
    monkeypatch.setattr(asyncio.BaseEventLoop, "sock_connect", lambda *given: dialled.append(given), raising=False)
    failure = failure_of(OK, host=host)
    assert failure.kind is K.POLICY or "not a canonical IPv4 address" in failure.message
    assert dialled == []


def test_the_edge_ignores_proxies_and_the_cloud_honours_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A private prompt must not pass through somebody's proxy; a cloud may only be reachable through one."""
    names(monkeypatch, box_lan=("127.0.0.1",), cloud_example=("127.0.0.1",))

    async def main() -> None:
        async with lanes() as transport, Upstream(OK) as proxy, Upstream(OK) as server:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            home, cloud = f"http://box.lan:{server.port}", f"http://cloud.example:{server.port}"
            await send(transport, home)
            assert (len(server.requests), len(proxy.requests)) == (1, 0)
            await send(transport, cloud, "cloud")
            assert (len(server.requests), len(proxy.requests)) == (1, 1)
            assert proxy.requests[0].line == f"POST {cloud}/v1 HTTP/1.1"
            await transport.close()
            monkeypatch.setenv("NO_PROXY", "cloud.example")
            await send(transport, cloud, "cloud")
            assert (len(server.requests), len(proxy.requests)) == (2, 1)

    run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "ours.localhost"])
@pytest.mark.parametrize("place", get_args(Place))
def test_what_is_at_home_is_never_asked_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, host: str, place: Place
) -> None:
    """Not on the cloud's lane either: a proxy would take a local gateway's prompts away from home, or look for it on its own loopback."""

    async def main() -> None:
        async with lanes() as transport, Upstream(OK) as proxy, Upstream(OK) as server:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            await send(transport, server.url.replace("127.0.0.1", host), place)
            assert (len(server.requests), len(proxy.connections)) == (1, 0)

    run(main())


def test_a_dead_proxy_stops_only_the_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with lanes() as transport:
            async with Upstream() as dead:
                monkeypatch.setenv("HTTP_PROXY", dead.url)
            async with Upstream(OK) as server:
                assert (await send(transport, server.url))[0] == 200
                with pytest.raises(AttemptFailed) as failed:
                    await send(transport, f"http://cloud.example:{server.port}", "cloud")
                assert failed.value.kind is K.CONNECT
                assert len(server.connections) == 1

    run(main())


def test_a_login_in_netrc_does_not_get_in_the_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It would clash with our `Authorization`, or worse, replace it."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for place in get_args(Place):
        found, upstream = outcome(OK, place=place)
        assert found == b'{"ok": true}'
        assert upstream.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_two_lanes_never_share_a_connection() -> None:
    """Each lane uses its own connection again."""

    async def main() -> None:
        async with lanes() as transport, Upstream(OK) as upstream:
            for place in ("edge", "cloud", "edge", "cloud"):
                await send(transport, upstream.url, place)
            assert len(upstream.connections) == 2
            assert len(upstream.requests) == 4

    run(main())


def test_a_kept_connection_that_was_dead_is_replaced() -> None:
    """The peer closed it between two answers, which the client can only find out by using it."""

    async def main() -> None:
        async with lanes() as transport, Upstream(OK, [RESET], OK) as upstream:
            for _ in range(2):
                assert (await send(transport, upstream.url))[1] == b'{"ok": true}'
            assert len(upstream.connections) == 2
            assert len(upstream.requests) == 3

    run(main())


def test_a_new_connection_that_breaks_is_not_tried_again() -> None:
    """The peer had the request, and may have worked on it (and charged for it)."""

    async def main() -> None:
        async with lanes() as transport, Upstream([RESET], OK) as upstream:
            with pytest.raises(AttemptFailed) as failed:
                await send(transport, upstream.url)
            assert failed.value.kind is K.CONNECT
            assert len(upstream.requests) == 1

    run(main())


def test_a_dead_connection_is_replaced_once() -> None:
    async def main() -> None:
        async with lanes() as transport, Upstream(OK, [RESET]) as upstream:
            await send(transport, upstream.url)
            with pytest.raises(AttemptFailed) as failed:
                await send(transport, upstream.url)
            assert failed.value.kind is K.CONNECT
            assert len(upstream.requests) == 3

    run(main())


def test_the_edge_is_guarded_when_a_connection_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name may have been moved away from home meanwhile."""
    names(monkeypatch, box_lan=("127.0.0.1",))

    async def main() -> None:
        async with lanes() as transport, Upstream(OK, [RESET], OK) as upstream:
            base = f"http://box.lan:{upstream.port}"
            await send(transport, base, private=True)
            names(monkeypatch, box_lan=("8.8.8.8",))
            with pytest.raises(AttemptFailed) as failed:
                await send(transport, base, private=True)
            assert failed.value.kind is K.POLICY
            assert len(upstream.connections) == 1

    run(main())


def test_a_kept_connection_that_breaks_late_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who holds the request for a while has read it, and may charge for it: it is not sent twice."""
    monkeypatch.setattr("oblix.models.transport.RESEND_WITHIN", 0.0)

    async def main() -> None:
        async with lanes() as transport, Upstream(OK, [HANGUP], OK) as upstream:
            await send(transport, upstream.url)
            with pytest.raises(AttemptFailed) as failed:
                await send(transport, upstream.url)
            assert failed.value.kind is K.CONNECT
            assert failed.value.certainty == "possibly_accepted"
            assert len(upstream.requests) == 2

    run(main())


def test_a_port_that_is_closed_has_had_nothing() -> None:
    """No certainty of its own: what its kind says holds, which is that nothing was sent."""

    async def main() -> None:
        async with lanes() as transport:
            async with Upstream() as upstream:
                url = upstream.url
            with pytest.raises(AttemptFailed) as failed:
                await send(transport, url)
            assert failed.value.certainty is None
            assert treatment(failed.value.kind).certainty == "not_sent"

    run(main())
