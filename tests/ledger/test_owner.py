"""Who holds a reservation, and whether it still lives: real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from math import inf
from pathlib import Path

import psutil
import pytest

from oblix.ledger import owner
from oblix.ledger.owner import OVERDUE, Lease, dead, is_alive, me

SAYS_WHO = "from oblix.ledger.owner import me; print(me(), flush=True); input()"


@pytest.fixture(autouse=True)
def _forgetful() -> Iterator[None]:
    owner._named.cache_clear()
    yield
    owner._named.cache_clear()


def test_this_process_lives() -> None:
    assert is_alive(me()) is True
    assert me() == me()
    assert f"/{os.getpid()}@" in me()


def test_another_process_lives_until_it_ends() -> None:
    child = subprocess.Popen([sys.executable, "-c", SAYS_WHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    name = child.stdout.readline().strip()
    assert is_alive(name) is True
    child.kill()
    os.waitid(
        os.P_PID, child.pid, os.WEXITED | os.WNOWAIT
    )  # it has ended; that nobody asked for its exit status does not make it live
    assert is_alive(name) is False
    child.communicate()
    assert is_alive(name) is False


def test_a_number_that_was_given_again_is_another_process() -> None:
    here, _, process = me().rpartition("/")
    pid, _, start = process.partition("@")
    assert is_alive(f"{here}/{pid}@{int(start) - 1}") is False
    assert is_alive(f"{here}/{pid}@") is False
    assert is_alive(f"{here}/none@1") is False


def test_elsewhere_nothing_can_be_seen() -> None:
    boot, space, process = me().split("/")
    assert is_alive(f"{boot}x/{space}/{process}") is None
    assert is_alive(f"{boot}/{space}x/{process}") is None
    assert is_alive("nonsense") is None


def test_who_is_dead() -> None:
    here, _, process = me().rpartition("/")
    pid = process.partition("@")[0]
    parent = f"{here}/{os.getppid()}@{owner._start(os.getppid())}"
    leases = [
        Lease(me(), 0.0),  # we live, however late we are
        Lease(f"{here}/{pid}@0", 1e9),
        Lease("elsewhere/1@1", 99.0),
        Lease("elsewhere/1@2", 101.0),
        Lease(parent, 99.0),
        Lease(parent, 99.0 - OVERDUE),
    ]
    assert dead(leases, 100.0) == [
        Lease(f"{here}/{pid}@0", inf),
        Lease("elsewhere/1@1", 100.0),
        Lease(parent, 100.0 - OVERDUE),
    ]


def test_a_system_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on macOS and Windows: psutil tells."""
    monkeypatch.setattr(owner, "_PROC", tmp_path)
    monkeypatch.setattr(sys, "platform", "darwin")
    boot, space, process = me().split("/")
    assert float(boot) > 1e9
    assert space == ""
    assert process == f"{os.getpid()}@{psutil.Process().create_time():.2f}"
    assert is_alive(me()) is True
    ended = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    assert owner._start(ended.pid) is None
    ended.wait()
    assert owner._start(ended.pid) is None
