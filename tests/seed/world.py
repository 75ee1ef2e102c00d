"""The world that the programs run in: two namespaces, an Ollama-protocol server at home, an OpenAI-protocol server away."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from contextlib import ExitStack
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Self

from oblix.models.embedded.serve import LlamaServer, ServeOptions
from oblix.testing.netns import NetworkPair
from oblix.testing.ollama_options import OllamaOptions
from oblix.testing.ollama_server import OllamaServer

MAX_ANSWER = 24  # tokens, capped by the servers: the matrix is about who answers
DIES_AFTER = 5  # tokens
OBLIX_HOME = "oblix"  # folder inside the home of a program
READINGS = Path(__file__).with_name("idle_machine.json")
_PLACEHOLDER = "your_openai_api_key"  # as the page writes it
_COUNT = """
import json, os, sys, urllib.request
body = {"messages": [{"role": "user", "content": sys.argv[1]}]}
request = urllib.request.Request(os.environ["URL"], json.dumps(body).encode())
request.add_header("Authorization", "Bearer " + os.environ["KEY"])
request.add_header("Content-Type", "application/json")
print(json.load(urllib.request.urlopen(request, timeout=30))["input_tokens"])
"""


class Condition(StrEnum):
    """What is up and what is down."""

    ALL_UP = "all up"
    NO_OLLAMA = "no Ollama"
    NO_KEYS = "no keys"
    PLACEHOLDER = "placeholder keys"
    NO_NETWORK = "no network at all"
    KILLED = "Ollama killed mid-answer"


class World:
    """Real servers in real namespaces, for `with`; `prepare` brings them into a condition.

    Args:
        weights: A GGUF file; all servers answer from the same one.
    """

    def __init__(self, weights: Path) -> None:
        self.network = NetworkPair()
        self._weights = weights
        # Random, so that no list of well-known placeholders can ever hold it.
        self._key = f"sk-{secrets.token_hex(24)}"
        self._ollama: OllamaServer | None = None
        self._is_doomed = False  # it is to die in its next answer
        self._exit = ExitStack()
        self._openai = LlamaServer(
            ServeOptions(
                weights,
                host=self.network.away_address,
                alias="gpt-3.5-turbo",
                api_key=self._key,
                max_answer=MAX_ANSWER,
            ),
            prefix=self.network.in_away,
        )
        self.prompt_tokens = cache(self._count_tokens)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.network)
            stack.enter_context(self._openai)
            stack.callback(self._stop_ollama)
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._exit.close()

    def prepare(self, condition: Condition) -> None:
        """Start and stop what the condition says; with no network, the cable is left to `pull_link`."""
        self.network.plug_link()
        if self._is_doomed:  # who was not asked lives on, and would die in somebody else's answer
            self._stop_ollama()
        self._is_doomed = condition is Condition.KILLED
        if condition is Condition.NO_OLLAMA:
            self._stop_ollama()
        elif condition is Condition.KILLED:
            self._stop_ollama()
            self._start_ollama(die_after_tokens=DIES_AFTER)
        elif self._ollama is None or not self._ollama.is_alive:
            self._start_ollama()

    def ollama_was_killed(self) -> bool:
        """Whether the Ollama server ended by SIGKILL, as it does in mid-answer when told to."""
        return self._ollama is not None and self._ollama.exit_code == -signal.SIGKILL

    def environment(self, condition: Condition, home: Path) -> dict[str, str]:
        """All the environment variables a program gets: nothing of ours leaks in.

        Args:
            home: An empty folder of its own.
        """
        keys = {Condition.NO_KEYS: {}, Condition.PLACEHOLDER: {"OPENAI_API_KEY": _PLACEHOLDER}}
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(home),
            "OBLIX_HOME": str(home / OBLIX_HOME),
            "OBLIX_READINGS": str(READINGS),
            "OPENAI_BASE_URL": f"{self._openai.url}/v1",
            **keys.get(condition, {"OPENAI_API_KEY": self._key}),
        }

    def command(self, *arguments: str) -> list[str]:
        """A command line that runs our Python in `home`."""
        return [*self.network.in_home, sys.executable, *arguments]

    def _count_tokens(self, prompt: str) -> int:
        url = f"{self._openai.url}/v1/chat/completions/input_tokens"
        counted = subprocess.run(
            self.command("-c", _COUNT, prompt), env={"URL": url, "KEY": self._key}, check=True, capture_output=True
        )
        return int(counted.stdout)

    def _start_ollama(self, die_after_tokens: int | None = None) -> None:
        self._stop_ollama()
        options = OllamaOptions(
            self._weights, ("llama2", "phi"), max_answer=MAX_ANSWER, die_after_tokens=die_after_tokens
        )
        self._ollama = OllamaServer(options, prefix=self.network.in_home).start()

    def _stop_ollama(self) -> None:
        if self._ollama is not None:
            self._ollama.stop()
            self._ollama = None
