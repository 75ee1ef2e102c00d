"""Names to addresses: a resolver that hangs holds nobody up, and few threads."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from oblix.agents.probes.names import MOST_QUESTIONS, Names

ROW: list[Any] = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("203.0.113.9", 443))]


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("::1", ["::1"]),
        ("localhost", ["127.0.0.1", "::1"]),
        ("api.localhost.", ["127.0.0.1", "::1"]),
    ],
)
def test_what_needs_no_look_up_gets_none(host: str, addresses: list[str]) -> None:
    def never(host: str, port: int) -> list[Any]:
        raise AssertionError(host)

    found = Names(never).look_up(host, 443, 1.0)
    assert [address.host_and_port for address in found.addresses] == [(each, 443) for each in addresses]
    assert (found.lookup_ms, found.failed) == (None, False)


def test_addresses_are_remembered_for_when_the_resolver_fails() -> None:
    rows = list(ROW)
    names = Names(lambda host, port: rows * 9)
    first = names.look_up("api.example", 443, 5.0)
    assert (len(first.addresses), first.failed) == (1, False)
    assert first.lookup_ms is not None
    rows.clear()
    second = names.look_up("api.example", 443, 5.0)
    assert (second.addresses, second.failed, second.failures) == (first.addresses, True, 1)
    assert names.known("api.example", 443) == first.addresses
    assert names.known("other.example", 443) == ()


@pytest.mark.parametrize("error", [socket.gaierror(socket.EAI_NONAME, "no"), UnicodeError("label too long")])
def test_a_name_that_nobody_knows_is_told_at_once(error: Exception) -> None:
    def fail(host: str, port: int) -> list[Any]:
        raise error

    found = Names(fail).look_up("nowhere.invalid", 443, 60.0)
    assert (found.addresses, found.failed, found.failures) == ((), True, 1)


def test_a_resolver_that_hangs_is_asked_a_few_times_and_each_is_told_once() -> None:
    release, asked = threading.Event(), []

    def hang(host: str, port: int) -> list[Any]:
        asked.append(host)
        release.wait(30)
        return ROW

    names = Names(hang)
    assert names.look_up("api.example", 443, 0.01).failures == 1
    for _ in range(9):
        names.look_up("api.example", 443, 0.01)
    assert len(asked) == MOST_QUESTIONS
    assert names.look_up("api.example", 443, 0.01).failures == 0
    release.set()
    assert not names.look_up("api.example", 443, 30.0).failed


def test_a_question_that_was_lost_is_asked_again_meanwhile() -> None:
    release, asked = threading.Event(), []

    def lossy(host: str, port: int) -> list[Any]:
        asked.append(host)
        if len(asked) == 1:
            release.wait(30)
        return ROW

    found = Names(lossy).look_up("api.example", 443, 30.0)
    release.set()
    assert not found.failed
    assert len(asked) == 2


def test_hosts_do_not_wait_for_each_other() -> None:
    release = threading.Event()

    def hang(host: str, port: int) -> list[Any]:
        if host == "hung.example":
            release.wait(30)
        return ROW

    names = Names(hang)
    assert names.look_up("hung.example", 443, 0.01).failed
    assert not names.look_up("api.example", 443, 30.0).failed
    release.set()
