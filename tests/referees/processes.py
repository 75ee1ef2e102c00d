"""The referees as processes of their own: where they are installed, started on a free port, waited for, ended."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import aiohttp

_ROOT = Path(__file__).parents[2]
LLMOCK = _ROOT / ".venv-referees" / "bin" / "llmock"
AIMOCK = _ROOT / ".node-referees" / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
_PATIENCE = 60.0  # seconds until it must answer; a busy machine takes 5 s to start one


def llmock_missing() -> str | None:
    """Why `llmock` cannot run here, `None` when it can."""
    return None if LLMOCK.is_file() else "llmock is not installed: `make .venv-referees/.ready`"


def aimock_missing() -> str | None:
    """Why `aimock` cannot run here, `None` when it can."""
    if shutil.which("node") is None:
        return "aimock needs node"
    return None if AIMOCK.is_file() else "aimock is not installed: `make .node-referees/.ready`"


def control() -> aiohttp.ClientSession:
    """For the referees' control interfaces: a connection for each request, because a kept one may be closed when it is used again."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))


@contextmanager
def llmock(*options: str) -> Iterator[str]:
    """A fresh `llmock` with these options of its command line; gives its base address."""
    port = _free_port()
    command = [str(LLMOCK), "serve", "--host", "127.0.0.1", "--port", str(port), "--log-level", "error", *options]
    with _serving(command, f"http://127.0.0.1:{port}") as base:
        yield base


@contextmanager
def aimock(fixtures: Path, upstream: str) -> Iterator[str]:
    """A fresh `aimock` in front of the server at `upstream`; what matches a fixture is answered by itself."""
    port = _free_port()
    options = ["-h", "127.0.0.1", "-p", str(port), "-f", str(fixtures), "--log-level", "silent", "--proxy-only"]
    upstreams = ["--provider-openai", upstream, "--provider-anthropic", upstream]
    with _serving(["node", str(AIMOCK), *options, *upstreams], f"http://127.0.0.1:{port}") as base:
        yield base


@contextmanager
def _serving(command: Sequence[str], base: str) -> Iterator[str]:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for_answer(process, f"{base}/health")
        yield base
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_answer(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode} before it answered")
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)  # another process: nothing tells us when it is ready
        else:
            return
    raise TimeoutError(f"{process.args!r} did not answer within {_PATIENCE:g} s")


def _free_port() -> int:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
