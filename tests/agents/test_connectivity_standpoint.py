"""Where this machine stands: what a change of routes is, and what it is not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from oblix.agents.probes.system import System
from oblix.agents.standpoint import Standpoint
from oblix.testing import netns
from oblix.types.traffic import Endpoint

HERE = {Endpoint("http", "127.0.0.1", 80): [("127.0.0.1", 80)]}


def test_the_first_look_is_no_change() -> None:
    standpoint = Standpoint()
    assert not standpoint.look({})
    assert not standpoint.look(HERE)
    assert not standpoint.look(HERE)
    assert not standpoint.is_cut_off
    assert (standpoint.is_metered, standpoint.is_unplugged) == (None, None)


@pytest.mark.skipif(sys.platform != "linux", reason="carriers are read from /sys")
def test_a_cable_that_is_pulled_out_is_told_although_its_routes_stay(tmp_path: Path) -> None:
    folder = tmp_path / "sys/class/net/eth0"
    (tmp_path / "proc/net").mkdir(parents=True)
    folder.mkdir(parents=True)
    (tmp_path / "proc/net/route").write_text("head\neth0 00000000 0102A8C0 0003 0 0 100 00000000 0 0 0\n")
    (folder / "carrier").write_text("1")
    standpoint = Standpoint(System(tmp_path, "linux"))
    # The recorded machine's own way out; that this one has a route to its loopback is all that is asked of it.
    there = {Endpoint("https", "api.example", 443): [("127.0.0.1", 443)]}
    standpoint.look(there)
    standpoint.device = "eth0"
    assert not standpoint.look(there)
    (folder / "carrier").write_text("0")
    change = standpoint.look(there)
    assert change
    assert change.cut_off == tuple(there)
    assert standpoint.is_cut_off
    (folder / "carrier").write_text("1")
    change = standpoint.look(there)
    assert change
    assert not change.cut_off
    assert not change.is_other_network


PROGRAM = """
import sys
from oblix.agents.standpoint import Standpoint
from oblix.types.traffic import Endpoint
standpoint, there = Standpoint(), {Endpoint("https", "api.example", 443): [("198.51.100.9", 443)]}
for _ in sys.stdin:
    change = standpoint.look(there)
    print(bool(change), len(change.cut_off), change.is_other_network, standpoint.is_cut_off, flush=True)
"""


@pytest.mark.netns
def test_routes_that_go_come_and_lead_elsewhere(require: Callable[[object, str], None]) -> None:
    reason = netns.available()
    require(reason is None, reason or "")
    with netns.NetworkPair() as pair:
        command = [*pair.in_home, sys.executable, "-c", PROGRAM]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with child:

            def look() -> str:
                assert child.stdin is not None
                assert child.stdout is not None
                child.stdin.write("look\n")
                child.stdin.flush()
                return child.stdout.readline().strip()

            assert look() == "False 0 False False"
            pair.pull_link()
            assert look() == "True 1 False True"
            assert look() == "False 1 False True"
            pair.plug_link()
            assert look() == "True 0 False False"
            device = "cable0"
            for change in (
                ("address", "add", "10.99.0.1/24", "dev", device),
                ("route", "replace", "default", "via", pair.away_address, "src", "10.99.0.1"),
            ):
                subprocess.run([*pair.in_home, "ip", *change], check=True, timeout=10)
            assert look() == "True 0 True False"
