"""`oblix sessions`, `oblix chat` and `oblix ask -c`: on a real data file, in processes of their own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from oblix.storage.store import Store
from oblix.testing.faults import FaultServer, Upstream

from .running import remember, run


def remembered(home: Path, *prompts: str, session: str = "abc123") -> None:
    """A session with these prompts in the data file that `run` uses; each was answered with `yes`."""
    remember(home, *({"prompt": prompt, "session_id": session, "model_id": "ollama:phi"} for prompt in prompts))


def played(talk: Callable[[Upstream, dict[str, str]], None]) -> None:
    """Run beside a server that plays Ollama; `talk` gets it, and the environment that names it."""

    async def main() -> None:
        async with FaultServer() as server:
            upstream = server.upstream("edge", wire="ollama")
            await asyncio.to_thread(talk, upstream, {"OLLAMA_HOST": upstream.url.removeprefix("http://")})

    asyncio.run(main())


def test_where_nothing_is_it_says_so(tmp_path: Path) -> None:
    """Beside the output, which stays empty for programs."""
    for words, told in {
        ("list",): "There is no session yet. Begin one: oblix chat, or session_id=… in a program.\n",
        ("list", "--where", "project=atlas"): "No session has that in its metadata. All of them: oblix sessions list\n",
        (
            "search",
            "lisbon",
        ): "Nothing was found: a message must hold all of the words. All sessions: oblix sessions list\n",
    }.items():
        shown = run(tmp_path, "sessions", *words)
        assert (shown.returncode, shown.stdout, shown.stderr) == (0, "", told)
        listed = run(tmp_path, "sessions", *words, "--json")
        assert (listed.returncode, listed.stdout, listed.stderr) == (0, "[]\n", "")
    assert not (tmp_path / "oblix").exists()


def test_list_and_show(tmp_path: Path) -> None:
    remembered(tmp_path, "What is the capital of Portugal?")
    listed = run(tmp_path, "sessions", "list")
    assert (listed.returncode, listed.stderr) == (0, "")
    session, _, count, title = listed.stdout.rstrip("\n").split("\t")
    assert (session, count, title) == ("abc123", "2", "What is the capital of Portugal?")
    assert json.loads(run(tmp_path, "sessions", "list", "--json").stdout)[0]["id"] == "abc123"
    assert run(tmp_path, "sessions", "list", "--where", "project=atlas").stdout == ""
    shown = run(tmp_path, "sessions", "show", "abc")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "What is the capital of Portugal?" in shown.stdout
    assert "assistant · ollama:phi · " in shown.stdout
    assert "  yes" in shown.stdout
    loaded = json.loads(run(tmp_path, "sessions", "show", "abc", "--json").stdout)
    assert [each["role"] for each in loaded["messages"]] == ["user", "assistant"]


def test_search(tmp_path: Path) -> None:
    remembered(tmp_path, "What is the capital of Portugal?")
    found = run(tmp_path, "sessions", "search", "yes")
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.split("\t")[0] == "abc123"
    assert "yes" in found.stdout
    assert json.loads(run(tmp_path, "sessions", "search", "yes", "--json").stdout)[0]["session_id"] == "abc123"
    nothing = run(tmp_path, "sessions", "search", '"unheard (of')
    assert (nothing.returncode, nothing.stdout) == (0, "")


def test_export_import_merge_and_rm(tmp_path: Path) -> None:
    remembered(tmp_path, "What is the capital of Portugal?")
    assert run(tmp_path, "sessions", "export", "abc", "talk.json").returncode == 0
    written = json.loads((tmp_path / "talk.json").read_text())
    assert json.loads(run(tmp_path, "sessions", "export", "abc").stdout)["title"] == written["title"]
    imported = run(tmp_path, "sessions", "import", "talk.json")
    assert (imported.returncode, imported.stderr) == (0, "")
    again = imported.stdout.strip()
    assert again != "abc123"
    twice = run(tmp_path, "sessions", "import", "--same-id", "talk.json")
    assert (twice.returncode, twice.stdout) == (2, "")
    assert "is here already" in twice.stderr
    merged = run(tmp_path, "sessions", "merge", "abc", again, "--title", "Both").stdout.strip()
    assert "Both" in run(tmp_path, "sessions", "show", merged).stdout
    refused = run(tmp_path, "sessions", "rm", "abc", stdin="n\n")
    assert refused.returncode == 130
    gone = run(tmp_path, "sessions", "rm", "-y", "abc", again)
    assert (gone.returncode, gone.stderr) == (0, "")
    assert [each["id"] for each in json.loads(run(tmp_path, "sessions", "list", "--json").stdout)] == [merged]


def test_rm_deletes_what_is_named_and_leaves_no_word_of_it(tmp_path: Path) -> None:
    remembered(tmp_path, "What is a xylophonist?")
    unset = run(tmp_path, "sessions", "rm", "-y", "")
    assert (unset.returncode, unset.stdout) == (2, "")
    assert "The id of a session is empty." in unset.stderr
    assert run(tmp_path, "sessions", "search", "xylophonist").stdout
    held = Store(tmp_path / "oblix" / "oblix.db")
    held.open()  # by another process: the log stays
    assert run(tmp_path, "sessions", "rm", "-y", "abc").returncode == 0
    for name in ("oblix.db", "oblix.db-wal"):
        (decisions, _, sessions) = (tmp_path / "oblix" / name).read_bytes().partition(b"xylophonist")
        assert not sessions, decisions[-100:]
    held.close()


def test_halves_of_characters_are_exported_and_shown(tmp_path: Path) -> None:
    """As arguments have them that are no UTF-8."""
    remembered(tmp_path, "What is \udcff?")
    exported = run(tmp_path, "sessions", "export", "abc")
    assert (exported.returncode, exported.stderr) == (0, "")
    found = json.loads(exported.stdout)
    assert (found["format"], found["messages"][0]["content"]) == ("oblix-session", "What is \udcff?")
    for words in (("show", "abc", "--json"), ("search", "what", "--json")):
        told = run(tmp_path, "sessions", *words)
        assert (told.returncode, told.stderr) == (0, "")
        assert "\\udcff" in told.stdout
        json.loads(told.stdout)
    assert run(tmp_path, "sessions", "import", "-").returncode == 2
    (tmp_path / "again.json").write_text(exported.stdout)
    assert run(tmp_path, "sessions", "import", "again.json").returncode == 0


def test_an_unknown_session_is_a_clear_error(tmp_path: Path) -> None:
    for command in ("show", "export", "rm"):
        told = run(tmp_path, "sessions", command, "nowhere")
        assert (told.returncode, told.stdout) == (2, "")
        assert "No session begins with 'nowhere'." in told.stderr


@pytest.mark.parametrize("text", ["", "{", "[]", '{"messages": 3}', '{"messages": [{"role": "wizard"}]}'])
def test_a_file_that_is_no_session_is_a_clear_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "strange.json").write_text(text)
    told = run(tmp_path, "sessions", "import", "strange.json")
    assert (told.returncode, told.stdout) == (2, "")
    assert "strange.json" in told.stderr
    assert "Traceback" not in told.stderr
    assert run(tmp_path, "sessions", "list").stdout == ""


def test_ask_goes_on_with_the_latest_session_or_a_named_one(tmp_path: Path) -> None:
    def talk(upstream: Upstream, hosts: dict[str, str]) -> None:
        def ask(*words: str) -> dict[str, str]:
            told = run(tmp_path, "ask", "-m", "ollama:played", "--json", *words, **hosts)
            assert (told.returncode, told.stderr) == (0, "")
            reply: dict[str, str] = json.loads(told.stdout)
            return reply

        first = ask("-c", "one")["session_id"]
        assert first
        assert ask("-c", "two")["session_id"] == first
        assert ask("three")["session_id"] is None
        assert ask("--session", first[:8], "four")["session_id"] == first
        chat = run(tmp_path, "chat", "-c", "-m", "ollama:played", stdin="five\nexit\n", **hosts)
        assert (chat.returncode, chat.stderr) == (0, "")
        sent = [each.json["messages"] for each in upstream.requests if each.path == "/api/chat"]
        assert [message["role"] for message in sent[-1]] == ["user", "assistant"] * 3 + ["user"]
        assert [message["content"] for message in sent[-1][::2]] == ["one", "two", "four", "five"]

    played(talk)


def test_a_private_chat_stays_private(tmp_path: Path) -> None:
    def talk(_: Upstream, hosts: dict[str, str]) -> None:
        told = run(tmp_path, "chat", "--private", "-m", "ollama:played", stdin="one\n", **hosts)
        assert (told.returncode, told.stderr) == (0, "")

    played(talk)
    session = json.loads(run(tmp_path, "sessions", "list", "--json").stdout)[0]["id"]
    assert run(tmp_path, "sessions", "list").stdout.endswith("\t2\t(no title)\n")
    shown = json.loads(run(tmp_path, "sessions", "show", session, "--json").stdout)
    assert [each["private"] for each in shown["messages"]] == [True, True]
