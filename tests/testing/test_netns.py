"""The pair of namespaces: a real network whose cable can really be pulled, and nothing left behind."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from oblix.testing import netns
from oblix.testing.netns import NetworkPair

pytestmark = pytest.mark.netns
FOLDER = Path("/var/run/netns")
_CONNECT = """
import socket, sys
with socket.socket() as end:
    end.settimeout(5)
    print(end.connect_ex((sys.argv[1], 9)))
"""


@pytest.fixture
def network() -> Iterator[NetworkPair]:
    reason = netns.available()
    if reason is not None and os.environ.get("CI"):
        pytest.fail(f"in CI the network must be made: {reason}")
    if reason is not None:
        pytest.skip(reason)
    with NetworkPair() as pair:
        yield pair


def connect(network: NetworkPair, address: str) -> int:
    """The error number of connecting from `home` to a port where nobody listens."""
    command = [*network.in_home, sys.executable, "-c", _CONNECT, address]
    return int(subprocess.run(command, check=True, capture_output=True).stdout)


def test_pulling_the_cable_loses_the_network_and_plugging_it_in_brings_it_back(network: NetworkPair) -> None:
    assert connect(network, network.away_address) == errno.ECONNREFUSED  # somebody is there to refuse
    network.pull_link()
    assert connect(network, network.away_address) == errno.ENETUNREACH
    assert connect(network, "127.0.0.1") == errno.ECONNREFUSED  # loopback stays
    network.plug_link()
    assert connect(network, network.away_address) == errno.ECONNREFUSED


def test_the_host_sees_none_of_it(network: NetworkPair) -> None:
    assert not {"cable0", network.home} & {name for _, name in socket.if_nameindex()}
    assert "074D0A" not in Path("/proc/net/route").read_text()  # 10.77.7.0, as the kernel writes it


def test_nothing_is_left_after_a_failure(network: NetworkPair) -> None:
    pair = NetworkPair()
    with pytest.raises(RuntimeError):
        _fail_inside(pair)
    assert not (FOLDER / pair.home).exists()
    assert not (FOLDER / pair.away).exists()


def _fail_inside(pair: NetworkPair) -> None:
    with pair:
        assert (FOLDER / pair.home).exists()
        raise RuntimeError


def test_what_a_killed_process_left_is_removed(network: NetworkPair) -> None:
    left = "oblix-home-99999999-1"  # above the largest process id
    subprocess.run(["ip", "netns", "add", left], check=True)
    netns.remove_stale()
    assert not (FOLDER / left).exists()
    assert (FOLDER / network.home).exists()
