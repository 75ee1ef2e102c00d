"""A real llama.cpp HTTP server on loopback, for the demo, the tests and the benchmarks.

``python -m oblix.models.embedded.serve --model FILE.gguf`` prints one line, ``ready http://HOST:PORT``, once it can
answer, and runs until its standard input ends (so it dies with its parent, however that one died) or until SIGTERM.
`LlamaServer` starts it as a child.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Self

from oblix.errors import ConfigurationError
from oblix.models.embedded.orphan import command, exit_at_end_of_input

_BATCH = 64  # tokens; short, so that a prompt being read does not hold up the other slots for long
_NOT_STARTED = "The llama.cpp server was not started."
_START_IT = "enter it with `with`, or call start()"


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How to serve.

    Attributes:
        port: 0 lets the system choose.
        window: Tokens per slot.
        max_answer: Tokens of an answer when the request names no limit; a request that names one gets its own, also a
            larger one (tried with xllamacpp 2026.10.11549).
        api_key: Asked of every request but `/health`; `None` asks for none.
    """

    model: Path
    _: KW_ONLY
    host: str = "127.0.0.1"
    port: int = 0
    alias: str = "smollm2"
    api_key: str | None = None
    threads: int = 1
    slots: int = 1
    window: int = 2048
    max_answer: int | None = None

    def arguments(self) -> list[str]:
        """The command line that says the same."""
        given = {
            "--model": self.model,
            "--host": self.host,
            "--port": self.port,
            "--alias": self.alias,
            "--api-key": self.api_key,
            "--threads": self.threads,
            "--slots": self.slots,
            "--window": self.window,
            "--max-answer": self.max_answer,
        }
        return [f"{name}={value}" for name, value in given.items() if value is not None]


class LlamaServer:
    """The server as a child process, for `with`, `async with`, or `start()` and `stop()`.

    Args:
        options: What to serve, and how.
        prefix: Words put before the command, e.g. `("ip", "netns", "exec", "ns1")`.
        deadline: Seconds until it must have said `ready`.
    """

    def __init__(self, options: ServeOptions, *, prefix: Sequence[str] = (), deadline: float = 60.0) -> None:
        self.options = options
        self._prefix = tuple(prefix)
        self._deadline = deadline
        self._child: subprocess.Popen[bytes] | None = None
        self._url: str | None = None

    @property
    def url(self) -> str:
        """The base address, without a path."""
        if self._url is None:
            raise ConfigurationError(
                "The llama.cpp server was not started.", hint="enter it with `with`, or call start()"
            )
        return self._url

    @property
    def pid(self) -> int:
        """The child's process id."""
        if self._child is None:
            raise ConfigurationError(
                "The llama.cpp server was not started.", hint="enter it with `with`, or call start()"
            )
        return self._child.pid

    def start(self) -> Self:
        """Start the child and wait until it can answer.

        Raises:
            ConfigurationError: It ended, or did not get ready in time; the message carries its last words.
        """
        with tempfile.TemporaryFile() as log:
            self._child = child = subprocess.Popen(
                [*self._prefix, *command("oblix.models.embedded.serve", *self.options.arguments())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"},
                start_new_session=True,  # a Ctrl-C on the terminal is for the parent; the end of our standard input ends the child
            )
            line = self._first_line(child)
            if line.startswith("ready "):
                self._url = line.removeprefix("ready ").strip()
                return self
            self.kill()
            log.seek(0)
            said = log.read()[-2000:].decode(errors="replace").strip()
            raise ConfigurationError(
                f"The llama.cpp server for {str(self.options.model)!r} did not start: {said or 'no word'}"
            )

    def _first_line(self, child: subprocess.Popen[bytes]) -> str:
        """What the child says first, or an empty string when it ends or says nothing in time."""
        assert child.stdout is not None
        lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        # A thread, because a pipe cannot be waited for with a deadline on every system.
        threading.Thread(target=lambda out: lines.put(out.readline()), args=(child.stdout,), daemon=True).start()
        try:
            return lines.get(timeout=self._deadline).decode()
        except queue.Empty:
            return ""

    def stop(self) -> None:
        """End the child: by closing its input, and after 5 s by force. Stopping twice does no harm."""
        self._end(wait=5.0)

    def kill(self) -> None:
        """End the child at once, as a crash would."""
        if self._child is not None:
            self._child.kill()
        self._end(wait=5.0)

    def _end(self, *, wait: float) -> None:
        child, self._child, self._url = self._child, None, None
        if child is None:
            return
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.close()
        try:
            child.wait(wait)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdout.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.to_thread(self.stop)


def parse(arguments: Sequence[str]) -> ServeOptions:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m oblix.models.embedded.serve", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="a GGUF file")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 lets the system choose")
    parser.add_argument("--alias", default="smollm2", help="the model's name in requests")
    parser.add_argument("--api-key", default=None, help="ask for this key")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--slots", type=int, default=1, help="requests answered at the same time")
    parser.add_argument("--window", type=int, default=2048, help="tokens per slot")
    parser.add_argument(
        "--max-answer", type=int, default=None, help="tokens of an answer where the request names no limit"
    )
    return ServeOptions(**vars(parser.parse_args(arguments)))


def open_server(options: ServeOptions) -> Any:
    """Load the model and open the port; the server lives as long as the object."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(options.model)
    params.model_alias = {options.alias}
    params.hostnames = [options.host]
    params.port = options.port
    params.n_parallel = options.slots
    params.n_ctx = options.window * options.slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
    params.n_batch = params.n_ubatch = _BATCH
    params.cache_ram_mib = 0  # the default of 8192 grows with every distinct prompt
    params.verbosity = 0
    params.ui = False
    if options.api_key:
        params.api_keys = [options.api_key]
    if options.max_answer is not None:
        params.n_predict = options.max_answer
    return xllamacpp.Server(params)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until standard input ends."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    exit_at_end_of_input()
    if not options.model.is_file():
        print(f"no such file: {str(options.model)!r}", file=sys.stderr)  # noqa: T201 - the parent reads it
        return 1
    try:
        server = open_server(options)
    except RuntimeError as exc:
        print(f"cannot load {str(options.model)!r}: {exc}", file=sys.stderr)  # noqa: T201 - the parent reads it
        return 1
    print(f"ready {server.listening_address}", flush=True)  # noqa: T201 - this line is the interface
    os.dup2(2, 1)  # nobody reads on: a native library that printed much would stand still
    threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
