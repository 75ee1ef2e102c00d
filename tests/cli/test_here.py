"""What the command line answers with, when nobody told it: a settings file wins, then what runs here; a key hooks nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from oblix import ConfigurationError, OblixClient
from oblix.cli import here
from oblix.cli.here import hook_what_is_here
from oblix.client import discovery
from oblix.settings import load
from oblix.testing.engines import OLLAMA, playing

KEY = "sk-" + "0123456789abcdef"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def nothing_is_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    addresses = dict.fromkeys(("ollama", "lmstudio", "llamacpp", "vllm"), NOBODY)
    monkeypatch.setattr(discovery, "usual_address", addresses.__getitem__)
    monkeypatch.setattr(discovery, "small_model", lambda: None)
    monkeypatch.chdir(tmp_path)
    settings = load()  # outside of the loop, where the command line reads it inside of its own
    monkeypatch.setattr(here, "load", lambda: settings)
    return addresses


def hooked(wanted: str | None = None, *, required: bool = True) -> tuple[list[str], list[str]]:
    async def main() -> tuple[list[str], list[str]]:
        async with OblixClient(store=":memory:") as client:
            await hook_what_is_here(client, wanted, required=required)
            return list(client.models), list(client.agents)

    return asyncio.run(main())


def test_the_models_of_an_engine_that_runs(nothing_is_here: dict[str, str]) -> None:
    async def main() -> list[str]:
        async with playing({**OLLAMA, "/api/show": {}}) as played, OblixClient(store=":memory:") as client:
            nothing_is_here["ollama"] = played.url
            await hook_what_is_here(client, None)
            return list(client.models)

    assert asyncio.run(main()) == ["ollama:llama3"]


def test_nothing_is_an_error_unless_it_may_be() -> None:
    with pytest.raises(ConfigurationError, match="no model here"):
        hooked()
    assert hooked(required=False) == ([], [])


def test_a_model_that_is_asked_for_is_hooked_whatever_is_here() -> None:
    assert hooked("openai:gpt-4o-mini") == (["openai:gpt-4o-mini"], [])
    with pytest.raises(ConfigurationError, match="no model id"):
        hooked("gpt")


def test_a_key_hooks_nothing_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert hooked(required=False) == ([], [])


def test_a_settings_file_wins(nothing_is_here: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "oblix.toml").write_text('[[model]]\nid = "ollama:phi"\n')
    settings = load()
    monkeypatch.setattr(here, "load", lambda: settings)

    async def main() -> list[str]:
        async with playing(OLLAMA) as played, OblixClient(store=":memory:") as client:
            nothing_is_here["ollama"] = played.url
            await hook_what_is_here(client, None)
            assert played.asked == []
            return list(client.models)

    assert asyncio.run(main()) == ["ollama:phi"]
