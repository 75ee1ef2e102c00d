"""What `conftest.py` promises to every test."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from blockbuster import BlockingError

from oblix.models.embedded.weights import cache_folder
from oblix.settings import home


def test_a_missing_peer_is_a_skip_here_and_a_failure_in_ci(
    require: Callable[[object, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    require(True, "not told")
    with pytest.raises(pytest.skip.Exception, match="no peer"):
        require(False, "no peer")
    monkeypatch.setenv("CI", "true")
    require(True, "not told")
    with pytest.raises(pytest.fail.Exception, match="in CI this must not be missing: no peer"):
        require(None, "no peer")


def test_no_key_and_no_proxy_of_the_developers() -> None:
    assert [name for name in os.environ if name.endswith(("_API_KEY", "_BASE_URL")) or "proxy" in name.lower()] == []
    assert "OLLAMA_HOST" not in os.environ


def test_the_home_is_empty_but_for_the_machines_weights(tmp_path: Path) -> None:
    assert [path.name for path in home().iterdir()] == ["cache"]
    assert home().parent == tmp_path.parent
    assert cache_folder().is_symlink()
    assert not cache_folder().resolve().is_relative_to(home())


def test_blocking_the_loop_is_an_error() -> None:
    """Only under a function of ours; this one pretends to be."""
    code = compile("def sleepy():\n    time.sleep(0.001)\n", str(Path(cache_folder.__code__.co_filename)), "exec")
    space = {"time": time}
    exec(code, space)

    async def main() -> None:
        space["sleepy"]()  # type: ignore[operator]  # made above

    with pytest.raises(BlockingError):
        asyncio.run(main())
