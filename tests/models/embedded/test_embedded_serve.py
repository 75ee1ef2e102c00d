"""The HTTP server for the demo, the tests and the benchmarks."""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest

from oblix.errors import ConfigurationError
from oblix.models.embedded.serve import LlamaServer, ServeOptions

pytestmark = pytest.mark.engine
Gone = Callable[[int], Coroutine[Any, Any, None]]


def chat(server: LlamaServer, key: str | None = None, **wishes: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": "Write."}], "ignore_eos": True, **wishes}
    request = urllib.request.Request(f"{server.url}/v1/chat/completions", json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=60) as response:
        found: dict[str, Any] = json.load(response)
    return found


def test_it_answers_under_its_alias_and_caps_answers_that_name_no_limit(smollm2: Path) -> None:
    with LlamaServer(ServeOptions(smollm2, alias="tiny", max_answer=5)) as server:
        found = chat(server)
        assert found["model"] == "tiny"
        assert found["usage"]["completion_tokens"] == 5
        assert chat(server, max_tokens=9)["usage"]["completion_tokens"] == 9
        pid = server.pid
    assert not psutil.pid_exists(pid)


def test_it_asks_for_its_key(smollm2: Path) -> None:
    with LlamaServer(ServeOptions(smollm2, api_key="secret")) as server:
        with pytest.raises(urllib.error.HTTPError) as refused:
            chat(server, max_tokens=1)
        refused.value.close()
        assert refused.value.code == 401
        assert chat(server, "secret", max_tokens=1)["choices"]


def test_it_serves_a_prefix_and_an_event_loop(smollm2: Path) -> None:
    async def run() -> None:
        async with LlamaServer(ServeOptions(smollm2), prefix=("env", "-u", "NOTHING")) as server:
            assert await asyncio.to_thread(chat, server, max_tokens=1)

    asyncio.run(run())


def test_after_kill_nobody_answers(smollm2: Path, gone: Gone) -> None:
    with LlamaServer(ServeOptions(smollm2)) as server:
        pid, port = server.pid, int(server.url.rsplit(":", 1)[-1])
        server.kill()
        asyncio.run(gone(pid))
        with pytest.raises(ConnectionRefusedError):
            http.client.HTTPConnection("127.0.0.1", port, timeout=5).connect()
        with pytest.raises(ConfigurationError):
            _ = server.url


def test_it_says_why_it_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        LlamaServer(ServeOptions(tmp_path / "none.gguf")).start()
    damaged = tmp_path / "x.gguf"
    damaged.write_bytes(b"GGUF nonsense")
    with pytest.raises(ConfigurationError, match="cannot load"):
        LlamaServer(ServeOptions(damaged)).start()


def test_it_dies_with_a_killed_parent(smollm2: Path, gone: Gone) -> None:
    program = (
        "import sys, time; from pathlib import Path; from oblix.models.embedded.serve import *; "
        "s = LlamaServer(ServeOptions(Path(sys.argv[1]))).start(); print(s.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(smollm2)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        server = int(parent.stdout.readline())
        parent.kill()
        parent.wait(30)
    asyncio.run(gone(server))
