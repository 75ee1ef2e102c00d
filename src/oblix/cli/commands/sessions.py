"""`oblix sessions`: what was talked of, and what can be done with it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from oblix.cli.render import json_line, note, show_story, table
from oblix.client import OblixClient
from oblix.client.chat import UNTITLED
from oblix.decision.layout import Part, Table
from oblix.errors import InvalidRequest
from oblix.sessions import transfer

SHORT = 12  # signs of an id: enough to tell a million sessions apart
_STATES = {"incomplete": "broken off", "unreadable": "cannot be read any more"}  # what is to be known of a message


@click.group("sessions", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """List, show, search, export, import, merge or delete sessions.

    A SESSION is its id, or the start of one. `oblix chat -s SESSION` and `oblix ask --session SESSION` go on with it.
    """


_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@command.command("list")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many, the newest first.")
@click.option("--where", multiple=True, metavar="KEY=VALUE", help="Only those with this in their metadata.")
@_JSON
def list_(limit: int, where: tuple[str, ...], as_json: bool) -> None:
    """List them, the newest first."""
    with _opened() as client:
        found = client.list_sessions(limit, _metadata(where) or None)
    if as_json:
        _print(found)
        return
    rows = [
        (
            _line(each["id"][:SHORT]),
            each["updated_at"][:16],
            str(each["message_count"]),
            _line(each["title"]) or UNTITLED,
        )
        for each in found
    ]
    if rows:
        click.echo(table(("session", "updated", "messages", "title"), rows))
    elif where:
        note("No session has that in its metadata. All of them: oblix sessions list")
    else:
        note("There is no session yet. Begin one: oblix chat, or session_id=… in a program.")


@command.command("show")
@click.argument("session")
@_JSON
def show(session: str, as_json: bool) -> None:
    """Show what was said in one."""
    found = _loaded(session)
    if as_json:
        _print(found)
        return
    head = (
        f"{found['title'] or UNTITLED} ({found['id']})",
        f"Begun {found['created_at'][:16]}, last {found['updated_at'][:16]}.",
    )
    show_story([Part(lines=head), *(Part(_who(each), tuple(_lines(each))) for each in found["messages"])])


@command.command("search")
@click.argument("words", nargs=-1, required=True)
@click.option("-s", "--session", help="In this session only.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many messages.")
@_JSON
def search(words: tuple[str, ...], session: str | None, limit: int, as_json: bool) -> None:
    """Find messages by their words."""
    with _opened() as client:
        within = None if session is None else client.find_session(session)
        found = asyncio.run(client.search_sessions(" ".join(words), limit=limit, session_id=within))
    if as_json:
        _print(found)
        return
    rows = [
        (_line(each["session_id"][:SHORT]), each["timestamp"][:16], each["role"], _line(each["snippet"]))
        for each in found
    ]
    if rows:
        show_story([Part(table=Table(("session", "at", "role", "found"), tuple(rows)))])
    else:
        note("Nothing was found: a message must hold all of the words. All sessions: oblix sessions list")


@command.command("export")
@click.argument("session")
@click.argument("file", type=click.Path(path_type=Path), default="-")
def export(session: str, file: Path) -> None:
    """Write one to FILE as JSON (`-`: standard output)."""
    if str(file) == "-":
        click.echo(transfer.text_of(_loaded(session)), nl=False)
        return
    with _opened() as client:
        session_id = client.find_session(session)
        asyncio.run(client.export_session(session_id, file))
    if sys.stderr.isatty():
        note(f"{session_id} is in {file}.")


@command.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--same-id", is_flag=True, help="Keep the id of the file; an error where that session is here already.")
def import_(files: tuple[Path, ...], same_id: bool) -> None:
    """Read sessions from FILES: exports of ours, or the session files of the original Oblix. Prints their ids."""
    with _opened() as client:
        for file in files:
            session_id = asyncio.run(client.import_session(file, new_id=not same_id))
            if session_id is None:
                hint = "Without --same-id it gets a new id."
                raise InvalidRequest(f"The session in {file} is here already.", hint=hint)
            click.echo(_line(session_id))


@command.command("merge")
@click.argument("sessions", nargs=-1, required=True)
@click.option("--title", help="Of the new session.")
def merge(sessions: tuple[str, ...], title: str | None) -> None:
    """Put several into a new one, by time. Prints its id; the others stay."""
    with _opened() as client:
        sources = [client.find_session(each) for each in sessions]
        click.echo(asyncio.run(client.merge_sessions(sources, title)))


@command.command("rm")
@click.argument("sessions", nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def remove(sessions: tuple[str, ...], yes: bool) -> None:
    """Delete sessions with all that was said in them."""
    with _opened() as client:
        ids = [client.find_session(each) for each in sessions]
        if not yes:
            click.confirm(f"Delete {len(ids)} session{'s' * (len(ids) > 1)} for good?", abort=True, err=True)
        for session_id in ids:
            client.delete_session(session_id)


@contextmanager
def _opened() -> Iterator[OblixClient]:
    """A client that is closed: the data file holds by then what was written, and nothing of what was deleted."""
    client = OblixClient()
    try:
        yield client
    finally:
        asyncio.run(client.shutdown())


def _loaded(session: str) -> dict[str, Any]:
    with _opened() as client:
        found = client.load_session(client.find_session(session))
    assert found is not None
    return found


def _metadata(where: tuple[str, ...]) -> dict[str, str]:
    pairs = [each.partition("=") for each in where]
    for key, sign, _ in pairs:
        if not key or not sign:
            raise InvalidRequest(f"--where {key!r} is no pair.", hint="Write --where project=falcon.")
    return {key: value for key, _, value in pairs}


def _print(found: object) -> None:
    click.echo(json_line(found))


def _who(message: Mapping[str, Any]) -> str:
    """Who said it, and what is to be known of it."""
    marks = [word for word in ("pinned", "private") if message.get(word)]
    marks += [_STATES[state]] if (state := message["state"]) in _STATES else []
    marks += ["cut off at max_tokens"] if message.get("finish_reason") == "length" else []
    return " · ".join(filter(None, (message["role"], message.get("model_id"), message["timestamp"][:16], *marks)))


def _lines(message: Mapping[str, Any]) -> list[str]:
    said = str(message["content"]).splitlines() or [""]
    return said + [f"→ {call['name']}({call['arguments']})" for call in message.get("tool_calls") or ()]


def _line(text: str) -> str:
    """On one line, and without what steers a terminal."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
