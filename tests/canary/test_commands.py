"""Every command that tells of something, as a process of its own, on a machine where keys lie in every place: none shows one."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from oblix import OblixClient
from oblix.testing.faults import Fault, FaultServer, Upstream

from .birds import KEY, PROMPT, assert_silent, heard, on_a_loop, searched

TELLING = (
    "ask -m openai:played -q -- {prompt}",
    "ask --private --json -- {prompt}",
    "route -- {prompt}",
    "route --json -- {prompt}",
    "route --private -- {prompt}",
    "why",
    "why --json",
    "replay",
    "replay --json",
    "spend",
    "spend --by key --json",
    "spend --by model --csv",
    "budget show --json",
    "status",
    "status --json",
    "models",
    "keys list",
    "keys list --json",
    "keys path",
    "keys test openai",
    "sessions list",
    "sessions list --json",
)
# Who asks for the text gets it.
TEXTS = ("sessions show birds", "sessions show birds --json", "sessions export birds", "sessions search lanterns")


@dataclass
class Machine:
    """A home with keys in it, and servers that play a provider and an Ollama."""

    home: Path
    cloud: Upstream
    edge: Upstream

    async def run(self, *lines: str) -> dict[str, str]:
        """`oblix LINE` for each, and all that it writes; the exit code comes first."""
        ran = await self._start(str(Path(__file__).with_name("commands.py")))
        words = [[PROMPT if word == "{prompt}" else word for word in line.split()] for line in lines]
        out, err = await ran.communicate(json.dumps(words).encode())
        assert ran.returncode == 0, err.decode()
        return dict(zip(lines, json.loads(out), strict=True))

    async def keep(self, provider: str) -> None:
        """A key, with `oblix keys set`."""
        ran = await self._start("-m", "oblix", "keys", "set", provider, "--file")
        await ran.communicate(KEY.encode())
        assert ran.returncode == 0

    async def _start(self, *words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, *words),
            cwd=self.home,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.home),
                "TMPDIR": str(self.home / "scratch"),
                "OBLIX_HOME": str(self.home / "oblix"),
                "OPENAI_API_KEY": KEY,
                "OPENAI_BASE_URL": self.cloud.url,
                "OLLAMA_HOST": self.edge.url,
                "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
                "PYTHONASYNCIODEBUG": "1",
            },
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )


@asynccontextmanager
async def machine(home: Path) -> AsyncIterator[Machine]:
    """Keys in the environment, in `.env` and in `keys.toml`; a private talk that was kept, and a paid answer."""
    async with FaultServer() as server:
        found = Machine(home, server.upstream("cloud", wire="openai"), server.upstream("edge", wire="ollama"))
        (home / "scratch").mkdir()
        (home / ".env").write_text(f"ANTHROPIC_API_KEY={KEY}\n")
        await found.keep("groq")
        async with OblixClient(store=home / "oblix" / "oblix.db") as client:
            await client.hook_model("ollama", "llama3", endpoint=found.edge.url)
            await client.hook_model("openai", "played", endpoint=found.cloud.url, api_key=KEY, price=(1.0, 5.0))
            session = await client.create_session("birds")
            await client.execute(PROMPT, session_id=session, private=True)
            await client.execute(PROMPT, "openai:played", tags=("lake",))
        yield found


@on_a_loop
async def test_no_command_shows_a_key_nor_a_prompt_that_was_not_asked_for(tmp_path: Path) -> None:
    async with machine(tmp_path) as home:
        told = await home.run(*TELLING)
        assert {line: said for line, said in told.items() if not said.startswith("exit 0")} == {}
        assert_silent(told)
        (session,) = [row.split("\t")[0] for row in told["sessions list"].splitlines() if "birds" in row]
        texts = await home.run(*(line.replace("birds", session) for line in TEXTS))
        assert {line: heard(said) for line, said in texts.items()} == {line: ["prompt"] for line in texts}


@on_a_loop
async def test_no_command_that_fails_shows_either(tmp_path: Path) -> None:
    """Refused keys, servers that break off, names that are not known."""
    async with machine(tmp_path) as home:
        home.cloud.default = Fault("status_401", "before_headers")
        refused = await home.run("ask -m openai:played -- {prompt}", "keys test openai")
        assert {said.split("\n")[0] for said in refused.values()} == {"exit 4"}
        home.cloud.default = Fault("reset", "before_headers")
        broken = await home.run("ask -m openai:played -- {prompt}", "ask -m opnai:played -- {prompt}")
        assert all(not said.startswith("exit 0") for said in broken.values())
        assert_silent(refused)
        assert_silent(broken)
        kept = searched(tmp_path)
        assert {name: found for name, found in kept.items() if "key" in found} == {
            ".env": ["key"],
            "keys.toml": ["key"],
        }
