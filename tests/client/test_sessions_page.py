"""docs/sessions.md says what is: its program runs, its tables are the code's."""

from __future__ import annotations

import asyncio
import inspect
import re
from pathlib import Path

from oblix.client import memory
from oblix.client.chat import COMMANDS, LEAVE
from oblix.client.conversation import Conversations
from oblix.testing.faults import FaultServer

from .outside import program

PAGE = (Path(__file__).parents[2] / "docs" / "sessions.md").read_text("utf-8")


def rows(title: str) -> str:
    """The first table below a title."""
    return PAGE.partition(f"## {title}\n")[2].partition("\n|---")[2].partition("\n\n")[0]


def test_its_program_runs(tmp_path: Path) -> None:
    (text,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

    async def main() -> None:
        async with FaultServer() as server:
            upstream = server.upstream("edge", wire="ollama")
            environ = {"OLLAMA_HOST": upstream.url.removeprefix("http://")}
            ran = await asyncio.to_thread(program, text, tmp_path / "home", environ=environ)
            assert (ran.stderr, ran.returncode) == ("", 0)
            sent = [each.json["messages"] for each in upstream.requests if each.path == "/api/chat"]
            first, answer, second = sent[-1]
            assert (first["content"], second["content"]) == ("What is the capital of France?", "And of Italy?")
            assert answer["role"] == "assistant"
            assert ran.stdout.endswith("\n['Capitals']\n")

    asyncio.run(main())


def test_it_tells_of_every_method() -> None:
    told = rows("All methods")
    public = {name: found for name, found in inspect.getmembers(Conversations, inspect.isfunction) if name[0] != "_"}
    assert set(re.findall(r"`(?:await )?(\w+)\(", told)) == set(public)
    for name, found in public.items():
        awaited = re.search(rf"`(await )?{name}\(", told)
        assert awaited is not None
        assert bool(awaited[1]) == inspect.iscoroutinefunction(found), name


def test_it_tells_of_every_command() -> None:
    told = set(re.findall(r"`(/\w+)", rows("On the terminal")))
    assert told - set(LEAVE) == set(COMMANDS)


def test_its_figure_is_that_of_the_code() -> None:
    assert f"At most {memory.MOST:,} tokens" in PAGE
