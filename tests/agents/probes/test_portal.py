"""Who answers: the host that was asked, or a stranger in its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.agents.probes.portal import Said, is_refused_by_proxy, is_stranger, parse

API = Said(404)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8", Said(200, None, is_page=True)),
        (b"HTTP/1.1 302 Found\r\nlocation: https://login.example/x", Said(302, "login.example")),
        (b"HTTP/1.0 404", API),
        (b"HTTP/1.1 301 Moved\r\nLocation: /elsewhere", Said(301)),
        (b"", None),
        (b"SSH-2.0-OpenSSH", None),
        (b"HTTP/1.1 abc", None),
    ],
)
def test_the_head_of_an_answer_is_read(head: bytes, said: Said | None) -> None:
    assert parse(head) == said


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(head: bytes) -> None:
    said = parse(b"HTTP/1.1 " + head)
    assert said is None or said.status >= 0


@pytest.mark.parametrize(
    ("said", "usual", "stranger"),
    [
        (None, None, False),
        (API, None, False),
        (Said(511), None, True),
        (Said(302, "login.portal.example"), None, True),
        (Said(301, "www.api.example"), None, False),  # a redirect that stays in the house
        (Said(301), None, False),
        (Said(200, None, is_page=True), None, False),  # an API may show a page; nobody knows this one yet
        (Said(200, None, is_page=True), API, True),
        (Said(200, None, is_page=True), Said(200, None, is_page=True), False),
        (Said(302, "login.portal.example"), API, True),
        (Said(302, "docs.vendor.example"), Said(302, "docs.vendor.example"), False),
        (Said(503), API, False),  # it has troubles of its own
    ],
)
def test_a_stranger_is_told_by_what_changed(said: Said | None, usual: Said | None, stranger: bool) -> None:
    assert is_stranger(said, "api.example", usual) is stranger


def test_redirects_between_addresses_leave_the_house() -> None:
    assert is_stranger(Said(302, "10.0.0.1"), "192.168.0.1", None)


def test_a_proxy_that_wants_a_login_refuses() -> None:
    assert is_refused_by_proxy(Said(407))
    assert not is_refused_by_proxy(API)
    assert not is_refused_by_proxy(None)
