"""The kernel tells of changes, and a thread that listens costs nothing and ends."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from oblix.agents.probes.netlink import Watch
from oblix.testing import netns

linux = pytest.mark.skipif(sys.platform != "linux", reason="netlink is Linux's")


def listening() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "oblix-netlink"]


@linux
def test_it_ends_when_it_is_stopped_and_can_begin_again() -> None:
    watch = Watch(lambda: None)
    assert not watch.is_running
    for _ in range(2):
        assert watch.start()
        assert watch.start()
        (thread,) = listening()
        assert watch.is_running
        watch.stop()
        watch.stop()
        thread.join(10)
        assert not thread.is_alive()
        assert not watch.is_running


PROGRAM = """
import sys, threading
from oblix.agents.probes.netlink import Watch
watch = Watch(lambda: print("changed", flush=True))
watch.start()
print("ready", flush=True)
sys.stdin.read()
"""


@linux
@pytest.mark.netns
def test_a_pulled_cable_a_route_and_an_address_are_told(require: Callable[[object, str], None]) -> None:
    reason = netns.available()
    require(reason is None, reason or "")
    with netns.NetworkPair() as pair:
        child = subprocess.Popen(
            [*pair.in_home, sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with child:
            assert child.stdout is not None
            assert child.stdin is not None
            assert child.stdout.readline() == "ready\n"
            ip = (*pair.in_home, "ip")
            for change in (
                ("route", "add", "198.51.100.0/24", "via", pair.away_address),
                ("address", "add", "198.51.100.7/32", "dev", "lo"),
                ("link", "set", "lo", "down"),
            ):
                subprocess.run([*ip, *change], check=True, timeout=10)
                assert child.stdout.readline() == "changed\n"
            pair.pull_link()
            assert child.stdout.readline() == "changed\n"
            child.stdin.close()
            assert child.wait(10) == 0
