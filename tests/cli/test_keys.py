"""`oblix keys`: kept, listed, tried and forgotten, and never shown."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from functools import partial
from pathlib import Path

import pytest

from oblix.settings import keyfile
from oblix.testing.faults import Fault, FaultServer
from oblix.types.secret import SecretStr

from .running import run

KEY = "sk-" + "test-4Hq8Zw2Lm6"


def keys(home: Path, *args: str, stdin: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """`oblix keys ARGS`, whose output never holds the key."""
    ran = run(home, "keys", *args, stdin=stdin, PYTHON_KEYRING_BACKEND="keyring.backends.null.Keyring", **variables)
    assert KEY not in ran.stdout + ran.stderr
    return ran


def test_a_key_is_kept_listed_and_forgotten(tmp_path: Path) -> None:
    kept = keys(tmp_path, "set", "openai", stdin=f"{KEY}\n")
    assert kept.returncode == 0, kept.stderr
    place = keys(tmp_path, "path").stdout.strip()
    assert place in kept.stderr
    assert KEY in Path(place).read_text()
    listed = json.loads(keys(tmp_path, "list", "--json", ANTHROPIC_API_KEY=KEY + "-2").stdout)
    assert listed == [
        {"provider": "openai", "origin": "file", "place": place, "is_used": True},
        {"provider": "claude", "origin": "environment", "place": "ANTHROPIC_API_KEY", "is_used": True},
    ]
    assert "openai" in keys(tmp_path, "list").stdout
    assert keys(tmp_path, "rm", "openai").returncode == 0
    assert keys(tmp_path, "rm", "openai").returncode == 1
    assert "no key" in keys(tmp_path, "list").stderr


def test_the_environment_goes_before_what_is_kept(tmp_path: Path) -> None:
    told = keys(tmp_path, "set", "openai", "--file", stdin=KEY, OPENAI_API_KEY=KEY + "-2").stderr
    assert "OPENAI_API_KEY" in told
    rows = json.loads(keys(tmp_path, "list", "--json", OPENAI_API_KEY=KEY + "-2").stdout)
    assert [(row["origin"], row["is_used"]) for row in rows] == [("environment", True), ("file", False)]


@pytest.mark.parametrize(
    ("args", "stdin"),
    [(("set", "openai"), "sk-..."), (("set", "openai"), "k" * 4097), (("set", "nobody"), KEY), (("set", "vllm"), KEY)],
)
def test_what_cannot_be_kept_is_a_mistake_of_usage(args: tuple[str, ...], stdin: str, tmp_path: Path) -> None:
    assert keys(tmp_path, *args, stdin=stdin).returncode == 2


def test_a_key_is_tried_at_the_list_of_models(tmp_path: Path) -> None:
    """Exit code 0 where it is known, 4 where it is refused or missing; no prompt is sent."""

    async def main() -> None:
        async with FaultServer() as server:
            up = server.upstream("cloud", wire="openai")

            async def ask(**variables: str) -> subprocess.CompletedProcess[str]:
                tried = partial(keys, tmp_path, "test", "openai", OPENAI_BASE_URL=up.url, **variables)
                return await asyncio.to_thread(tried)

            assert (await ask()).returncode == 4
            assert (await ask(OPENAI_API_KEY=KEY)).returncode == 0
            assert [asked.method + " " + asked.path for asked in up.requests] == ["GET /v1/models"]
            assert up.requests[0].headers["authorization"] == f"Bearer {KEY}"
            up.default = Fault("status_401", "before_headers")
            refused = await ask(OPENAI_API_KEY=KEY)
            assert refused.returncode == 4, refused.stderr

    asyncio.run(main())


# A keyring as the library `keyring` has them: it keeps in a file, or fails, or is what the library puts where there is none.
RING = """
import json, pathlib
HOW, FILE = {how!r}, pathlib.Path({file!r})
class Backend:
    name, priority = "a ring", 0 if HOW == "none" else 5
def get_keyring(): return Backend()
def kept():
    if HOW != "keeps": raise RuntimeError("No recommended backend was available")
    return json.loads(FILE.read_text()) if FILE.exists() else {{}}
def get_password(name, user): return kept().get(name)
def set_password(name, user, value): FILE.write_text(json.dumps(kept() | {{name: value}}))
def delete_password(name, user): FILE.write_text(json.dumps({{each: key for each, key in kept().items() if each != name}}))
"""


def ring(home: Path, how: str) -> dict[str, str]:
    """The variables of a machine with such a keyring."""
    (home / "ring").mkdir(exist_ok=True)
    (home / "ring" / "keyring.py").write_text(RING.format(how=how, file=str(home / "ring" / "kept.json")))
    return {"PYTHONPATH": str(home / "ring"), "PYTHONDONTWRITEBYTECODE": "1"}


def test_a_keyring_is_used_where_it_keeps_what_it_gets(tmp_path: Path) -> None:
    there = ring(tmp_path, "keeps")
    assert "a ring" in keys(tmp_path, "set", "openai", stdin=KEY, **there).stderr
    assert keys(tmp_path, "list", **there).stdout == "openai\toblix/openai in the keyring\tyes\n"
    assert keys(tmp_path, "set", "openai", "--file", stdin=KEY, **there).returncode == 0
    assert keys(tmp_path, "rm", "openai", **there).returncode == 0
    assert "no key" in keys(tmp_path, "list", **there).stderr


def test_a_keyring_that_fails_keeps_nothing_from_being_removed(tmp_path: Path) -> None:
    """Neither does a broken file; what is left undone is told, and the end is no success."""
    there = ring(tmp_path, "fails")
    assert "keys.toml" in keys(tmp_path, "set", "openai", stdin=KEY, **there).stderr
    done = keys(tmp_path, "rm", "openai", **there)
    assert done.returncode == 1
    assert "keyring failed" in done.stderr
    assert "no key" in keys(tmp_path, "list", **there).stderr

    keys(tmp_path, "set", "openai", stdin=KEY, **ring(tmp_path, "keeps"))
    place = keyfile_of(tmp_path)
    place.write_text("[[[")
    done = keys(tmp_path, "rm", "openai", **there)
    assert (done.returncode, "keys.toml is not as it was written" in done.stderr) == (1, True)
    place.unlink()
    assert "no key" in keys(tmp_path, "list", **there).stderr


def keyfile_of(home: Path) -> Path:
    return Path(keys(home, "path").stdout.strip())


def test_where_the_library_finds_no_keyring_there_is_none(tmp_path: Path) -> None:
    """The usual case on a server: nothing fails, and nothing is told."""
    there = ring(tmp_path, "none")
    assert "keys.toml" in keys(tmp_path, "set", "openai", stdin=KEY, **there).stderr
    done = keys(tmp_path, "rm", "openai", **there)
    assert (done.returncode, done.stderr) == (0, "")


NO_WAY_OUT = {"HTTPS_PROXY": "http://127.0.0.1:9"}  # what would go to a provider ends at the discard port
ASKING = [
    ("ask", "-m", "openai:played", "hello"),
    ("chat", "-m", "openai:played"),
    ("route", "-m", "openai:played", "hello"),
    ("status",),
]


@pytest.fixture(name="kept")
def _kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a kept key."""
    monkeypatch.setenv("OBLIX_HOME", str(tmp_path / "oblix"))
    keyfile.put("openai", SecretStr(KEY))
    return tmp_path


@pytest.mark.parametrize("args", ASKING, ids=[args[0] for args in ASKING])
def test_a_dotenv_of_a_project_names_no_address_and_moves_nothing(args: tuple[str, ...], kept: Path) -> None:
    """A kept key goes where its owner says, and a `.env` came with the project: only keys are read from it."""

    async def main() -> None:
        async with FaultServer() as server:
            up = server.upstream("project", wire="openai")
            (kept / ".env").write_text(f"OPENAI_BASE_URL={up.url}\nOBLIX_HOME={kept / 'moved'}\nOBLIX_CONFIG=gone\n")
            told = await asyncio.to_thread(run, kept, *args, stdin="hello\n", **NO_WAY_OUT)
            assert up.requests == []
            assert "gone" not in told.stderr
            assert not (kept / "moved").exists()

    asyncio.run(main())


def carried(home: Path, *, named_by: str = "environment", **variables: str) -> str | None:
    """The key that `oblix ask` sends to an address that is named there."""

    async def main() -> str | None:
        async with FaultServer() as server:
            up = server.upstream("cloud", wire="openai")
            if named_by == "environment":
                variables["OPENAI_BASE_URL"] = up.url
            else:
                (home / named_by).write_text(f'[[model]]\nid = "openai:played"\nendpoint = "{up.url}"\n')
            ran = await asyncio.to_thread(partial(run, home, "ask", "-m", "openai:played", "hello", **variables))
            assert ran.returncode == 0, ran.stderr
            (asked,) = [each for each in up.requests if each.method == "POST"]
            return asked.headers.get("authorization")

    return asyncio.run(main())


def test_a_key_in_a_dotenv_is_used(kept: Path) -> None:
    (kept / ".env").write_text(f"OPENAI_API_KEY={KEY}-project\n")
    assert carried(kept) == f"Bearer {KEY}-project"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root gives files away")
def test_a_dotenv_of_a_stranger_is_not_used(kept: Path) -> None:
    """He would read our prompts in his account."""
    (kept / ".env").write_text(f"OPENAI_API_KEY={KEY}-strange\n")
    os.chown(kept / ".env", 65534, -1)
    assert carried(kept) == f"Bearer {KEY}"


def test_an_address_that_nobody_named_gets_no_key_of_the_users(kept: Path) -> None:
    """An `oblix.toml` that lies in the working directory came with the project: what is in the environment is the user's."""
    mine = {"OPENAI_API_KEY": f"{KEY}-mine"}
    assert carried(kept, named_by="oblix.toml", **mine) is None
    (kept / ".env").write_text(f"OPENAI_API_KEY={KEY}-mine\n")
    assert carried(kept, named_by="oblix.toml", **mine) == f"Bearer {KEY}-mine"  # it came with the file


@pytest.mark.parametrize("how", ["OBLIX_CONFIG", "OPENAI_BASE_URL"])
def test_an_address_that_the_user_named_gets_his_key(how: str, kept: Path) -> None:
    named = {"OBLIX_CONFIG": "oblix.toml"} if how == "OBLIX_CONFIG" else {}
    by = "oblix.toml" if how == "OBLIX_CONFIG" else "environment"
    assert carried(kept, named_by=by, OPENAI_API_KEY=f"{KEY}-mine", **named) == f"Bearer {KEY}-mine"


def test_a_refusal_for_want_of_a_key_that_was_withheld_says_so(kept: Path) -> None:
    async def main() -> subprocess.CompletedProcess[str]:
        async with FaultServer() as server:
            up = server.upstream("cloud", wire="openai")
            up.default = Fault("status_401", "before_headers")
            (kept / "oblix.toml").write_text(f'[[model]]\nid = "openai:played"\nendpoint = "{up.url}"\n')
            return await asyncio.to_thread(partial(run, kept, "ask", "hello", OPENAI_API_KEY=f"{KEY}-mine"))

    done = asyncio.run(main())
    assert done.returncode == 4
    assert "OBLIX_CONFIG=oblix.toml" in done.stderr.splitlines()[-1]
