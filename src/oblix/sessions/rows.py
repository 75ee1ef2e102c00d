"""Sessions as rows: every statement of theirs. Each function runs inside of a transaction that its caller opened."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from oblix.sessions.codec import UNREADABLE, compact, saying, text_of
from oblix.types.messages import Message

if TYPE_CHECKING:
    import apsw

AT_ONCE = 2000  # messages that one transaction indexes or forgets, in some 50 ms: other processes wait for two seconds at most
TITLE = 60  # characters of a title that is made of a prompt
_COLUMNS = "at, state, pinned, private, role, tokens, model_id, request_id, owner, body"
_TOUCH = (
    "UPDATE session SET updated_at = max(updated_at, ?), message_count = message_count + ?, version = version + 1, "
    "title = CASE title WHEN '' THEN ? ELSE title END WHERE id = ? RETURNING message_count, version"
)
_INSERT = f"INSERT INTO message (session_id, seq, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608


class Row(NamedTuple):
    """A message without its place. `private`: 1 stays at home, 2 goes out with placeholders only."""

    at: float
    state: str
    pinned: bool
    private: int
    role: str
    tokens: int
    model_id: str
    request_id: str
    owner: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Read:
    """A session that was read: out of a file, or to be copied."""

    title: str
    created_at: float
    updated_at: float
    id: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    messages: Sequence[Row] = ()


# --- reading ---


def listed(db: apsw.Connection, wanted: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The sessions with this in their metadata, the newest first."""
    columns = "id, title, created_at, updated_at, message_count, metadata"
    for session_id, title, created, updated, count, raw in db.execute(
        f"SELECT {columns} FROM session ORDER BY updated_at DESC, id"  # noqa: S608  no value of anybody's
    ):
        held = plain(raw)
        if holds(held, wanted):
            yield {
                "id": session_id,
                "title": title,
                "created_at": iso(created),
                "updated_at": iso(updated),
                "message_count": count,
                "metadata": held,
            }


def holds(metadata: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether metadata hold all of this; a key that is none may be a path."""
    return all(_at(metadata, key) == value for key, value in wanted.items())


def _at(found: Any, key: str) -> Any:
    if isinstance(found, Mapping) and key in found:
        return found[key]
    for step in str(key).split("."):
        if not isinstance(found, Mapping) or step not in found:
            return None
        found = found[step]
    return found


def starting(db: apsw.Connection, start: str) -> list[str]:
    """The ids that begin like this."""
    found = db.execute("SELECT id FROM session WHERE substr(id, 1, length(?1)) = ?1 ORDER BY id", (sound(start),))
    return [session_id for (session_id,) in found]


def metadata(db: apsw.Connection, session_id: str) -> dict[str, Any] | None:
    """Of a session."""
    found = db.execute("SELECT metadata FROM session WHERE id = ?", (sound(session_id),)).fetchone()
    return None if found is None else plain(found[0])


def loaded(db: apsw.Connection, session_id: str) -> dict[str, Any] | None:
    """A session with all of its messages, as plain data; what is exported, too."""
    found = db.execute(
        "SELECT id, title, created_at, updated_at, context, metadata FROM session WHERE id = ?", (sound(session_id),)
    ).fetchone()
    if found is None:
        return None
    rows = db.execute(f"SELECT id, {_COLUMNS} FROM message WHERE session_id = ? ORDER BY seq", (found[0],))  # noqa: S608
    messages = [_message(row[0], Row(*row[1:])) for row in rows]
    return {
        "id": found[0],
        "title": found[1],
        "created_at": iso(found[2]),
        "updated_at": iso(found[3]),
        "messages": messages,
        "context": plain(found[4]),
        "metadata": plain(found[5]),
    }


def _message(number: int, row: Row) -> dict[str, Any]:
    try:
        body, state = saying(row.body), row.state
    except UNREADABLE:
        body, state = {"text": ""}, "unreadable"
    told = {
        "id": str(number),
        "role": row.role,
        "content": body.pop("text"),
        "timestamp": iso(row.at),
        "state": state,
        "model_id": row.model_id,
        "pinned": bool(row.pinned),
        "private": row.private == 1,
    }
    return told | ({"redacted": True} if row.private == 2 else {}) | body


# --- writing ---


def make(
    db: apsw.Connection, session_id: str, title: str, context: bytes, metadata: bytes, at: float, updated: float = 0.0
) -> None:
    """A session, if it is not there."""
    db.execute(
        "INSERT INTO session (id, title, created_at, updated_at, metadata, context) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT DO NOTHING",
        (sound(session_id), sound(title), at, updated or at, metadata, context),
    )


def append(db: apsw.Connection, session_id: str, rows: Sequence[Row], at: float, title: str = "") -> int:
    """Messages at the end of a session, which is made if need be; its version. Each takes the next place: none is ever taken away alone."""
    session_id = sound(session_id)
    told = (at, len(rows), title, session_id)
    found = db.execute(_TOUCH, told).fetchone()
    if found is None:
        make(db, session_id, "", b"{}", b"{}", at)
        found = db.execute(_TOUCH, told).fetchone()
    assert found is not None
    for seq, row in enumerate(rows, found[0] - len(rows) + 1):
        db.execute(_INSERT, (session_id, seq, *row))
    version: int = found[1]
    return version


def close(db: apsw.Connection, session_id: str, request_id: str, state: str) -> bool:
    """A question waits no more; whether it did."""
    db.execute(
        "UPDATE message INDEXED BY message_open SET state = ? WHERE session_id = ? AND state = 'open' AND request_id = ?",
        (state, sound(session_id), sound(request_id)),
    )
    return db.changes() > 0


def waiting(db: apsw.Connection) -> list[tuple[str, float]]:
    """The processes whose questions wait for answers, and since when."""
    return list(db.execute("SELECT owner, min(at) FROM message WHERE state = 'open' GROUP BY owner"))


def give_up(db: apsw.Connection, owner: str, before: float | None) -> int:
    """The questions of a process get no answer any more; `before`: only those that are older."""
    db.execute(
        "UPDATE message SET state = 'incomplete' WHERE state = 'open' AND owner = ? AND (?2 IS NULL OR at < ?2)",
        (owner, before),
    )
    return db.changes()


def rename(db: apsw.Connection, session_id: str, title: str) -> bool:
    """Another title."""
    db.execute("UPDATE session SET title = ? WHERE id = ?", (sound(title), sound(session_id)))
    return db.changes() > 0


def update_metadata(db: apsw.Connection, session_id: str, more: Mapping[str, Any]) -> bool:
    """These among the rest; `None` takes a key away."""
    held = metadata(db, session_id)
    if held is None:
        return False
    told = {key: value for key, value in {**held, **more}.items() if value is not None}
    db.execute("UPDATE session SET metadata = ? WHERE id = ?", (compact(told), session_id))
    return True


def pin(db: apsw.Connection, session_id: str, message_id: str, *, pinned: bool) -> bool:
    """Keep a message where others are cut, or no more."""
    if not message_id.isdecimal() or len(message_id) > 18:
        return False
    session_id = sound(session_id)
    found = db.execute("SELECT seq FROM message WHERE session_id = ? AND id = ?", (session_id, message_id)).fetchone()
    if found is None:
        return False
    told = (pinned, session_id, *_exchange(db, session_id, found[0]))
    which = "session_id = ? AND seq BETWEEN ? AND ?"
    db.execute(f"UPDATE message SET pinned = ? OR role = 'system' WHERE {which}", told)  # noqa: S608  system prompts always are
    db.execute("UPDATE session SET version = version + 1 WHERE id = ?", (session_id,))
    return True


def _exchange(db: apsw.Connection, session_id: str, seq: int) -> tuple[int, int]:
    """The first and the last place of what goes together: a call of tools with its results; any other message stands alone."""

    def is_result(place: int) -> bool:
        statement = "SELECT role = 'tool' FROM message WHERE session_id = ? AND seq = ?"
        return db.execute(statement, (session_id, place)).fetchone() == (1,)

    first = last = seq
    while is_result(first):
        first -= 1
    while is_result(last + 1):
        last += 1
    return first, last


def delete(db: apsw.Connection, session_id: str) -> bool:
    """A session with its messages, overwritten in the file, and what search knows of them."""
    return _delete(db, [session_id]) > 0


def _delete(db: apsw.Connection, ids: Sequence[str]) -> int:
    """How many of them there were.

    If the index of the search knows their words it is emptied, and made anew by the next search: 20 µs a message. To take words out one by
    one costs a millisecond a message, and what is only marked as gone can be read in the file.
    """
    db.execute("PRAGMA secure_delete = ON")
    ((indexed,),) = db.execute("SELECT coalesce(max(id), 0) FROM message_text_docsize")
    is_known, deleted = False, 0
    for each in map(sound, ids):
        ((first,),) = db.execute("SELECT min(id) FROM message WHERE session_id = ?", (each,))
        is_known = is_known or (first is not None and first <= indexed)
        db.execute("DELETE FROM message WHERE session_id = ?", (each,))
        db.execute("DELETE FROM session WHERE id = ?", (each,))
        deleted += db.changes()
    if is_known:
        db.execute("INSERT INTO message_text (message_text) VALUES ('delete-all')")
    return deleted


def forget(db: apsw.Connection, before: float, spared: Container[str] = ()) -> int:
    """Delete old sessions, last spoken in before then, but none that waits for an answer; how many, 0: no more are left."""
    old = db.execute(
        "SELECT id, message_count FROM session WHERE updated_at < ? "
        "AND NOT EXISTS (SELECT 1 FROM message WHERE session_id = session.id AND state = 'open') ORDER BY updated_at",
        (before,),
    )
    ids, left = [], AT_ONCE
    for session_id, messages in old:
        if session_id in spared:
            continue
        ids.append(session_id)
        left -= messages
        if left <= 0:
            break
    old.close()
    return _delete(db, ids)


# --- from one to another ---


def put(db: apsw.Connection, session_id: str, read: Read) -> str | None:
    """A session that was read; its id, `None` where one of that id is here."""
    if metadata(db, session_id) is not None:
        return None
    make(db, session_id, read.title, compact(read.context), compact(read.metadata), read.created_at, read.updated_at)
    append(db, session_id, read.messages, read.updated_at, _title_of_rows(read.messages))
    return session_id


def copied(
    db: apsw.Connection, session_id: str, title: str | None, at: float, *, until: str | None = None
) -> Read | None:
    """What a copy holds, up to a message if one is named; `None` where session or message are not there."""
    found = db.execute("SELECT title, context, metadata FROM session WHERE id = ?", (sound(session_id),)).fetchone()
    rows = _rows(db, session_id)
    if until is not None:
        place = next((place for place, (number, _) in enumerate(rows, 1) if str(number) == until), None)
        if place is None:
            return None
        rows = rows[:place]
    if found is None:
        return None
    messages = [row for _, row in rows]
    return Read(title or found[0], at, at, "", plain(found[1]), plain(found[2]), messages)


def merged(db: apsw.Connection, ids: Sequence[str], title: str | None, at: float) -> Read | None:
    """The messages of all, by time, each with the session that it came from; `None` where one is not there."""
    titles = [
        found[0]
        for each in ids
        if (found := db.execute("SELECT title FROM session WHERE id = ?", (sound(each),)).fetchone()) is not None
    ]
    if len(titles) < len(ids):
        return None
    rows = [_from(row, each) for each in ids for _, row in _rows(db, each)]
    together = title or " + ".join(filter(None, titles))
    return Read(together, at, at, messages=sorted(rows, key=lambda row: row.at))


def _rows(db: apsw.Connection, session_id: str) -> list[tuple[int, Row]]:
    """Its messages, but for questions that wait: their answers come elsewhere."""
    found = db.execute(
        f"SELECT id, {_COLUMNS} FROM message WHERE session_id = ? AND state <> 'open' ORDER BY seq",  # noqa: S608
        (sound(session_id),),
    )
    return [(row[0], Row(*row[1:])) for row in found]


def _from(row: Row, session_id: str) -> Row:
    try:
        return row._replace(body=compact({**saying(row.body), "source_session_id": session_id}))
    except UNREADABLE:
        return row


# --- values ---


def title_of(messages: Sequence[Message]) -> str:
    """The first line of what is asked, for a session without a title; nothing private, because lists are looked at over shoulders."""
    return _shortened(message.text for message in messages if message.role == "user" and not message.private)


def _title_of_rows(rows: Sequence[Row]) -> str:
    return _shortened(text_of(row.body) for row in rows if row.role == "user" and not row.private)


def _shortened(texts: Iterator[str] | Any) -> str:
    words = " ".join(next(iter(texts), "").split())
    return sound(words if len(words) <= TITLE else words[: TITLE - 1].rstrip() + "…")


def plain(raw: bytes) -> dict[str, Any]:
    """An object of JSON; an empty one where the file was damaged there, because one session must not spoil the list of all."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def iso(at: float) -> str:
    """Seconds since the epoch as ISO 8601."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")


def sound(text: str) -> str:
    """The text without halves of characters, which do not go into a column of text."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
