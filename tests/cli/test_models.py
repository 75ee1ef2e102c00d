"""`oblix models`: what can be used here, with what is known of it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from oblix.cli.commands import models
from oblix.client import discovery
from oblix.models.memory import Room
from oblix.testing.engines import LMSTUDIO, OLLAMA, playing
from oblix.testing.ollama_options import OllamaOptions
from oblix.testing.ollama_server import OllamaServer

from .running import run

NOBODY = "http://127.0.0.1:9"


def rows(monkeypatch: pytest.MonkeyPatch, ram: int) -> list[tuple[str, str, str]]:
    async def room() -> Room:
        return Room(ram)

    monkeypatch.setattr(discovery, "free_memory", room)

    async def main() -> list[tuple[str, str, str]]:
        async with playing({**OLLAMA, "/api/ps": {"models": []}}) as ollama, playing(LMSTUDIO) as lmstudio:
            addresses = {"ollama": ollama.url, "lmstudio": lmstudio.url}
            monkeypatch.setattr(discovery, "usual_address", lambda name: addresses.get(name, NOBODY))
            return await models._engine_rows()

    return asyncio.run(main())


def test_each_model_of_each_engine_with_size_fit_and_window(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rows(monkeypatch, 64 * 10**9) == [
        ("ollama:llama3", "edge", "4.7 GB, fits, up to 8192 tokens"),
        ("ollama:nomic-embed-text", "edge", "274 MB, fits, up to 8192 tokens"),
        (
            "ollama:gpt-oss:120b-cloud",
            "cloud",
            "not used: ollama forwards it to https://ollama.com:443: it is no model of this machine",
        ),
        ("lmstudio:gemma-3-270m-it-qat", "edge", "241 MB, in memory, up to 4096 tokens"),
        (
            "lmstudio:text-embedding-nomic-embed-text-v1.5",
            "edge",
            "84 MB, fits, up to 2048 tokens, not used: it makes embeddings, and does not chat",
        ),
    ]


def test_what_does_not_fit_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    told = rows(monkeypatch, 10**9)[0][2]
    assert told.startswith("4.7 GB, up to 8192 tokens, not used: it takes 5.")
    assert told.endswith("and 1.0 GB are free")


def test_the_models_of_the_settings_file_say_whether_they_can_answer(tmp_path: Path) -> None:
    """The cloud is not asked: where there is a key, wherever it is kept, it may answer."""
    models = ("ollama:phi", "openai:gpt-4o-mini", "groq:llama", "mistral:small")
    (tmp_path / "oblix.toml").write_text("".join(f'[[model]]\nid = "{name}"\n' for name in models))
    (tmp_path / ".env").write_text("MISTRAL_API_KEY=" + "0123456789abcdef")
    done = run(tmp_path, "models", GROQ_API_KEY="gsk_" + "0123456789abcdef")
    assert done.returncode == 0, done.stderr
    ollama, openai, groq, mistral = (line for line in done.stdout.splitlines() if line.endswith("oblix.toml"))
    assert ollama.startswith("ollama:phi\tedge\tcannot answer: http://127.0.0.1:9: ")
    assert openai.startswith("openai:gpt-4o-mini\tcloud\tcannot answer: no API key was given")
    assert groq.startswith("groq:llama\tcloud\tmay answer: not asked here")
    assert mistral.startswith("mistral:small\tcloud\tmay answer: not asked here")


@pytest.mark.engine
def test_the_command_lists_a_real_engine(tmp_path: Path, weights: Path) -> None:
    with OllamaServer(OllamaOptions(weights, models=("phi",), port=0)) as server:
        done = run(tmp_path, "models", OLLAMA_HOST=server.url)
    assert done.returncode == 0, done.stderr
    assert "ollama:phi\tedge\t98 MB, fits, up to 8192 tokens" in done.stdout.splitlines()


@pytest.mark.engine
def test_the_command_tells_of_one_that_hangs(tmp_path: Path, weights: Path) -> None:
    with OllamaServer(OllamaOptions(weights, models=("phi",), port=0)) as server:
        os.kill(server.pid, signal.SIGSTOP)
        try:
            done = run(tmp_path, "models", OLLAMA_HOST=server.url)
        finally:
            os.kill(server.pid, signal.SIGCONT)
    assert done.returncode == 0, done.stderr
    assert f"ollama:\tedge\thung at {server.url}: it takes connections" in done.stdout
