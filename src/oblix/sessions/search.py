"""Full-text search over what was said. The index follows when somebody searches: on the path of a prompt it would cost too much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from oblix.sessions.codec import text_of
from oblix.sessions.rows import AT_ONCE, holds, iso, plain, sound

if TYPE_CHECKING:
    import apsw

AROUND = 60  # characters of a snippet on either side of the word


class Wanted(NamedTuple):
    """What is looked for."""

    words: tuple[str, ...]
    limit: int
    session_id: str | None
    role: str | None
    metadata: Mapping[str, Any]


def words_of(query: str) -> tuple[str, ...]:
    """The words of a query, in which no sign means anything to the index."""
    return tuple(word for word in _words(query).split() if any(sign.isalnum() for sign in word))


def index(db: apsw.Connection) -> bool:
    """Take what was said since the last search into the index, up to `AT_ONCE` messages; whether more may be left."""
    ((last,),) = db.execute("SELECT coalesce(max(id), 0) FROM message_text_docsize")
    new = list(db.execute("SELECT id, body FROM message WHERE id > ? ORDER BY id LIMIT ?", (last, AT_ONCE)))
    texts = ((number, _words(text_of(body))) for number, body in new)
    db.executemany("INSERT INTO message_text (rowid, text) VALUES (?, ?)", texts)
    return len(new) == AT_ONCE


def _words(text: str) -> str:
    return sound(text).replace("\0", " ")


def find(db: apsw.Connection, wanted: Wanted) -> list[dict[str, Any]]:
    """The messages, the best first."""
    query = " ".join('"' + word.replace('"', '""') + '"' for word in wanted.words)
    found: list[dict[str, Any]] = []
    for session_id, title, raw, number, role, at, private, state, body in db.execute(
        "SELECT s.id, s.title, s.metadata, m.id, m.role, m.at, m.private, m.state, m.body "
        "FROM message_text t JOIN message m ON m.id = t.rowid JOIN session s ON s.id = m.session_id "
        "WHERE message_text MATCH ?1 AND (?2 IS NULL OR s.id = ?2) AND (?3 IS NULL OR m.role = ?3) ORDER BY t.rank, m.id DESC",
        (query, None if wanted.session_id is None else sound(wanted.session_id), wanted.role),
    ):
        if len(found) >= wanted.limit:
            break
        if holds(plain(raw), wanted.metadata):
            found.append(
                {
                    "session_id": session_id,
                    "title": title,
                    "message_id": str(number),
                    "role": role,
                    "timestamp": iso(at),
                    "state": state,
                    "private": private == 1,
                    "snippet": _snippet(text_of(body), wanted.words),
                }
            )
    return found


def _snippet(text: str, words: tuple[str, ...]) -> str:
    """The text around the first of the words that is found as it is written."""
    folded = text.casefold()
    places = [place for word in words if (place := folded.find(word.strip('"').casefold())) >= 0]
    middle = min(places, default=0)
    start, end = max(0, middle - AROUND), middle + AROUND
    return ("…" if start else "") + " ".join(text[start:end].split()) + ("…" if end < len(text) else "")
