"""The command line of the Ollama test server."""

from __future__ import annotations

from pathlib import Path

import pytest

from oblix.testing.ollama_options import OllamaOptions


def test_help_says_what_it_is_and_when_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        OllamaOptions.parse(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert "Ollama's protocol in front of a real llama.cpp model" in told
    assert "runs until its standard input ends" in told


def test_the_command_line_says_what_the_value_says() -> None:
    options = OllamaOptions(Path("model.gguf"), ("phi", "llama3"), port=0, max_answer=12, cuts_prompts=True)
    assert OllamaOptions.parse(options.arguments()) == options
