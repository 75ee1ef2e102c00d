"""`oblix keys`: kept, listed, tried and forgotten, and never shown."""

from __future__ import annotations

import asyncio
import json
import subprocess
from functools import partial
from pathlib import Path

import pytest

from oblix.testing.faults import Fault, FaultServer

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
    ("args", "stdin"), [(("set", "openai"), "sk-..."), (("set", "nobody"), KEY), (("set", "vllm"), KEY)]
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
