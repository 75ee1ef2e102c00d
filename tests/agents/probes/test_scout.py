"""A look at one endpoint, and a burst of first packets, on real sockets of this machine."""

from __future__ import annotations

import errno
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oblix.agents.probes import scout as scouts
from oblix.agents.probes.dialling import dial, knock, trouble_of
from oblix.agents.probes.names import Address, Names
from oblix.agents.probes.scout import Scout
from oblix.types.traffic import Endpoint, Exchange

from .hosts import API, PAGE, PORTAL, Papers, host, papers, refused, silent

LOOPBACK: list[Any] = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]


def look(endpoint: Endpoint, names: Names | None = None, scout: Scout | None = None) -> list[Exchange]:
    told: list[Exchange] = []
    (scout or Scout(endpoint, names or Names())).look(told.append, in_doubt=True)
    return told


def address(port: int) -> Address:
    return Address(socket.AF_INET, ("127.0.0.1", port))


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    if shutil.which("openssl") is None:
        pytest.skip("the command `openssl` is missing")
    return papers(tmp_path_factory.mktemp("papers"), "localhost")


@pytest.fixture
def trusting(trusted: Papers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Papers]:
    """This process trusts the certificate, as a user's would who set this variable."""
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted.certificate))
    scouts._trust.cache_clear()
    yield trusted
    scouts._trust.cache_clear()


def test_a_host_that_answers_is_timed_and_only_its_head_is_asked_for() -> None:
    with host() as api:
        (told,) = look(api.endpoint())
        assert (told.step, told.is_probe, told.is_proxied, told.trouble) == ("connect", True, False, None)
        assert told.connect_ms is not None
        assert told.lookup_ms is None
        if sys.platform == "linux":
            assert told.tcp is not None
        assert [head.split(b"\r\n")[0] for head in api.heads] == [b"HEAD / HTTP/1.1"]


def test_a_host_that_refuses_and_one_that_is_silent() -> None:
    (told,) = look(Endpoint("http", "127.0.0.1", refused()))
    assert told.trouble == "refused"
    with silent() as port:
        failed = dial((address(port),), 0.05)
        assert (failed.connection, failed.trouble, failed.connect_ms) == (None, "silence", 50.0)


def test_of_several_addresses_one_that_answers_is_enough() -> None:
    with host() as api:
        done = dial((address(refused()), address(api.port)), 5.0)
        assert done.trouble is None
        assert done.connection is not None
        done.connection.close()
    assert dial((address(refused()), Address(999, ("x", 1))), 5.0).trouble == "refused"
    assert dial((), 5.0).trouble == "other"


def test_a_certificate_is_verified_for_the_name(trusting: Papers) -> None:
    with host(API, trusting.context()) as api:
        (told,) = look(api.endpoint("https", "localhost"))
        assert told.trouble is None
        assert told.tls_ms is not None
        (other,) = look(api.endpoint("https"))  # by its address, for which it is not made out
        assert (other.trouble, other.tls_ms) == ("certificate", None)


def test_a_certificate_that_nobody_trusts_is_told(trusted: Papers) -> None:
    scouts._trust.cache_clear()
    with host(API, trusted.context()) as api:
        (told,) = look(api.endpoint("https", "localhost"))
        assert told.trouble == "certificate"


def test_who_speaks_no_tls_is_not_trusted_either() -> None:
    with host() as api:
        (told,) = look(api.endpoint("https", "localhost"))
        assert told.trouble == "certificate"


@pytest.mark.parametrize("says", [PORTAL, PAGE], ids=["redirect", "page"])
def test_a_stranger_is_told_by_another_manner(says: bytes) -> None:
    with host() as api:
        scout = Scout(api.endpoint(), Names())
        assert look(api.endpoint(), scout=scout)[0].trouble is None
        api.says = says
        assert look(api.endpoint(), scout=scout)[0].trouble == "portal"
        api.says = API
        assert look(api.endpoint(), scout=scout)[0].trouble is None


def test_no_byte_is_sent_that_need_not_be() -> None:
    with host() as api:
        scout = Scout(api.endpoint(), Names())
        for _ in range(3):
            scout.look(lambda exchange: None)
        assert len(api.heads) == 1
        scout.look(lambda exchange: None, in_doubt=True)
        assert len(api.heads) == 2


def test_a_dead_resolver_is_told_beside_the_address_that_still_answers() -> None:
    rows = list(LOOPBACK)
    with host() as api:

        def resolve(name: str, port: int) -> list[Any]:
            return [(*row[:4], ("127.0.0.1", port)) for row in rows]

        names = Names(resolve)
        endpoint = api.endpoint("http", "api.example")
        (first,) = look(endpoint, names)
        assert (first.trouble, first.lookup_ms is None) == (None, False)
        rows.clear()
        no_name, by_address = look(endpoint, names)
        assert (no_name.trouble, no_name.lookup_ms is None) == ("lookup", False)
        assert (by_address.trouble, by_address.lookup_ms) == (None, None)
        assert [each.trouble for each in look(Endpoint("http", "other.example", 80), names)] == ["lookup"]


# --- proxies ---

TUNNEL = b"HTTP/1.1 200 Connection established\r\n\r\n"
LOGIN = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"


@pytest.mark.parametrize(("says", "trouble"), [(LOGIN, "refused"), (b"junk\r\n\r\n", "other"), (TUNNEL, "certificate")])
def test_a_look_takes_the_way_that_traffic_takes(
    monkeypatch: pytest.MonkeyPatch, says: bytes, trouble: str | None
) -> None:
    word = "open" + "sesame"
    with host(says) as proxy:
        monkeypatch.setenv("https_proxy", f"http://ali:{word}@127.0.0.1:{proxy.port}")
        endpoint = Endpoint("https", "api.example", 443)
        (told,) = look(endpoint)
        assert (told.is_proxied, told.trouble) == (True, trouble)
        lines = proxy.heads[0].split(b"\r\n")
        assert lines[0] == b"CONNECT api.example:443 HTTP/1.1"
        assert any(line.startswith(b"Proxy-Authorization: Basic ") for line in lines)
        assert Scout(endpoint, Names()).addresses() == (address(proxy.port),)


def test_a_proxy_behind_tls_is_told_nothing_in_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    with host() as proxy:
        monkeypatch.setenv("https_proxy", f"https://127.0.0.1:{proxy.port}")
        (told,) = look(Endpoint("https", "api.example", 443))
        assert (told.is_proxied, told.trouble) == (True, None)
        assert proxy.heads == []


def test_plain_http_is_asked_for_through_the_proxy_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    with host() as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        (told,) = look(Endpoint("http", "api.example", 80))
        assert (told.is_proxied, told.trouble) == (True, None)
        assert proxy.heads[0].startswith(b"HEAD http://api.example:80/ HTTP/1.1\r\n")
        proxy.says = LOGIN
        assert look(Endpoint("http", "api.example", 80))[0].trouble == "refused"


# --- bursts ---


def until(told: list[Exchange], enough: Callable[[], bool]) -> Callable[[], bool]:
    return lambda: not enough() and len(told) < 200


def test_a_burst_ends_when_it_is_enough_and_asks_every_endpoint() -> None:
    told: list[Exchange] = []
    with host() as api, silent() as port:
        here, there = api.endpoint(), Endpoint("http", "127.0.0.1", port)
        targets = {here: (address(api.port),), there: (address(port),), Endpoint("http", "unknown", 1): ()}

        def enough() -> bool:
            return sum(each.trouble == "silence" for each in told) >= 3

        knock(targets, told.append, go_on=until(told, enough), patience=0.02)
    assert {each.endpoint for each in told if each.trouble is None} == {here}
    assert {each.endpoint for each in told if each.trouble == "silence"} == {there}
    assert all(each.is_probe and each.step == "connect" for each in told)


def test_a_burst_that_is_refused_says_so() -> None:
    told: list[Exchange] = []
    endpoint = Endpoint("http", "127.0.0.1", refused())
    knock({endpoint: (address(endpoint.port),)}, told.append, go_on=lambda: not told, patience=1.0)
    assert (told[0].trouble, told[0].step) == ("refused", "answer")  # a sign of life; the verdict is a look's


def test_an_address_that_no_route_leads_to_says_nothing_of_the_others() -> None:
    """As an IPv6 address where there is only IPv4."""
    unrouted = Address(socket.AF_INET6, ("fe80::1", 9, 0, 0))  # link-local without a link
    told: list[Exchange] = []
    with host() as api:
        endpoint = api.endpoint()
        targets = {endpoint: (unrouted, address(api.port))}
        knock(targets, told.append, go_on=lambda: len(told) < 3, patience=1.0)
    assert {each.trouble for each in told} == {None}


def test_nowhere_to_knock_is_no_burst() -> None:
    knock({}, lambda exchange: None, go_on=lambda: True, patience=1.0)


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        (errno.ENETUNREACH, "no_route"),
        (errno.ECONNREFUSED, "refused"),
        (errno.ECONNRESET, "reset"),
        (errno.ETIMEDOUT, "silence"),
        (errno.EACCES, "other"),
    ],
)
def test_error_numbers_have_a_meaning(code: int, trouble: str) -> None:
    assert trouble_of(code) == trouble


def test_certificates_are_made_for_the_test(trusted: Papers) -> None:
    assert Path(trusted.certificate).read_text().startswith("-----BEGIN CERT")
