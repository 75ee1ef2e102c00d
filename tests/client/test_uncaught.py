"""An error of ours that nobody catches: our few lines, the hint last, exit code 1."""

from __future__ import annotations

from pathlib import Path

import pytest

from .outside import program

START = """
    import asyncio, sys
    from oblix import OblixClient
    from oblix.testing import Fail, ScriptedModel

    client = OblixClient(store=":memory:")
    client.hook(ScriptedModel("ollama:phi", [Fail("connect", "connection refused", hint="Start it with `ollama serve`.")]))
"""


def test_a_program_ends_in_our_lines_with_the_hint_last(tmp_path: Path) -> None:
    ran = program(
        START
        + """
    async def main():
        await client.execute("hi")

    asyncio.run(main())
""",
        tmp_path / "home",
    )
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert ran.stderr == (
        "oblix.errors.AllModelsFailed: No model could answer.\n"
        "  edge   ollama:phi: connection refused [OBX-ALL-FAILED]\n"
        f"  at {tmp_path}/home/program.py:10, in main\n"
        "hint: Start it with `ollama serve`.\n"
    )


def test_it_is_shown_when_a_stream_broke_as_well(tmp_path: Path) -> None:
    ran = program(
        START
        + """
    async def main():
        client.hook(ScriptedModel("ollama:phi", ["half", Fail("engine_crash", "it died")]))
        async with client.stream("hi") as stream:
            async for text in stream:
                print(text)

    asyncio.run(main())
""",
        tmp_path / "home",
    )
    assert (ran.returncode, ran.stdout) == (1, "half\n")
    first, where, hint = ran.stderr.splitlines()
    assert first.startswith("oblix.errors.StreamBroken: The stream of ollama:phi broke off: ollama:phi: it died.")
    assert where.endswith("in main")
    assert hint.startswith("hint: on_break='restart' begins again on the next model")


def test_a_wrong_setting_outside_of_any_loop_is_short_too(tmp_path: Path) -> None:
    ran = program(
        """
        from oblix import OblixClient
        OblixClient(store=":memory:")
        from oblix.agents import ResourceMonitor
        ResourceMonitor(custom_thresholds={"cpu_treshold": 1})
        """,
        tmp_path / "home",
    )
    assert ran.returncode == 1
    lines = ran.stderr.splitlines()
    assert (
        lines[0] == "oblix.errors.ConfigurationError: 'cpu_treshold' is no threshold of ResourceMonitor. [OBX-CONFIG]"
    )
    assert lines[1] == f"  at {tmp_path}/home/program.py:5, in <module>"
    assert lines[2].startswith("hint: Did you mean 'cpu_threshold'?")


def test_a_hook_of_the_users_own_is_left_alone(tmp_path: Path) -> None:
    for before in ("sys.excepthook = mine; client = OblixClient(store=':memory:')", "sys.excepthook = mine"):
        ran = program(
            START
            + f"""
    def mine(kind, error, trace):
        print("mine:", kind.__name__, trace is not None)

    {before}
    client.hook(ScriptedModel("ollama:phi", [Fail("connect")]))
    asyncio.run(client.execute("hi"))
""",
            tmp_path / "home",
        )
        assert (ran.returncode, ran.stdout, ran.stderr) == (1, "mine: AllModelsFailed True\n", "")


def test_development_mode_shows_everything(tmp_path: Path) -> None:
    ran = program(
        START + '    asyncio.run(client.execute("hi"))\n',
        tmp_path / "home",
        flags=("-X", "dev"),
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("Traceback (most recent call last):")
    assert "client.py" in ran.stderr
    assert ran.stderr.rstrip().endswith("hint: Start it with `ollama serve`.")
    assert "During handling" not in ran.stderr


@pytest.mark.parametrize(
    "code",
    ["raise KeyError('theirs')", "asyncio.run(asyncio.wait_for(asyncio.sleep(9), 0.01))"],
    ids=["theirs", "asyncio's"],
)
def test_other_errors_look_as_always(code: str, tmp_path: Path) -> None:
    ran = program(START + f"    {code}\n", tmp_path / "home")
    assert ran.returncode == 1
    assert ran.stderr.startswith("Traceback (most recent call last):")


def test_an_error_that_the_user_chained_keeps_its_chain(tmp_path: Path) -> None:
    ran = program(
        START
        + """
    from oblix import OblixError
    try:
        raise KeyError("theirs")
    except KeyError as cause:
        raise OblixError("raised by hand") from cause
""",
        tmp_path / "home",
    )
    assert "KeyError: 'theirs'" in ran.stderr
    assert "direct cause" in ran.stderr


def test_an_error_during_the_handling_of_another_shows_both(tmp_path: Path) -> None:
    """A program that asks us in its own `except` must not lose its own error."""
    ran = program(
        START
        + """
    try:
        raise KeyError("theirs")
    except KeyError:
        asyncio.run(client.execute("hi"))
""",
        tmp_path / "home",
    )
    assert ran.returncode == 1
    assert ran.stderr.rstrip().endswith("hint: Start it with `ollama serve`.")


def test_many_errors_at_once_keep_pythons_words(tmp_path: Path) -> None:
    """A task group of the user's: a group of errors is none of ours."""
    ran = program(
        START
        + """
    async def main():
        async with asyncio.TaskGroup() as group:
            group.create_task(client.execute("hi"))

    asyncio.run(main())
""",
        tmp_path / "home",
    )
    assert ran.returncode == 1
    assert "ExceptionGroup" in ran.stderr
    assert "hint: Start it with `ollama serve`." in ran.stderr
