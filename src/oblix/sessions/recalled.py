"""The end of a conversation, as it goes before a prompt: read from the file backwards, as far as there is room for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from oblix.decision.tokens import estimate_messages
from oblix.sessions.codec import UNREADABLE, unpack
from oblix.sessions.rows import plain, sound
from oblix.storage.store import Work
from oblix.types.messages import Message

if TYPE_CHECKING:
    import apsw

TURN = 2  # versions that a question and its answer are apart
_COLUMNS = "SELECT seq, private, pinned, tokens, role, request_id, body FROM message "
_NEWEST = _COLUMNS + "WHERE session_id = ? AND state = 'whole' ORDER BY seq DESC"
# By its own index: without statistics SQLite would go through all of a session by the other one.
_PINNED = (
    _COLUMNS + "INDEXED BY message_pinned WHERE session_id = ? AND pinned AND state = 'whole' AND seq < ? ORDER BY seq"
)


@dataclass(frozen=True, slots=True)
class Recalled:
    """The end of a conversation, as it goes before a prompt.

    Attributes:
        messages: Whole turns, and what is pinned; labelled as they were kept.
        left_out: How many messages lie before them, about.
        context: What the session was begun with.
        redacted: One of them was sent with placeholders only.
        tokens: Of the messages, by estimate.
        room: Tokens that they were read for: with more room there might be more of them.
        version: When the session began, and how often it has changed since: where that is the same, the messages are, too.
    """

    messages: tuple[Message, ...]
    _: KW_ONLY
    left_out: int
    context: Mapping[str, Any]
    redacted: bool
    tokens: int
    room: int
    version: tuple[float, int]

    def gone_on(self, said: Sequence[Message], version: int, *, redacted: bool) -> Recalled | None:
        """With a question and its answer behind it; `None` where somebody else spoke meanwhile."""
        begun, known = self.version
        if version != known + TURN:
            return None
        return Recalled(
            (*self.messages, *said),
            left_out=self.left_out,
            context=self.context,
            redacted=self.redacted or redacted,
            tokens=self.tokens + estimate_messages(tuple(said)),
            room=self.room,
            version=(begun, version),
        )

    def fits(self, room: int, *, goes_on: bool) -> bool:
        """Whether the file would give the same for so many tokens."""
        return self.tokens <= room and (not self.left_out or (room <= self.room and not goes_on))


def recent(
    session_id: str, tokens: int, known: Recalled | None = None, *, goes_on: bool = False
) -> Work[Recalled | None]:
    """Reads the end of a conversation, of about so many tokens; what lies before costs nothing, however much it is.

    Args:
        known: What was read before, which is given again if nothing has changed.
        goes_on: The newest turn is not over, results of tools follow: it is read whole, however long it is.
    """
    place = sound(session_id)

    def work(db: apsw.Connection) -> Recalled | None:
        found = db.execute("SELECT context, created_at, version FROM session WHERE id = ?", (place,)).fetchone()
        if found is None:
            return None
        version = (found[1], found[2])
        if known is not None and known.version == version and known.fits(tokens, goes_on=goes_on):
            return known
        told, left_out = _told(db, place, tokens, goes_on=goes_on)
        messages = tuple(_messages(told))
        return Recalled(
            messages,
            left_out=left_out + len(told) - len(messages),
            context=plain(found[0]),
            redacted=any(row.private == 2 for row in told),
            tokens=sum(row.tokens for row in told),
            room=tokens,
            version=version,
        )

    return work


class _Row(NamedTuple):
    """A message as `_COLUMNS` gives it."""

    seq: int
    private: int
    pinned: int
    tokens: int
    role: str
    request_id: str
    body: bytes


def _told(db: apsw.Connection, session_id: str, tokens: int, *, goes_on: bool) -> tuple[list[_Row], int]:
    """The rows that go before a prompt, and how many do not."""
    found, begin = _newest(db, session_id, tokens, goes_on=goes_on)
    before: list[_Row] = []
    if begin > 1:
        while found and found[0].role != "user":  # half a turn
            begin = found.pop(0).seq + 1
        before = [_Row(*row) for row in db.execute(_PINNED, (session_id, begin))]
    turns = _by_question(found)
    if begin > 1:  # the question of such an answer lies before them
        turns = [turn for turn in turns if turn[0].role != "assistant" or not turn[0].request_id]
    told = [*before, *chain.from_iterable(turns)]
    return told, begin - 1 + len(found) - len(told)


def _newest(db: apsw.Connection, session_id: str, tokens: int, *, goes_on: bool) -> tuple[list[_Row], int]:
    """The newest rows, and the place from which on all are there."""
    found: list[_Row] = []
    left, begin = tokens, 1
    is_enough = not goes_on
    newest_first = db.execute(_NEWEST, (session_id,))
    for row in map(_Row._make, newest_first):
        left -= row.tokens
        if left < 0 and is_enough:
            begin = row.seq + 1
            break
        found.append(row)
        is_enough = is_enough or row.role == "user"
    newest_first.close()
    found.reverse()
    return found, begin


def _by_question(found: Sequence[_Row]) -> list[list[_Row]]:
    """The turns: each answer behind its question, also where two processes asked at once, or a request's name came again."""
    turns: list[list[_Row]] = []
    unanswered: dict[str, list[_Row]] = {}
    for row in found:
        turn = unanswered.get(row.request_id)
        if turn is None:
            turns.append(turn := [])
        turn.append(row)
        if row.request_id and row.role != "assistant":
            unanswered[row.request_id] = turn
        else:
            unanswered.pop(row.request_id, None)
    return turns


def _messages(rows: Sequence[_Row]) -> Iterator[Message]:
    """What they say, without those that cannot be read any more."""
    for row in rows:
        try:
            yield unpack(row.role, row.body, private=row.private == 1, pinned=bool(row.pinned))
        except UNREADABLE:
            continue
