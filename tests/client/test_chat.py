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


def test_it_says_why_an_answer_was_cut_off_and_tells_no_model_of_it_again(tmp_path: Path) -> None:
    ran = program(
        TALK
        + """
    from oblix.types.chunk import End
    model = ScriptedModel("ollama:phi", ["Hel", End("budget")], ["Hel", End("content_filter")], "Bye!")
    client.hook(model)
    asyncio.run(client.execute("one", chat=True))
    told()
""",
        tmp_path / "home",
        stdin="two\n/load\nthree\nexit\n",
    )
    assert ran.returncode == 0
    assert ran.stderr.splitlines() == [
        "[the answer was cut off: a budget has no more room; it is kept, and not told to a model again]",
        "[the answer was cut off: its provider filtered it; it is kept, and not told to a model again]",
        "The id of a session is empty. [OBX-INVALID]",
        "hint: Leave it out, or name one.",
    ]
    assert ran.stdout.splitlines()[-3:] == ["You: ['user: one']", "['user: two']", "['user: three']"]


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


def test_it_is_kept_in_a_session_and_goes_on_there(tmp_path: Path) -> None:
    text = """
        import asyncio, sys
        from oblix import OblixClient
        from oblix.testing import ScriptedModel

        model = ScriptedModel("ollama:phi", "Hello!", "Again!")
        client = OblixClient()
        client.hook(model)

        async def main():
            session = await client.start_chat(sys.argv[1] if sys.argv[1:] else None)
            print(session == client.current_session_id, session)
            print([f"{each.role}: {each.text}" for each in model.requests[-1].messages])

        asyncio.run(main())
    """
    first = program(text, tmp_path / "home", stdin="one\nexit\n")
    assert (first.stderr, first.returncode) == ("", 0)
    assert first.stdout.startswith("\nYou: Hello!\n\nYou: True ")
    session = first.stdout.splitlines()[-2].rpartition(" ")[2]
    second = program(text, tmp_path / "home", session, stdin="two\nexit\n")
    assert second.stdout.splitlines()[-1] == "['user: one', 'assistant: Hello!', 'user: two']"


def test_the_commands(tmp_path: Path) -> None:
    ran = program(
        """
    import asyncio
    from oblix import OblixClient
    from oblix.testing import ScriptedModel

    home, away = ScriptedModel("ollama:phi", "at home"), ScriptedModel("openai:gpt", "in the cloud")
    client = OblixClient()
    client.hook(home)
    client.hook(away)
    asyncio.run(client.chat_streaming("first"))
    print([request.private for request in home.requests + away.requests])
    print([f"{each.role}: {each.text}" for each in home.requests[-1].messages])
    """,
        tmp_path / "home",
        stdin="\n".join(
            ["one", "/cloud", "two", "/metrics", "/edge", "three", "/why", "/auto", "/private on", "four", "/cloud",
             "five", "/list", "/new", "/load fir", "/status", "/private off", "/auto", "seven", "/help",
             "/nonsense", "/usr/bin is what?", "/private maybe", "/load nowhere", "quit"]
        ),
    )  # fmt: skip
    assert ran.returncode == 0
    said = ran.stdout
    assert "You: at home\n" in said
    assert "You: in the cloud\n" in said
    assert "cloud · openai:gpt" in said
    assert "ollama:phi (edge) answered" in said
    assert "* first" in said
    assert "one: 8 messages." in said
    assert "ollama:phi (edge): " in said
    assert "/private  Keep what is said at home: /private on, /private off." in said
    assert "[OBX-INVALID]" in ran.stderr
    assert "No cloud model may answer this (openai:gpt: private prompts stay at home" in ran.stderr
    assert "/nonsense is no command." in ran.stderr
    assert "/private maybe is not known." in ran.stderr
    assert "No session begins with 'nowhere'." in ran.stderr
    assert said.splitlines()[-2].endswith(
        "[False, False, True, True, True, False]"
    )  # one, three, four, seven, the path; two


def test_what_a_model_says_does_not_steer_the_terminal(tmp_path: Path) -> None:
    """On a terminal of its own (pty): no escape sequence of the answer arrives there."""
    source = tmp_path / "program.py"
    source.write_text(
        textwrap.dedent(
            TALK
            + """
    client.hook(ScriptedModel("ollama:phi", ["\\x1b]0;owned\\x07", "\\x1b[2J", "plain"]))
    asyncio.run(client.execute("one", stream=True))
    """
        )
    )
    parent, child = os.openpty()
    with subprocess.Popen(
        [sys.executable, str(source)], stdin=child, stdout=child, stderr=child,
        env={**os.environ, "OBLIX_HOME": str(tmp_path)},
    ) as process:  # fmt: skip
        os.close(child)
        told = b""
        try:
            while piece := os.read(parent, 4096):
                told += piece
        except OSError:  # the other side has gone
            pass
        assert process.wait(30) == 0
    os.close(parent)
    assert told == b"]0;owned[2Jplain\r\n"
