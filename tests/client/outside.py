"""Programs of their own, and a small real server for them to talk to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

STRICT = ("-W", "error")
DEV = ("-W", "error", "-X", "dev")  # also tells of what was not closed


def program(
    text: str,
    home: Path,
    *arguments: str,
    flags: tuple[str, ...] = STRICT,
    stdin: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program from a file of its own; the time limit only guards against hanging."""
    home.mkdir(exist_ok=True)
    source = home / "program.py"
    source.write_text(textwrap.dedent(text))
    return subprocess.run(
        [sys.executable, *flags, str(source), *arguments],
        capture_output=True,
        text=True,
        input=stdin,
        timeout=60,
        check=False,
        cwd=home,
        env={**os.environ, "OBLIX_HOME": str(home), **(environ or {})},
    )


class _Handler(BaseHTTPRequestHandler):
    """Ollama's and OpenAI's protocols, as far as one answer needs them."""

    protocol_version = "HTTP/1.1"  # connections are kept, which is what leaving quietly is about

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        said = f"you said {asked['messages'][-1]['content']}"
        if self.path.endswith("/api/chat"):
            self._begin("application/x-ndjson")
            self._send(json.dumps({"message": {"content": said}}) + "\n")
            self._wait(asked)
            self._send(
                json.dumps({"done": True, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2}) + "\n"
            )
        else:
            self._begin("text/event-stream")
            self._send("data: " + json.dumps({"choices": [{"delta": {"content": said}}]}) + "\n\n")
            self._wait(asked)
            self._send("data: " + json.dumps({"choices": [{"delta": {}, "finish_reason": "stop"}]}) + "\n\n")
            self._send("data: [DONE]\n\n")
        self._send("")

    def do_GET(self) -> None:
        self._begin("application/json")
        self._send("{}")
        self._send("")

    def _begin(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def _send(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _wait(self, asked: Mapping[str, Any]) -> None:
        if asked["messages"][-1]["content"] == "hang":
            self.connection.settimeout(50)
            self.rfile.read(1)  # until the client hangs up

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name in the standard library
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news."""


@contextmanager
def small_server() -> Iterator[str]:
    """Its address."""
    server = _Server(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def wait_until_gone(pid: int) -> None:
    """Until a process has ended."""
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, "it never ended"
        time.sleep(0.01)
