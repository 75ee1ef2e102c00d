"""Sensors that hang for good: a driver, a resolver, an engine. Prompts are answered all the same, and leaving is quick and quiet.

Each case runs in a process of its own with real things that hang: whoever waited for one of them would wait until the time limit of the
process. blockbuster makes it an error if the event loop does. How long it stands still is measured by `make bench`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from oblix.testing import badlink
from oblix.testing.badlink import BadLink
from oblix.testing.ollama_options import OllamaOptions
from oblix.testing.ollama_server import OllamaServer

LIMIT = 60  # seconds; only guards against hanging
# The beginning of each program, and its end: with a `shutdown`, and without one.
HEAD = """
import asyncio, json, os, signal, sys
from pathlib import Path
from blockbuster import blockbuster_ctx
from oblix import OblixClient
from oblix.agents import ConnectivityAgent, PowerAgent, ResourceMonitor
from oblix.testing import ScriptedModel

def with_agents():
    client = OblixClient(store=":memory:")
    for agent in (ResourceMonitor(), ConnectivityAgent(), PowerAgent()):
        client.hook_agent(agent)
    return client
"""
TAIL = """
async def run():
    client, told = await main()
    if sys.argv[1] == "shutdown":
        await client.shutdown()
    print(json.dumps(told))

with blockbuster_ctx("oblix"):
    asyncio.run(run())
"""


@pytest.fixture(params=["shutdown", "leave"])
def farewell(request: pytest.FixtureRequest) -> str:
    """Whether the client is shut down, or just left."""
    return str(request.param)


def told_by(text: str, home: Path, *arguments: str, prefix: tuple[str, ...] = (), **variables: str) -> Any:
    """What a program says on its last line; it must end well, and have nothing to complain about."""
    (home / "program.py").write_text(HEAD + dedent(text) + TAIL)
    ran = subprocess.run(
        [*prefix, sys.executable, "-W", "error", "program.py", *arguments],
        cwd=home,
        env={**os.environ, "OBLIX_HOME": str(home), **variables},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return json.loads(ran.stdout)


def test_a_driver_that_hangs(tmp_path: Path, farewell: str) -> None:
    """NVML's first call never returns. The GPU is unknown, and everything else is told as ever."""
    os.mkfifo(tmp_path / "nobody-writes")
    (tmp_path / "pynvml.py").write_text(
        dedent("""
        from pathlib import Path

        class NVMLError(Exception):
            value = 0

        def nvmlInit():
            Path("entered").touch()
            Path("nobody-writes").read_bytes()
        """)
    )
    told = told_by(
        """
        async def main():
            client = with_agents()
            client.hook(ScriptedModel("ollama:phi", "yes"))
            replies = [await client.execute("hello")]
            while not Path("entered").exists():
                await asyncio.sleep(0.01)
            replies += [await client.execute("hello") for _ in range(20)]
            await client.get_resource_metrics()
            return client, [len(replies), replies[-1].response, dict(replies[-1].agent_checks["resource_monitor"].metrics)]
        """,
        tmp_path,
        farewell,
    )
    count, answer, machine = told
    assert (count, answer, machine["gpus"]) == (21, "yes", [])
    assert machine["memory_percent"] > 0  # read beside the driver


@pytest.fixture
def link(require: Callable[[object, str], None]) -> Iterator[BadLink]:
    """Two namespaces and a link that can be cut."""
    reason = badlink.available()
    require(reason is None, f"the link: {reason}")
    with BadLink(subnet=9) as pair:
        yield pair


@pytest.mark.netns
def test_a_resolver_that_never_answers(tmp_path: Path, link: BadLink, farewell: str) -> None:
    """The name server lies behind a black hole, and libc would wait for two minutes and a half."""
    link.look_names_up_at(link.away_address)
    link.cut()
    told = told_by(
        """
        async def main():
            client = with_agents()
            client.hook(ScriptedModel("ollama:phi", "yes"))
            await client.hook_model("openai", "gpt", endpoint="http://cloud.example/v1", api_key="sk-" + "test" * 4)
            replies = [await client.execute("hello", model_id="ollama:phi") for _ in range(20)]
            try:
                await client.execute("hello", model_id="openai:gpt", deadline=0.3)
            except Exception as error:
                return client, [len(replies), error.code, replies[-1].agent_checks["connectivity_monitor"].state]
        """,
        tmp_path,
        farewell,
        prefix=link.in_home,
        RES_OPTIONS="timeout:30 attempts:5",
    )
    count, code, network = told
    assert count == 20
    assert code in ("OBX-DEADLINE", "OBX-ALL-FAILED")
    assert network in ("unknown", "disconnected")


@pytest.fixture
def ollama(weights: Path) -> Iterator[OllamaServer]:
    """Ollama's protocol over a real model, in a process that can be frozen."""
    with OllamaServer(OllamaOptions(weights, ("phi",), port=0, window=512, max_answer=8)) as running:
        try:
            yield running
        finally:
            os.kill(running.pid, signal.SIGCONT)


@pytest.mark.engine
def test_an_engine_that_is_frozen(tmp_path: Path, ollama: OllamaServer, farewell: str) -> None:
    """It takes connections and answers nothing; another model answers, and the frozen one holds up neither that nor the end."""
    told = told_by(
        """
        async def main():
            client = with_agents()
            await client.hook_model("ollama", "phi", endpoint=sys.argv[2], timeouts={"first_token": 5.0})
            client.hook(ScriptedModel("openai:gpt", "yes"))
            first = await client.execute("Say hello.", model_id="ollama:phi", max_tokens=4)
            os.kill(int(sys.argv[3]), signal.SIGSTOP)
            others = [await client.execute("hello", model_id="openai:gpt") for _ in range(5)]
            moved = await client.execute("hello", model_id="ollama:phi", fallback=True)
            after = await client.execute("hello")
            kinds = [attempt.kind for attempt in moved.attempts]
            return client, [first.model_id, len(others), moved.model_id, kinds, after.model_id, len(after.attempts)]
        """,
        tmp_path,
        farewell,
        ollama.url,
        str(ollama.pid),
    )
    first, others, moved, kinds, after, attempts = told
    assert (first, others) == ("ollama:phi", 5)
    assert (moved, kinds) == ("openai:gpt", ["timeout_first_token", None])
    assert (after, attempts) == ("openai:gpt", 1)  # what hung a moment ago is not asked first
