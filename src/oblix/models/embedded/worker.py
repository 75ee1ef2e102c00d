"""The child process that holds the engine: reads `pipe` frames from standard input, writes them to standard output.

Started by `engine`. It imports next to nothing of Oblix, ignores Ctrl-C (its parent decides when it ends), and ends when its
parent does. Its exit code is 0 unless the engine took it down.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from oblix.models.embedded import pipe
from oblix.models.embedded.orphan import die_with_parent
from oblix.models.embedded.threads import free_threads

# Tokens read between two looks at the stop flag: a prompt being read is left after at most one batch. 64, 128 and 256 read
# equally quickly: 122, 129, 118 tokens a second (SmolLM2, 1 thread, busy 2-core machine, 2026-11).
_BATCH = 64
_SOCKET = "engine.sock"


class Host:
    """The engine, its questions under way, and the way out."""

    def __init__(self, out: int, home: Path) -> None:
        self._out = out
        self._home = home
        self._lock = threading.Lock()
        self._server: Any = None
        self._stops: dict[int, threading.Event] = {}

    def say(self, message: pipe.FromChild) -> None:
        """Write one frame; whoever cannot be told any more is gone, and so are we."""
        frame = memoryview(pipe.pack(message))
        try:
            with self._lock:
                while frame:
                    frame = frame[os.write(self._out, frame) :]
        except OSError:
            self.end()

    def end(self, code: int = 0) -> NoReturn:
        """Leave at once and leave nothing behind; the engine's threads may be anywhere, so no interpreter shutdown."""
        shutil.rmtree(self._home, ignore_errors=True)
        os._exit(code)

    def open(self, wish: pipe.Open) -> None:
        """Load the weights and say so; ends the process when they cannot be loaded."""
        try:
            import xllamacpp
        except ImportError as exc:
            self.say(pipe.Unloadable(str(exc), missing=True))
            self.end()
        threads = wish.threads or free_threads()
        params = xllamacpp.CommonParams()
        params.model.path = wish.path
        params.n_parallel = wish.slots
        params.n_ctx = wish.window * wish.slots
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.n_batch = params.n_ubatch = _BATCH
        params.cache_ram_mib = 0  # the default of 8192 looks like a leak: it grows with every distinct prompt
        params.verbosity = 1  # errors only; they go to standard error, whose end the parent keeps
        params.ui = False
        # The engine always listens. In a folder that only this user may enter, nobody else can talk to it.
        params.hostnames = [str(self._home / _SOCKET)]
        try:
            self._server = xllamacpp.Server(params)
        except RuntimeError as exc:
            self.say(pipe.Unloadable(str(exc)))
            self.end()
        self.say(pipe.Ready(self._window(wish.window), threads, self._continues()))

    def take(self, message: pipe.ToChild) -> None:
        """Act on one frame of the parent."""
        if isinstance(message, pipe.Ask):
            self._stops[message.id] = threading.Event()
            threading.Thread(target=self._answer, args=(message,), daemon=True).start()
        elif isinstance(message, pipe.Count):
            threading.Thread(target=self._count, args=(message,), daemon=True).start()
        elif isinstance(message, pipe.Ping):
            self.say(pipe.Pong())
        elif isinstance(message, pipe.Stop) and (stop := self._stops.get(message.id)):
            stop.set()

    def _answer(self, ask: pipe.Ask) -> None:
        stop = self._stops[ask.id]

        def on_chunk(chunk: dict[str, Any]) -> bool:
            # The engine swallows what is raised here, and goes on; so nothing may be.
            if not stop.is_set():
                try:
                    self.say(pipe.Piece(ask.id, chunk))
                except pipe.FrameError as exc:
                    self.say(pipe.Refused(ask.id, str(exc), bad_request=False))
                    stop.set()
            return stop.is_set()

        self.say(pipe.Begun(ask.id))
        try:
            self._server.handle_chat_completions(ask.body, on_chunk)
        except (ValueError, RuntimeError) as exc:
            # A RuntimeError tells of a number that JSON has no word for, such as NaN.
            self.say(
                pipe.Refused(ask.id, str(exc), bad_request=isinstance(exc, ValueError) or "parse_error" in str(exc))
            )
        finally:
            del self._stops[ask.id]
            self.say(pipe.Done(ask.id))

    def _count(self, count: pipe.Count) -> None:
        try:
            tokens = self._http("POST", "/v1/chat/completions/input_tokens", count.body)["input_tokens"]
            self.say(pipe.Counted(count.id, int(tokens)))
        except (OSError, ValueError, KeyError) as exc:
            self.say(pipe.Refused(count.id, f"{type(exc).__name__}: {exc}", bad_request=isinstance(exc, ValueError)))

    def _window(self, wished: int) -> int:
        """Tokens per slot; the engine rounds what was wished for up to whole blocks."""
        try:
            return int(self._http("GET", "/props", None)["default_generation_settings"]["n_ctx"])
        except (OSError, ValueError, KeyError):
            return wished

    def _continues(self) -> bool:
        """Whether the beginning of an answer simply follows the prompt.

        Where the template opens a thought, the engine closes it, empty, before what was said; but the answer came after a real one.
        """
        question = [{"role": "user", "content": "?"}]
        try:
            plain = self._http("POST", "/apply-template", {"messages": question})["prompt"]
            begun = self._http(
                "POST", "/apply-template", {"messages": [*question, {"role": "assistant", "content": "A"}]}
            )["prompt"]
        except (OSError, ValueError, KeyError):
            return False
        return bool(begun == plain + "A")

    def _http(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """Ask the engine over its own socket what cannot be asked in process: the tokenizer, and its settings."""
        import http.client
        import json
        import socket

        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30.0)
            sock.connect(str(self._home / _SOCKET))
            connection = http.client.HTTPConnection("localhost")
            connection.sock = sock
            head = {"Content-Type": "application/json", "Connection": "close"}
            connection.request(method, path, json.dumps(body) if body is not None else None, head)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        if "error" in answer:
            raise ValueError(str(answer["error"]))
        return answer


def frames(source: int) -> Iterator[pipe.ToChild]:
    """The parent's frames, until it closes the pipe."""
    with os.fdopen(source, "rb") as file:
        while len(header := file.read(pipe.HEADER)) == pipe.HEADER:
            yield pipe.unpack_to_child(file.read(pipe.body_length(header)))


def private_pipes() -> tuple[int, int]:
    """Move the pipe away from descriptors 0 and 1, so that no print of a native library gets into it."""
    source, out = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return source, out


def leave_no_core() -> None:
    """Have no image of this process written when it crashes: it holds prompts, and gigabytes of weights delay its end.

    One byte, because Linux hands images to programs such as apport and systemd-coredump (a pipe in `core_pattern`) whatever the limit is;
    but for this very one, which means: nothing, nowhere (`do_coredump` in fs/coredump.c).
    """
    if sys.platform != "win32":
        import resource

        most = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (1 if most else 0, most))


def main() -> None:
    """Serve the parent; the arguments are its process id and a folder of ours, which is removed at the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    leave_no_core()
    die_with_parent(int(sys.argv[1]))
    source, out = private_pipes()
    host = Host(out, Path(sys.argv[2]))
    code = 1
    try:
        wishes = frames(source)
        wish = next(wishes, None)
        if isinstance(wish, pipe.Open):
            host.open(wish)
            # Only now: while the engine loads it holds Python's lock, and a handler of ours would wait for it.
            signal.signal(signal.SIGTERM, lambda *_: host.end())
            for message in wishes:
                host.take(message)
        code = 0
    finally:
        if code:
            traceback.print_exc()
        host.end(code)


if __name__ == "__main__":
    main()
