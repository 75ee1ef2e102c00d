"""On a terminal of its own (pty): what servers and models say is shown there, and never obeyed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from oblix.cli.render import json_line, show_story, table
from oblix.decision.layout import Part
from oblix.models.classify import classify
from oblix.testing.faults import FaultServer, Upstream
from oblix.testing.faults.wires import ErrorWords

from .running import environment, run

EVIL = "bad \x1b]52;c;ZXZpbA==\x07 \x1b[2J \x9b2J \x08\x08 thing"  # writes into the clipboard, clears the screen, overwrites
OUR_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
HALF = "caf\udce9"  # as an argument in Latin-1 arrives


def on_a_terminal(home: Path, *args: str, typed: str = "", **variables: str) -> str:
    """What a terminal gets to see of `oblix ARGS`, but for line ends and colours of our own."""
    parent, child = os.openpty()
    os.write(parent, typed.encode())
    with subprocess.Popen(
        [sys.executable, "-m", "oblix", *args],
        env=environment(home, **variables, TERM="xterm"), cwd=home, stdin=child, stdout=child, stderr=child,
    ) as process:  # fmt: skip
        os.close(child)
        told = b""
        try:
            while piece := os.read(parent, 4096):
                told += piece
        except OSError:  # the other side has gone
            pass
        process.wait(60)
    os.close(parent)
    return OUR_COLOURS.sub("", told.decode()).replace("\r\n", "\n")


def with_a_provider(of: Callable[[Upstream], str]) -> str:
    """Ask one that refuses everything, with words of its own."""

    async def main() -> str:
        async with FaultServer() as server:
            up = server.upstream("cloud", wire="openai")
            up.rules = lambda _: ErrorWords(
                ("invalid_request_error", None, EVIL), ("invalid_request_error", EVIL), EVIL
            )
            return await asyncio.to_thread(of, up)

    return asyncio.run(main())


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such terminals")
@pytest.mark.parametrize(
    ("args", "typed"),
    [(("ask", "-m", "openai:played", "hello"), ""), (("chat", "-m", "openai:played"), "hello\nexit\n")],
    ids=["ask", "chat"],
)
def test_the_words_of_a_server_do_not_steer_the_terminal(args: tuple[str, ...], typed: str, tmp_path: Path) -> None:
    def ask(up: Upstream) -> str:
        return on_a_terminal(tmp_path, *args, typed=typed, OPENAI_BASE_URL=up.url, OPENAI_API_KEY="sk-" + "played")

    told = with_a_provider(ask)
    assert "answered HTTP 400: bad" in told
    assert [sign for sign in told if not sign.isprintable() and sign not in "\n\t"] == []


def test_an_error_quotes_its_peer_on_one_line() -> None:
    """Wherever it is shown or logged; a second line could be taken for another entry of a log."""
    said = classify(400, json.dumps({"error": {"message": f"{EVIL}\nWARNING all is well"}}).encode()).message
    assert said.isprintable()
    assert "thing WARNING all is well" in said


def test_a_table_and_a_story_do_not_steer_either(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert not re.search(r"[\x07\x1b\x9b]", table(("model", "why"), [("ollama:x", EVIL)]))
    show_story([Part(lines=(EVIL, "全角\u3000空白 می\u200cخواهم 5\u202f€"))])
    told = capsys.readouterr().out
    assert not re.search(r"[\x07\x1b\x9b]", told)
    assert "全角\u3000空白 می\u200cخواهم 5\u202f€" in told


@pytest.mark.parametrize("value", [EVIL, HALF, "\x7f", "grün 全角", "\U0001f511"])
def test_a_line_of_json_says_it_all_and_steers_nothing(value: str) -> None:
    line = json_line({"said": value})
    assert json.loads(line) == {"said": value}
    assert b"\n" not in line
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", line.decode())


@pytest.mark.parametrize(
    "args",
    [
        ("route", "--json", "-m", f"ollama:{HALF}", HALF),
        ("why", "--json", HALF),
    ],
)
def test_halves_of_characters_end_in_no_traceback(args: tuple[str, ...], tmp_path: Path) -> None:
    done = run(tmp_path, *args)
    assert "Traceback" not in done.stderr
    if "--json" in args:
        json.loads(done.stdout or done.stderr)
