"""The real `keyring` package with a backend of its own kind, which keeps in a file: set, found, used and forgotten, and never shown."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from oblix.testing.faults import FaultServer

from .birds import KEY, assert_silent, heard, on_a_loop, searched

# What `keyring` loads as it would load a desktop's: a backend that keeps, one whose errors quote what it was given, and one that forgets.
RINGS = """
import json, os
from pathlib import Path
from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError

FILE = Path(os.environ["RING"])

class Ring(KeyringBackend):
    priority = 5
    name = "canary"

    def _all(self):
        return json.loads(FILE.read_text()) if FILE.exists() else {}

    def get_password(self, service, username):
        return self._all().get(f"{service} {username}")

    def set_password(self, service, username, password):
        FILE.write_text(json.dumps(self._all() | {f"{service} {username}": password}))

    def delete_password(self, service, username):
        kept = self._all()
        if kept.pop(f"{service} {username}", None) is None:
            raise PasswordDeleteError(f"no {service}")
        FILE.write_text(json.dumps(kept))

class Quoting(Ring):
    def get_password(self, service, username):
        raise RuntimeError(f"locked: {self._all()}")

    def set_password(self, service, username, password):
        raise RuntimeError(f"cannot keep {password!r} of {username!r}")

class Forgetting(Ring):
    def set_password(self, service, username, password):
        pass
"""


@pytest.fixture(autouse=True)
def _needs_keyring(require: Callable[[object, str], None]) -> None:
    require(find_spec("keyring"), "the package keyring, which the extra of that name brings")


@dataclass
class Desk:
    """A home, a keyring on it, and a server that plays OpenAI."""

    home: Path
    url: str
    ring: str = "Ring"

    async def run(self, *words: str, stdin: str = "") -> tuple[int | None, str]:
        """The exit code of `oblix WORDS`, and all that it writes."""
        folder = self.home / "rings"
        folder.mkdir(exist_ok=True)
        (folder / "canary_rings.py").write_text(RINGS)
        ran = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "oblix", *words),
            cwd=self.home,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])),
                "PYTHON_KEYRING_BACKEND": f"canary_rings.{self.ring}",
                "RING": str(self.home / "ring.json"),
                "HOME": str(self.home),
                "OBLIX_HOME": str(self.home / "oblix"),
                "OPENAI_BASE_URL": self.url,
                "OLLAMA_HOST": "127.0.0.1:9",
            },
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await ran.communicate(stdin.encode())
        assert_silent({" ".join(words): out}, of=("key",))
        return ran.returncode, out.decode()


@on_a_loop
async def test_a_key_is_kept_in_the_keyring_used_and_forgotten(tmp_path: Path) -> None:
    async with FaultServer() as server:
        up = server.upstream("cloud", wire="openai")
        desk = Desk(tmp_path, up.url)
        code, said = await desk.run("keys", "set", "openai", stdin=f"{KEY}\n")
        assert code == 0, said
        assert "the keyring (canary)" in said
        assert searched(tmp_path) == {"ring.json": ["key"]}  # there, and nowhere else
        code, listed = await desk.run("keys", "list", "--json")
        place = "oblix/openai in the keyring"
        assert json.loads(listed) == [{"provider": "openai", "origin": "keyring", "place": place, "is_used": True}]
        assert (await desk.run("ask", "-q", "-m", "openai:played", "Hello"))[0] == 0
        assert up.requests[-1].headers["authorization"] == f"Bearer {KEY}"
        assert (await desk.run("keys", "rm", "openai"))[0] == 0
        assert heard((tmp_path / "ring.json").read_bytes()) == []
        assert (await desk.run("keys", "list", "--json"))[1] == "[]\n"


@on_a_loop
async def test_a_keyring_that_fails_is_not_quoted_and_the_file_takes_its_place(tmp_path: Path) -> None:
    """Its errors may hold the key, and so may its words."""
    desk = Desk(tmp_path, "http://127.0.0.1:9/v1", ring="Quoting")
    code, said = await desk.run("keys", "set", "openai", stdin=KEY)
    assert code == 0, said
    assert "failed (RuntimeError)" in said
    assert "keys.toml" in said
    (tmp_path / "ring.json").write_text(json.dumps({"oblix/openai api_key": KEY}))
    code, listed = await desk.run("keys", "list")
    assert code == 0
    assert "keys.toml" in listed


@on_a_loop
async def test_a_keyring_that_forgets_is_not_believed(tmp_path: Path) -> None:
    desk = Desk(tmp_path, "http://127.0.0.1:9/v1", ring="Forgetting")
    code, said = await desk.run("keys", "set", "openai", stdin=KEY)
    assert code == 0
    assert "keys.toml" in said
    assert searched(tmp_path) == {"keys.toml": ["key"]}
