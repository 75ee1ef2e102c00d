"""One program as a process of its own: started, talked to, waited for."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PROMPT = "\nYou: "
_AFTER_ABORT = 5.0  # seconds for a hung program to print its stacks


@dataclass(frozen=True, slots=True)
class Turn:
    """One line typed at the program's prompt; `before` happens while the program sits there waiting for it."""

    say: str
    before: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a program; `code` is negative when a signal ended it, `hung` when that was ours after the deadline."""

    stdout: str
    stderr: str
    code: int
    seconds: float
    hung: bool = False


class _Listener:
    """Collects what comes out of a pipe, so that somebody can wait for a certain text."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._heard = bytearray()
        self._news = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while piece := self._pipe.read1(4096):  # type: ignore[attr-defined]  # the pipes of Popen are buffered readers
            with self._news:
                self._heard += piece
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_for(self, text: str, times: int, seconds: float) -> bool:
        """Wait until `text` was heard so often; `False` when the pipe ended or the time was over first."""
        wanted = text.encode()
        with self._news:
            self._news.wait_for(lambda: self._ended or self._heard.count(wanted) >= times, timeout=max(seconds, 0))
            return self._heard.count(wanted) >= times

    def text(self) -> str:
        """All that was heard, once the process is gone."""
        self._thread.join(_AFTER_ABORT)
        return self._heard.decode(errors="backslashreplace")


def run(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path, script: Sequence[Turn] = (), deadline: float = 60.0
) -> Ran:
    """Run a program to its end.

    Args:
        script: What is typed, one turn per prompt; without turns its standard input is empty.
        deadline: Seconds; after that it is aborted, and its stacks stand in `stderr`.
    """
    started = time.monotonic()
    end = started + deadline
    with subprocess.Popen(
        command,
        env={**env, "PYTHONFAULTHANDLER": "1"},
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        out, err = _Listener(process.stdout), _Listener(process.stderr)
        try:
            _talk(process.stdin, out, script, end)
            hung = _wait(process, end)
        finally:
            process.kill()
        return Ran(out.text(), err.text(), process.wait(), time.monotonic() - started, hung)


def _talk(keyboard: IO[bytes], out: _Listener, script: Sequence[Turn], end: float) -> None:
    try:
        for number, turn in enumerate(script, start=1):
            if not out.wait_for(PROMPT, number, end - time.monotonic()):
                return
            if turn.before is not None:
                turn.before()
            keyboard.write(f"{turn.say}\n".encode())
            keyboard.flush()
        keyboard.close()
    except BrokenPipeError:
        pass  # the program has ended; its exit code and output say why


def _wait(process: subprocess.Popen[bytes], end: float) -> bool:
    try:
        process.wait(max(end - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        try:
            process.wait(_AFTER_ABORT)
        except subprocess.TimeoutExpired:
            process.kill()
        return True
    return False
