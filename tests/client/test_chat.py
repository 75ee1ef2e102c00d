"""`execute(chat=True)`: a conversation on the terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from .outside import program

TALK = """
    import asyncio, sys
    from oblix import InvalidRequest, OblixClient
    from oblix.testing import Block, Fail, ScriptedModel

    model = ScriptedModel("ollama:phi", ["Hel", "lo!"], [Fail("connect", "gone")], "Bye!")
    client = OblixClient(store=":memory:")
    client.hook(model)

    def told():
        for request in model.requests:
            print([f"{message.role}: {message.text}" for message in request.messages])
"""


def test_it_asks_prints_and_remembers_until_exit(tmp_path: Path) -> None:
    ran = program(
        TALK
        + """
    reply = asyncio.run(client.execute("one", chat=True, system="be brief", session_id="s1", temperature=0.5, max_tokens=9))
    print(repr(reply.response), reply.session_id)
    told()
    print({(request.session_id, request.temperature, request.max_tokens) for request in model.requests})
""",
        tmp_path / "home",
        stdin="two\n\n   \nthree\nEXIT\nnever read\n",
    )
    assert ran.returncode == 0
    assert ran.stderr.startswith("No model could answer.\n  edge   ollama:phi: gone")
    lines = ran.stdout.splitlines()
    assert lines[0] == "Hello!"
    assert "'Bye!' s1" in lines[-5]
    assert lines[-4:] == [
        "['system: be brief', 'user: one']",
        "['system: be brief', 'user: one', 'assistant: Hello!', 'user: two']",
        "['system: be brief', 'user: one', 'assistant: Hello!', 'user: three']",
        "{('s1', 0.5, 9)}",
    ]


def test_it_reads_the_first_line_when_nothing_was_passed(tmp_path: Path) -> None:
    ran = program(
        TALK + "    print(repr(str(asyncio.run(client.execute(chat=True)))))\n",
        tmp_path / "home",
        stdin="hello\n",
    )
    assert (ran.stderr, ran.returncode) == ("", 0)
    assert ran.stdout.startswith("\nYou: Hello!\n")
    assert ran.stdout.endswith("'Hello!'\n")


def test_the_wishes_hold_for_every_turn(tmp_path: Path) -> None:
    ran = program(
        TALK
        + """
    model = ScriptedModel("ollama:phi", "yes", [Block()])
    client.hook(model)
    asyncio.run(client.execute("one", chat=True, deadline=2.0, private=True, display_metrics=True))
    print([request.private for request in model.requests])
""",
        tmp_path / "home",
        stdin="two\nexit\n",
    )
    assert ran.returncode == 0
    assert ran.stdout.endswith("[True, True]\n")
    assert ran.stderr.splitlines()[0].startswith("edge · ollama:phi")
    assert "within the deadline of 2 s" in ran.stderr


def test_a_conversation_in_which_nothing_was_answered_is_a_clear_error(tmp_path: Path) -> None:
    for stdin in ("", "exit\n", "\n\n"):
        ran = program(
            TALK
            + """
    try:
        asyncio.run(client.execute(chat=True))
    except InvalidRequest as error:
        print(error)
""",
            tmp_path / "home",
            stdin=stdin,
        )
        assert (ran.stderr, ran.returncode) == ("", 0)
        assert ran.stdout.endswith("The conversation ended before anything was answered. [OBX-INVALID]\n")


def test_a_terminal_that_cannot_be_read_is_the_end_of_the_conversation(tmp_path: Path) -> None:
    """No terminal at all, or bytes that are no text: never a hang."""
    for spoil in ("sys.stdin = None", "sys.stdin.close()", "sys.stdin = open('/dev/full', 'w')"):
        ran = program(
            TALK
            + f"""
    {spoil}
    print(repr(str(asyncio.run(client.execute("one", chat=True)))))
""",
            tmp_path / "home",
            flags=("-X", "utf8"),
        )
        assert (ran.stderr, ran.returncode) == ("", 0), spoil
        assert ran.stdout.endswith("'Hello!'\n")


def test_ctrl_c_while_it_waits_for_a_line_ends_the_program(tmp_path: Path) -> None:
    """The thread that reads must not hold up, or break, the exit."""
    source = tmp_path / "program.py"
    source.write_text(
        textwrap.dedent(
            TALK
            + """
    import threading

    def ready():
        print("ready", flush=True)

    async def main():
        asyncio.get_running_loop().call_later(0.3, ready)
        await client.execute("one", chat=True)

    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    """
        )
    )
    with subprocess.Popen(
        [sys.executable, "-X", "dev", str(source)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OBLIX_HOME": str(tmp_path)},
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        for line in child.stdout:
            if "ready" in line:
                break
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 0
        assert child.stdout.read() == "interrupted\n"
        assert child.stderr.read() == ""
