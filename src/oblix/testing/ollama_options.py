"""How the Ollama test server is to serve: its command line as a value."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class OllamaOptions:
    """How to serve.

    Attributes:
        models: The names that count as pulled.
        port: 0 lets the system choose.
        window: Tokens that prompt and answer may have together; a request's `num_ctx` can only make it smaller.
        max_answer: The server's own cap on the tokens of an answer; a request's `num_predict` can only make it smaller.
        die_after_tokens: Kill this process, for real, once it has sent so many tokens of an answer.
        load_seconds: How long it takes to bring a model into memory: at first, after its `keep_alive`, and for another window.
        cuts_prompts: Leave out the oldest turns of a prompt that does not fit, whatever `truncate` says, as Ollama did before it knew
            that field.
    """

    weights: Path
    models: tuple[str, ...] = ("llama2",)
    _: KW_ONLY
    host: str = "127.0.0.1"
    port: int = 11434
    threads: int = 1
    slots: int = 1
    window: int = 4096
    max_answer: int | None = None
    die_after_tokens: int | None = None
    load_seconds: float = 0.0
    cuts_prompts: bool = False

    def arguments(self) -> list[str]:
        """The command line that says the same."""
        given = {
            "--weights": self.weights,
            "--host": self.host,
            "--port": self.port,
            "--threads": self.threads,
            "--slots": self.slots,
            "--window": self.window,
            "--max-answer": self.max_answer,
            "--die-after-tokens": self.die_after_tokens,
            "--load-seconds": self.load_seconds,
        }
        flags = [f"{name}={value}" for name, value in given.items() if value is not None]
        flags += ["--cuts-prompts"] if self.cuts_prompts else []
        return [*flags, *(f"--model={name}" for name in self.models)]

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Self:
        """Read the command line."""
        parser = argparse.ArgumentParser(
            prog="python -m oblix.testing.ollama_server",
            description="Speak Ollama's protocol in front of a real llama.cpp model. Prints `ready URL` once it can answer, and runs "
            "until its standard input ends: in the background give it one that stays open, e.g. `sleep 900 | python -m ...`.",
        )
        parser.add_argument("--weights", type=Path, required=True, help="a GGUF file")
        parser.add_argument("--model", dest="models", action="append", help="a name that counts as pulled; repeatable")
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=11434, help="0 lets the system choose")
        parser.add_argument("--threads", type=int, default=1)
        parser.add_argument("--slots", type=int, default=1, help="requests answered at the same time")
        parser.add_argument("--window", type=int, default=4096, help="tokens of prompt and answer together")
        parser.add_argument("--max-answer", type=int, help="tokens of an answer at most")
        parser.add_argument("--die-after-tokens", type=int, help="SIGKILL this process after so many tokens")
        parser.add_argument("--load-seconds", type=float, default=0.0, help="how long a model is brought into memory")
        parser.add_argument(
            "--cuts-prompts",
            action="store_true",
            help="leave out the oldest turns of a prompt that does not fit, whatever `truncate` says, as old servers do",
        )
        given = vars(parser.parse_args(arguments))
        return cls(**{**given, "models": tuple(given["models"] or ("llama2",))})
