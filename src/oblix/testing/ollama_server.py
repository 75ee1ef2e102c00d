"""A server that speaks Ollama's protocol in front of a real llama.cpp model, and can be killed in mid-answer.

``python -m oblix.testing.ollama_server --weights FILE.gguf --model llama2 --model phi`` prints ``ready URL`` once it can
answer and runs until its standard input ends. Several names may share the one set of weights. `OllamaServer` starts it as a
child. No Ollama is needed; the shapes follow its API documentation (https://github.com/ollama/ollama/blob/main/docs/api.md).
"""

from __future__ import annotations

import asyncio
import queue
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from typing import Self

from oblix.errors import ConfigurationError
from oblix.models.embedded.orphan import exit_at_end_of_input
from oblix.models.embedded.serve import LlamaServer, ServeOptions
from oblix.testing.ollama_options import OllamaOptions

_LONGEST_LINE = 1 << 20  # bytes; an engine's chunk is far shorter


class OllamaServer:
    """The server as a child process, for `with`, or `start()` and `stop()`.

    Args:
        options: What to serve, and how.
        prefix: Words put before the command, e.g. `("ip", "netns", "exec", "ns1")`.
        deadline: Seconds until it must have said `ready`.
    """

    def __init__(self, options: OllamaOptions, *, prefix: Sequence[str] = (), deadline: float = 60.0) -> None:
        self.options = options
        self.url = ""
        self._command = [*prefix, sys.executable, "-m", "oblix.testing.ollama_server", *options.arguments()]
        self._deadline = deadline
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The child's process id."""
        if self._child is None:
            raise ConfigurationError(
                "The Ollama test server was not started.", hint="enter it with `with`, or call start()"
            )
        return self._child.pid

    @property
    def is_alive(self) -> bool:
        """Whether the child runs."""
        return self._child is not None and self._child.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How the child ended (negative: the signal), `None` while it runs or before it did."""
        return None if self._child is None else self._child.poll()

    def start(self) -> Self:
        """Start the child and wait until it can answer.

        Raises:
            ConfigurationError: It ended, or did not get ready in time; the message carries its last words.
        """
        with tempfile.TemporaryFile() as log:
            self._child = child = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
            line = self._first_line(child)
            if line.startswith("ready "):
                self.url = line.removeprefix("ready ").strip()
                return self
            self.stop()
            log.seek(0)
            said = log.read()[-2000:].decode(errors="replace").strip()
            raise ConfigurationError(f"The Ollama test server did not start: {said or 'no word'}")

    def _first_line(self, child: subprocess.Popen[bytes]) -> str:
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
        child = self._child
        if child is None or child.stdin is None or child.stdout is None:
            return
        child.stdin.close()
        try:
            child.wait(5.0)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdout.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()


async def serve(options: OllamaOptions) -> None:
    """Start the engine and the server, say `ready`, and run until the task is cancelled."""
    from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

    from oblix.testing.ollama_app import Engine, OllamaApp, errors_as_json

    key = secrets.token_hex()
    inner = ServeOptions(
        options.weights, api_key=key, threads=options.threads, slots=options.slots, window=options.window
    )
    # A connection each: llama.cpp's server closes kept ones when it likes, and a POST that meets that moment fails
    # (ServerDisconnectedError, seen once in some hundred requests of the seed matrix).
    session = ClientSession(
        connector=TCPConnector(force_close=True), timeout=ClientTimeout(total=None), read_bufsize=_LONGEST_LINE
    )
    async with LlamaServer(inner) as llama, session:
        engine = Engine(llama.url, llama.pid, key, session=session)
        await engine.meet()
        app = web.Application(middlewares=[errors_as_json], client_max_size=64 << 20)
        app.add_routes(OllamaApp(options, engine).routes())
        # A client that hangs up frees the engine at once, as with Ollama.
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, options.host, options.port).start()
            host, port = runner.addresses[0][:2]
            print(f"ready http://{host}:{port}", flush=True)  # noqa: T201 - this line is the interface
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until standard input ends."""
    options = OllamaOptions.parse(sys.argv[1:] if arguments is None else arguments)
    exit_at_end_of_input()
    asyncio.run(serve(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
