"""What is at home, and names that are looked up: away from home is refused, and a look-up that hangs holds up nothing."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from oblix.models.address import is_home_address, is_loopback
from oblix.models.resolver import NotAtHome, Resolver

from .asking import run

Lookup = Callable[..., list[tuple[Any, ...]]]


def rows(*addresses: str) -> list[tuple[Any, ...]]:
    """What `socket.getaddrinfo` gives for these addresses."""
    return [
        (socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 80, 0, 0) if ":" in a else (a, 80))
        for a in addresses
    ]  # fmt: skip


def names(monkeypatch: pytest.MonkeyPatch, **known: tuple[str, ...]) -> None:
    """Let the system's resolver know these names (`_` stands for a dot) and no other."""

    def look_up(host: str, *_args: object, **_settings: object) -> list[tuple[Any, ...]]:
        found = known.get(host.replace(".", "_"))
        if found is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return rows(*found)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize(
    ("host", "home"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LocalHost", True),
        ("localhost.", True),
        ("llm.localhost", True),
        ("10.1.2.3", True),
        ("172.16.0.1", True),
        ("192.168.1.20", True),
        ("169.254.7.7", True),
        ("fe80::1", True),
        ("fe80::1%eth0", True),
        ("fd12:3456::1", True),
        ("::ffff:192.168.1.20", True),
        ("8.8.8.8", False),
        ("172.32.0.1", False),
        ("192.169.0.1", False),
        ("2606:4700::1111", False),
        ("::ffff:8.8.8.8", False),
        ("0.0.0.0", False),
        ("::", False),
        ("::ffff:0.0.0.0", False),
        ("ollama.local", None),
        ("api.openai.com", None),
        ("127.0.0.1.evil.example", None),
        ("localhost.evil.example", None),
        ("notlocalhost", None),
        ("134744072", None),
        ("127.1", None),
        ("0x7f.1", None),
        ("", None),
    ],
)
def test_home(host: str, home: bool | None) -> None:
    """Loopback, private and link-local are home, every other address is away, and a name is neither."""
    assert is_home_address(host) is home


def found(resolver: Resolver, host: str) -> list[str]:
    return [result["host"] for result in run(resolver.resolve(host, 80))]


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "localhost.", "llm.localhost"])
def test_localhost_is_never_looked_up(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """RFC 6761; a hostile resolver cannot move it."""
    names(monkeypatch, **{name.replace(".", "_"): ("8.8.8.8",)})
    assert found(Resolver(home_only=True), name) == ["127.0.0.1", "::1"]


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.168.1.20", False),
        ("fe80::1%eth0", False),
        ("0.0.0.0", False),
    ],
)
def test_loopback(address: str, here: bool) -> None:
    """Who listens there can be asked of this machine."""
    assert is_loopback(address) is here


@pytest.mark.parametrize(
    ("addresses", "edge"),
    [
        (("192.168.1.20",), ["192.168.1.20"]),
        (("8.8.8.8", "192.168.1.20", "::ffff:8.8.4.4"), ["192.168.1.20"]),
        (("8.8.8.8",), None),
        (("0.0.0.0",), None),
        (("::ffff:8.8.8.8", "2606:4700::1111"), None),
    ],
    ids=["home", "mixed", "away", "unspecified", "away in IPv6"],
)
def test_the_edge_keeps_only_addresses_at_home(
    monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...], edge: list[str] | None
) -> None:
    names(monkeypatch, box_lan=addresses)
    if edge is None:
        with pytest.raises(NotAtHome):
            found(Resolver(home_only=True), "box.lan")
    else:
        assert found(Resolver(home_only=True), "box.lan") == edge
    assert found(Resolver(home_only=False), "box.lan") == list(addresses)


def test_an_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch)
    with pytest.raises(socket.gaierror):
        found(Resolver(home_only=False), "nowhere.example")


def test_a_name_that_cannot_be_encoded_is_an_unknown_name() -> None:
    """The codec's own `UnicodeError` would be a stranger to the callers."""
    with pytest.raises(socket.gaierror, match="no host name"):
        found(Resolver(home_only=False), "a" * 64 + ".example")


def test_a_look_up_that_hangs_ends_with_its_waiter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop ends at once, although the thread still hangs; the late answer reaches nobody and raises nothing."""
    release, hanging = threading.Event(), threading.Event()

    def hang(*_args: object, **_settings: object) -> list[tuple[Any, ...]]:
        hanging.set()
        release.wait(20)
        return rows("127.0.0.1")

    monkeypatch.setattr(socket, "getaddrinfo", hang)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await Resolver(home_only=False).resolve("slow.example", 80)

    run(main())
    assert hanging.is_set()
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "oblix-dns-slow.example")
    assert thread.daemon
    release.set()
    thread.join(5)
    assert not thread.is_alive()


def test_an_answer_that_comes_too_late_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waiter has left, the loop still runs."""
    release = threading.Event()

    def slow(*_args: object, **_settings: object) -> list[tuple[Any, ...]]:
        release.wait(20)
        return rows("127.0.0.1")

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    async def main() -> None:
        waiter = asyncio.create_task(Resolver(home_only=False).resolve("slow.example", 80))
        await asyncio.sleep(0)
        (thread,) = (thread for thread in threading.enumerate() if thread.name == "oblix-dns-slow.example")
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        release.set()
        await asyncio.to_thread(thread.join, 5)
        await asyncio.sleep(0.01)

    run(main())
