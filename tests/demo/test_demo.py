"""The demo: its wire, its load, and the whole tour on a real model."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from oblix.demo.load import busy_machine
from oblix.demo.wire import Wire

SCENES = 5


async def _with_echo(use: Callable[[Wire], Awaitable[None]]) -> None:
    """Use a wire in front of a server that sends everything back."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with Wire(server.sockets[0].getsockname()[1]) as wire:
        await use(wire)
    server.close()
    await server.wait_closed()


async def _dial(wire: Wire) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", int(wire.url.rpartition(":")[2]))


def test_wire_relays_and_counts() -> None:
    """Bytes pass both ways, and those towards the cloud are counted."""

    async def use(wire: Wire) -> None:
        reader, writer = await _dial(wire)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        assert wire.sent == 5
        writer.close()

    asyncio.run(_with_echo(use))


def test_wire_cuts_in_the_middle() -> None:
    """After so many bytes the connection is reset, as by a server that crashed."""

    async def use(wire: Wire) -> None:
        wire.cut_after = 10
        reader, writer = await _dial(wire)
        writer.write(b"123456789")
        assert await reader.readexactly(9) == b"123456789"
        writer.write(b"abc")
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(3)
        writer.close()

    asyncio.run(_with_echo(use))


def test_pulled_wire_refuses_until_plugged() -> None:
    """Pulling cuts what is open and refuses what comes; plugging brings the same port back."""

    async def use(wire: Wire) -> None:
        url = wire.url
        reader, writer = await _dial(wire)
        await wire.pull()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await _dial(wire)
        await wire.plug()
        assert wire.url == url
        _, writer = await _dial(wire)
        writer.close()

    asyncio.run(_with_echo(use))


def test_busy_machine_ends_its_load() -> None:
    """The processes compute for as long as the block lasts, and no longer."""
    me = psutil.Process()
    before = me.children()  # servers that other tests share
    with busy_machine():
        spinners = [each for each in me.children() if each not in before]
        assert len(spinners) == 2 * (os.cpu_count() or 1)
    assert not any(spinner.is_running() for spinner in spinners)


@pytest.mark.engine
def test_the_tour(tmp_path: Path, weights: Path) -> None:
    """A real answer with its footer, then five scenes with theirs; nothing of the private prompt on the wire."""
    cache = tmp_path / "oblix" / "cache"
    cache.mkdir(parents=True)
    (cache / "models").symlink_to(weights.parent)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "OBLIX_HOME": str(tmp_path / "oblix"),
        "LANG": "C.UTF-8",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "oblix", "demo"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    footers = re.findall(r"^ *(edge|cloud) · (\S+) · [\d.]+ s.* · \$[\d.]+.* · (.+)$", done.stdout, re.MULTILINE)
    assert len(footers) == 1 + SCENES, done.stdout
    assert all(reason for _, _, reason in footers)
    assert [place for place, _, _ in footers[3:]] == [
        "edge",
        "edge",
        "edge",
    ]  # these do not depend on how busy this machine is
    assert "connection refused" in footers[3][2]
    assert "broke off" in footers[4][2]
    assert footers[5][2].startswith("private prompt stays at home")
    assert "on the wire to the cloud: 0 bytes" in done.stdout
