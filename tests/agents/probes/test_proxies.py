"""The proxy that real traffic would take."""

from __future__ import annotations

import pytest

from oblix.agents.probes.proxies import Proxy, proxy_to
from oblix.models.transport import _proxy_of
from oblix.types.traffic import Endpoint

CLOUD = Endpoint("https", "api.example", 443)


def test_the_environment_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert proxy_to(CLOUD) is None
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    assert proxy_to(CLOUD) == Proxy("proxy.example", 3128)
    assert proxy_to(CLOUD._replace(scheme="http")) is None
    monkeypatch.setenv("no_proxy", ".example")
    assert proxy_to(CLOUD) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "192.168.1.9", "::1"])
def test_what_is_at_home_is_never_asked_for_through_a_proxy(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    assert proxy_to(Endpoint("http", host, 80)) is None


@pytest.mark.parametrize("named", ["proxy.example", "http://proxy.example", "http://proxy.example:80/"])
def test_every_way_to_write_it_is_read(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setenv("https_proxy", named)
    assert proxy_to(CLOUD) == Proxy("proxy.example", 80)


def test_its_login_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    word = "open" + "%20" + "sesame"
    monkeypatch.setenv("https_proxy", f"http://ali:{word}@proxy.example:3128")
    found = proxy_to(CLOUD)
    assert found is not None
    assert found.authorization == "Basic YWxpOm9wZW4gc2VzYW1l"
    assert "Basic" not in repr(found)


def test_a_login_for_a_proxy_behind_tls_is_not_said_in_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    word = "open" + "sesame"
    monkeypatch.setenv("https_proxy", f"https://ali:{word}@proxy.example")
    assert proxy_to(CLOUD) == Proxy("proxy.example", 443, None, is_plain=False)


@pytest.mark.parametrize("named", ["http://", "http://proxy.example:99999", "http://proxy.example:x"])
def test_nonsense_is_no_proxy(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setenv("https_proxy", named)
    assert proxy_to(CLOUD) is None


@pytest.mark.parametrize("bypass", ["", "api.example", "*", "other.example"])
@pytest.mark.parametrize("host", ["api.example", "10.1.2.3", "8.8.8.8"])
def test_looks_and_traffic_agree(monkeypatch: pytest.MonkeyPatch, host: str, bypass: str) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", bypass)
    ours, theirs = proxy_to(Endpoint("https", host, 443)), _proxy_of(f"https://{host}/v1/chat")
    assert (ours is None) == (theirs is None)
