"""Sessions in a file that cannot be used: an error of ours, whatever SQLite says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from oblix.errors import ConfigurationError
from oblix.sessions.store import Sessions
from oblix.storage import jobs
from oblix.storage.store import Store
from oblix.types.messages import Message

WRITING: dict[str, Callable[[Sessions], Any]] = {
    "create": lambda sessions: asyncio.run(sessions.create("Mine")),
    "append": lambda sessions: asyncio.run(sessions.append("s", [Message("user", "q")])),
    "search": lambda sessions: asyncio.run(sessions.search("word")),
    "rename": lambda sessions: sessions.rename("s", "Other"),
    "delete": lambda sessions: sessions.delete("s"),
    "pin": lambda sessions: sessions.pin("s", "1"),
    "update_metadata": lambda sessions: sessions.update_metadata("s", {"a": 1}),
    "forget": lambda sessions: sessions.forget(1),
}
READING: dict[str, Callable[[Sessions], Any]] = {
    "latest": lambda sessions: sessions.latest(),
    "load": lambda sessions: sessions.load("s"),
    "metadata": lambda sessions: sessions.metadata("s"),
    "starting": lambda sessions: sessions.starting("s"),
    "search": lambda sessions: asyncio.run(sessions.search("word")),
    "export": lambda sessions: asyncio.run(sessions.export_to("s", Path("never.json"))),
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "d.db")
    store.open()
    yield store
    store.close()


@pytest.mark.parametrize("use", WRITING.values(), ids=WRITING)
def test_a_file_that_another_process_holds(
    use: Callable[[Sessions], Any], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PATIENCE", 0.0)
    sessions = Sessions(store, lambda: 1_795_000_000.0)
    other = apsw.Connection(str(tmp_path / "d.db"))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ConfigurationError, match=r"d\.db' cannot be used: database is locked\. .*\n.*try again"):
        use(sessions)
    other.close()
    use(sessions)  # and then it goes on


@pytest.mark.parametrize("use", READING.values(), ids=READING)
def test_a_file_whose_tables_are_gone(use: Callable[[Sessions], Any], store: Store) -> None:
    sessions = Sessions(store, lambda: 1_795_000_000.0)
    asyncio.run(sessions.append("s", [Message("user", "word")]))
    store.write_now(lambda db: db.execute("DROP TABLE message; DROP TABLE session").fetchall())
    with pytest.raises(ConfigurationError, match=r"cannot be used: .*no such table"):
        use(sessions)
