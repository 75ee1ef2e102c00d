"""Programs that make their loop by hand, and end without a word to the client: everything is in the file."""

from __future__ import annotations

import asyncio
import logging
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from oblix.storage import leftovers

from .hooked import client_with, edge
from .outside import program

PROGRAM = """
    import asyncio, os, sys, warnings
    from oblix import OblixClient
    from oblix.testing import ScriptedModel

    async def main(client):
        client.hook(ScriptedModel("m:a", "ok"))
        await client.execute("hello")

    def run(client, is_closed):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main(client))
        if is_closed:
            loop.close()
        return loop

    path, how = sys.argv[1:]
    if how == "a client each":
        for _ in range(3):
            run(OblixClient(store=path), is_closed=True)
        import apsw, gc
        gc.collect()
        from oblix.storage.store import Store
        lives = [each for each in gc.get_objects() if isinstance(each, Store)]
        print(len(lives), apsw.Connection(path).execute("SELECT count(*) FROM outcome").fetchone()[0])
    elif how == "the blocking twin":
        from oblix.sync import OblixClient as Blocking
        client = Blocking(store=path)
        client.hook(ScriptedModel("m:a", "ok"))
        client.execute("hello")
    else:
        client = OblixClient(store=path)
        loop = run(client, is_closed=how != "open")
        if how == "a fork":
            if os.fork() == 0:
                sys.exit()
            os.wait()
"""


@pytest.mark.parametrize("how", ["open", "closed", "a client each", "a fork", "the blocking twin"])
def test_how_the_last_answers_ended_is_in_the_file(how: str, tmp_path: Path) -> None:
    path = tmp_path / "oblix.db"
    ran = program(PROGRAM, tmp_path, str(path), how, flags=())
    assert (ran.returncode, ran.stderr) == (0, "")
    calls = 3 if how == "a client each" else 1
    with closing(apsw.Connection(str(path))) as db:
        query = "SELECT (SELECT count(*) FROM decision), (SELECT count(*) FROM outcome), count(*) FROM entry WHERE kind = 'answer'"
        assert db.execute(query).fetchall() == [(calls, calls, calls)]
    if how == "a client each":  # who goes on writes what others left, and lets go of them
        assert ran.stdout == "1 2\n"


def test_what_cannot_be_written_at_the_end_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And is in nobody's way."""
    client = client_with(edge(), store=tmp_path / "oblix.db")
    loop = asyncio.new_event_loop()
    reply = loop.run_until_complete(client.execute("hi"))
    loop.close()
    circle: Any = reply.metrics
    circle["itself"] = circle
    leftovers._write_all()
    (told,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert told.startswith("a decision could not be written down: ")
    with closing(apsw.Connection(str(tmp_path / "oblix.db"))) as db:
        assert db.execute("SELECT count(*) FROM entry WHERE kind = 'answer'").fetchall() == [(1,)]
