"""Sessions in the data file. What is awaited may take long; what is a plain function is short, and works without a loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from oblix.decision.tokens import estimate_messages
from oblix.errors import ConfigurationError, InvalidRequest
from oblix.sessions import recalled, rows, search, transfer
from oblix.sessions.codec import compact, pack
from oblix.sessions.recalled import Recalled
from oblix.sessions.rows import Read, Row
from oblix.storage.store import Store, StoreBusy, Work
from oblix.types.messages import Message

if TYPE_CHECKING:
    import apsw

T = TypeVar("T")
DAY = 86_400.0  # seconds
LEASE = 3600.0  # seconds after which an unanswered question is given up, where nobody can tell whether its process still works
# What is written in one transaction, which takes half a second here: other processes wait for two at most.
MOST_MESSAGES = 50_000
MOST_BYTES = 64 << 20
_IN_USE = "Another process writes to it for long; try again."
_HINTS = {
    "BusyError": _IN_USE,
    "LockedError": _IN_USE,
    "StoreBusy": _IN_USE,
    "FullError": "Make room on the disk, then try again.",
}


class Sessions:
    """The sessions of one data file.

    Args:
        wall: Seconds since the epoch.
        me: This process, as others can recognise it.
        is_alive: Whether a process works; `None` where that cannot be told.
    """

    def __init__(
        self,
        store: Store,
        wall: Callable[[], float],
        *,
        me: Callable[[], str] = str,
        is_alive: Callable[[str], bool | None] = lambda owner: None,
    ) -> None:
        self._store = store
        self._wall = wall
        self._me = me
        self._is_alive = is_alive

    # --- sessions ---

    async def create(
        self,
        title: str | None = None,
        context: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        session_id: str | None = None,
    ) -> str:
        """Begin a session; gives its id. Without a title it gets one from its first prompt that is not private."""
        found = session_id or uuid4().hex
        row = (found, _titled(title), _plain("initial_context", context), _plain("metadata", metadata), self._wall())
        with self._using():
            await self._store.write(lambda db: rows.make(db, *row))
        return found

    def latest(self, limit: int = 50, filter_metadata: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The latest sessions, the newest first; those whose metadata holds all of `filter_metadata`."""
        wanted = dict(filter_metadata or {})
        return self._look(lambda db: list(islice(rows.listed(db, wanted), max(0, limit))), [])

    def starting(self, start: str) -> list[str]:
        """The ids that begin like this; one that is the same stands alone."""
        found: list[str] = self._look(lambda db: rows.starting(db, start), [])
        return [start] if start in found else found

    def load(self, session_id: str) -> dict[str, Any] | None:
        """All of a session as plain data."""
        return self._look(lambda db: rows.loaded(db, session_id), None)

    exported = load

    def delete(self, session_id: str) -> bool:
        """Delete a session, and what search knows of it, for good."""
        is_deleted = self._change(lambda db: rows.delete(db, session_id))
        if is_deleted:
            self._store.empty_log()
        return is_deleted

    def rename(self, session_id: str, title: str) -> bool:
        """Give it another title."""
        told = _titled(title)
        return self._change(lambda db: rows.rename(db, session_id, told))

    def metadata(self, session_id: str) -> dict[str, Any] | None:
        """Its metadata."""
        return self._look(lambda db: rows.metadata(db, session_id), None)

    def update_metadata(self, session_id: str, metadata: Mapping[str, Any]) -> bool:
        """Put these into its metadata; `None` takes a key away."""
        _plain("metadata", metadata)
        return self._change(lambda db: rows.update_metadata(db, session_id, metadata))

    def pin(self, session_id: str, message_id: str) -> bool:
        """Keep a message where others are cut."""
        return self._change(lambda db: rows.pin(db, session_id, message_id, pinned=True))

    def unpin(self, session_id: str, message_id: str) -> bool:
        """Take that back."""
        return self._change(lambda db: rows.pin(db, session_id, message_id, pinned=False))

    # --- on the path of a prompt ---

    def recent(
        self, session_id: str, tokens: int, known: Recalled | None = None, *, goes_on: bool = False
    ) -> Work[Recalled | None]:
        """See `oblix.sessions.recalled.recent`."""
        return recalled.recent(session_id, tokens, known, goes_on=goes_on)

    def asked(self, session_id: str, messages: Sequence[Message], *, request_id: str, private: int = 0) -> Work[None]:
        """Writes a question that waits for its answer; the session is made if need be."""
        at, owner = self._wall(), self._me()
        new = [_row(each, at, "open", private=private, request_id=request_id, owner=owner) for each in messages]
        title = "" if private else rows.title_of(messages)

        def work(db: apsw.Connection) -> None:
            rows.append(db, session_id, new, at, title)

        return work

    def answered(
        self,
        session_id: str,
        answer: Message,
        *,
        request_id: str,
        model_id: str,
        private: int = 0,
        finish_reason: str = "stop",
    ) -> Work[int]:
        """Writes the answer to it; both are whole from now on. Gives the session's version, 0 where the question is gone."""
        at = self._wall()
        beside = _told_of(finish_reason)
        new = [_row(answer, at, "whole", private=private, request_id=request_id, model_id=model_id, **beside)]

        def work(db: apsw.Connection) -> int:
            return rows.append(db, session_id, new, at) if rows.close(db, session_id, request_id, "whole") else 0

        return work

    def broken(
        self,
        session_id: str,
        text: str,
        *,
        request_id: str,
        model_id: str,
        private: int = 0,
        finish_reason: str = "",
    ) -> Work[None]:
        """Writes how far its answer came; both are incomplete, and never go to a model again."""
        at = self._wall()
        answer = [Message("assistant", text)] if text else []
        beside = _told_of(finish_reason)
        new = [
            _row(each, at, "incomplete", private=private, request_id=request_id, model_id=model_id, **beside)
            for each in answer
        ]

        def work(db: apsw.Connection) -> None:
            if rows.close(db, session_id, request_id, "incomplete") and new:
                rows.append(db, session_id, new, at)

        return work

    def recover(self) -> Work[int]:
        """Gives up the questions of processes that ended before their answers came; how many messages that were."""
        long_ago = self._wall() - LEASE

        def work(db: apsw.Connection) -> int:
            given_up = 0
            for owner, since in rows.waiting(db):
                alive = self._is_alive(owner)
                if alive is False or (alive is None and since < long_ago):
                    given_up += rows.give_up(db, owner, None if alive is False else long_ago)
            return given_up

        return work

    # --- many messages at once ---

    async def append(self, session_id: str, messages: Sequence[Message]) -> None:
        """Put whole messages at the end of a session, which is made if need be; very many in several steps."""
        at, title = self._wall(), rows.title_of(messages)
        new = [_row(each, at, "whole", private=int(each.private)) for each in messages]
        for begin in range(0, len(new) or 1, MOST_MESSAGES):
            part = new[begin : begin + MOST_MESSAGES]
            await self._write(partial(rows.append, session_id=session_id, rows=part, at=at, title=title))

    async def export_to(self, session_id: str, path: Path) -> bool:
        """Write a session to a file; whether there is one."""
        found = await self._aside(lambda db: rows.loaded(db, session_id), None)
        if found is None:
            return False
        await asyncio.to_thread(transfer.write, path, found)
        return True

    async def import_from(self, path: Path, *, new_id: bool = True) -> str | None:
        """Read a session from a file, whole or not at all; its id, `None` where it keeps its own and that is here already.

        Raises:
            InvalidRequest: The file holds no session.
        """
        read = await asyncio.to_thread(transfer.read, path, self._wall())
        return await self._put(uuid4().hex if new_id or not read.id else read.id, read)

    async def merge(self, ids: Sequence[str], title: str | None = None) -> str | None:
        """Put sessions into a new one, by time; `None` where one of them is not there."""
        now, title, sources = self._wall(), _titled(title), list(dict.fromkeys(ids))
        return await self._put(uuid4().hex, await self._aside(lambda db: rows.merged(db, sources, title, now), None))

    async def copy(self, session_id: str, title: str | None = None) -> str | None:
        """Copy a session; the new id, `None` where it is not there."""
        now, title = self._wall(), _titled(title)
        return await self._put(uuid4().hex, await self._aside(lambda db: rows.copied(db, session_id, title, now), None))

    async def fork(self, session_id: str, message_id: str, title: str | None = None) -> str | None:
        """Copy a session up to a message, that one included; `None` where one of the two is not there."""
        now, title = self._wall(), _titled(title)
        read = await self._aside(lambda db: rows.copied(db, session_id, title, now, until=message_id), None)
        return await self._put(uuid4().hex, read)

    async def search(
        self,
        query: str,
        *,
        limit: int = 20,
        session_id: str | None = None,
        role: str | None = None,
        filter_metadata: Mapping[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        """Messages that hold all of these words, the best first. Any text is a query; what holds no word finds nothing."""
        words = search.words_of(query)
        if not words or not await asyncio.to_thread(self._is_there):
            return []
        while await self._write(search.index):
            pass
        wanted = search.Wanted(words, limit, session_id, role, dict(filter_metadata or {}))
        return await self._aside(lambda db: search.find(db, wanted), [])

    def forget(self, days: float, spared: Container[str] = ()) -> int:
        """Delete the sessions in which nothing was said for so many days; how many. Those that wait for an answer stay. Blocks.

        Args:
            spared: Somebody is about to speak in these.
        """
        before, forgotten = self._wall() - days * DAY, 0
        while found := self._change(lambda db: rows.forget(db, before, spared)):
            forgotten += found
        if forgotten:
            self._store.empty_log()
        return forgotten

    # --- the file ---

    def _look(self, work: Work[T], otherwise: T) -> T:
        """What is found."""
        with self._using():
            return self._store.read(work) if self._is_there() else otherwise

    def _change(self, work: Work[T]) -> T:
        """What came of a short one."""
        with self._using():
            return self._store.write_now(work)

    async def _aside(self, work: Work[T], otherwise: T) -> T:
        """What is found by a long look."""
        if not await asyncio.to_thread(self._is_there):
            return otherwise
        with self._using():
            return await self._store.read_aside(work)

    async def _put(self, session_id: str, read: Read | None) -> str | None:
        """A session that was read, by a transaction that does nothing but write: others wait for it."""
        if read is None:
            return None
        if len(read.messages) > MOST_MESSAGES or sum(len(row.body) for row in read.messages) > MOST_BYTES:
            raise InvalidRequest(
                f"More than {MOST_MESSAGES:,} messages, or {MOST_BYTES >> 20} MiB, are too much for one step.",
                hint="fork_session copies a part, and add_messages takes any number.",
            )
        return await self._write(lambda db: rows.put(db, session_id, read))

    def _is_there(self) -> bool:
        """Whether there is a file: looking makes none."""
        return self._store.is_open or self._store.exists()

    async def _write(self, work: Work[T]) -> T:
        """In a thread: many rows take their time."""
        return await asyncio.to_thread(self._change, work)

    @contextmanager
    def _using(self) -> Iterator[None]:
        """What the file cannot be used for becomes an error of ours."""
        import apsw

        try:
            yield
        except (apsw.Error, StoreBusy) as error:
            hint = _HINTS.get(
                type(error).__name__, "Try again; a damaged file is put aside, with what can be read of it kept."
            )
            said = f"The sessions in {str(self._store.path)!r} cannot be used: {error}."
            raise ConfigurationError(said, hint=hint, cause=error) from None


def _row(
    message: Message,
    at: float,
    state: str,
    *,
    private: int,
    request_id: str = "",
    model_id: str = "",
    owner: str = "",
    **beside: str,
) -> Row:
    tokens = estimate_messages((message,))
    body = pack(message, **beside)
    pinned = message.pinned or message.role == "system"  # what always stays is found without reading all
    return Row(
        at, state, pinned, private, message.role, tokens, rows.sound(model_id), rows.sound(request_id), owner, body
    )


def _titled(title: object) -> str:
    if not isinstance(title, str | None):
        raise InvalidRequest(f"A title is of type {type(title).__name__}.", hint="Expected: str.")
    return title or ""


def _told_of(finish_reason: str) -> dict[str, str]:
    """What is kept of how an answer ended: only what its text does not show."""
    return {} if finish_reason in ("", "stop", "tool_calls") else {"finish_reason": finish_reason}


def _plain(name: str, found: Mapping[str, Any] | None) -> bytes:
    try:
        if not isinstance(found or {}, Mapping):
            raise TypeError(f"it is of type {type(found).__name__}")
        return compact(dict(found or {}))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"{name} cannot be kept: {error}.", hint="Pass a dict that JSON can hold.") from None
