"""What a client can do with sessions, beside asking in them: every method of both earlier versions, and some more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack
from uuid import uuid4

from oblix.client.wishes import read_id, read_message
from oblix.errors import InvalidRequest
from oblix.types.messages import Message
from oblix.types.reply import Reply

if TYPE_CHECKING:
    from oblix.client.client import OblixClient
    from oblix.client.hall import Hall
    from oblix.client.wishes import Wishes


class Conversations:
    """The part of the client that keeps conversations.

    What reads or writes a little is a plain function, and works without an event loop as well; what may take longer is awaited. A session
    that is not there gives `None` or `False`; whatever else goes wrong raises.

    Attributes:
        current_session_id: The session of requests that name none; may be set. `None`: they are kept in none.
    """

    _hall: Hall
    current_session_id: str | None = None

    # --- one session ---

    async def create_session(
        self,
        title: str | None = None,
        initial_context: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Begin a session; gives its id.

        Args:
            title: By default made of the first prompt that is not private.
            initial_context: Kept with it. Its `"system"` is the system prompt of every request that brings none.
            metadata: Kept with it, for `list_sessions(filter_metadata=…)`.
        """
        return await self._hall.memory.sessions.create(title, initial_context, metadata)

    async def create_and_use_session(
        self,
        title: str | None = None,
        initial_context: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """The same, and every request that names no session belongs to it from now on."""
        self.current_session_id = await self.create_session(title, initial_context, metadata)
        return self.current_session_id

    def use_session(self, session_id: str | None) -> bool:
        """Let every request that names no session belong to this one; `None`: to none. Whether there is such a session."""
        if session_id is not None and self.get_session_metadata(session_id) is None:
            return False
        self.current_session_id = session_id
        return True

    def list_sessions(self, limit: int = 50, filter_metadata: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The latest sessions: `id`, `title`, `created_at`, `updated_at` (ISO), `message_count`, `metadata`.

        Args:
            filter_metadata: Only those whose metadata holds all of this; a key may be a path (`"project.name"`).
        """
        return self._hall.memory.sessions.latest(limit, filter_metadata)

    def find_session(self, start: str) -> str:
        """The id that begins like this.

        Raises:
            InvalidRequest: None does, or several do.
        """
        found = self._hall.memory.sessions.starting(read_id(start))
        if len(found) == 1:
            return found[0]
        if not found:
            raise InvalidRequest(f"No session begins with {start!r}.", hint="`oblix sessions list` shows them.")
        raise InvalidRequest(f"Several sessions begin with {start!r}.", hint="Give more of the id.")

    def load_session(self, session_id: str) -> dict[str, Any] | None:
        """All of a session: `id`, `title`, `created_at`, `updated_at`, `messages`, `context`, `metadata`; `None` where there is none."""
        return self._hall.memory.sessions.load(read_id(session_id))

    def delete_session(self, session_id: str) -> bool:
        """Delete a session with all that was said in it, for good. Whether there was one."""
        is_deleted = self._hall.memory.sessions.delete(read_id(session_id))
        if session_id == self.current_session_id:
            self.current_session_id = None
        return is_deleted

    def rename_session(self, session_id: str, title: str) -> bool:
        """Give a session another title. Whether there is one."""
        return self._hall.memory.sessions.rename(read_id(session_id), title)

    def update_session_metadata(self, session_id: str, metadata: Mapping[str, Any]) -> bool:
        """Put these into a session's metadata; a value of `None` takes its key away. Whether there is such a session."""
        return self._hall.memory.sessions.update_metadata(read_id(session_id), metadata)

    def get_session_metadata(self, session_id: str) -> dict[str, Any] | None:
        """A session's metadata; `None` where there is no such session."""
        return self._hall.memory.sessions.metadata(read_id(session_id))

    # --- its messages ---

    async def add_messages(self, session_id: str, messages: Sequence[Message | Mapping[str, Any]]) -> None:
        """Put messages at the end of a session, which is made if need be: what was said elsewhere."""
        read = [each if isinstance(each, Message) else read_message(each) for each in messages]
        await self._hall.memory.sessions.append(read_id(session_id), read)

    def pin_message(self, session_id: str, message_id: str) -> bool:
        """Keep a message where others are cut, because the conversation does not fit a window. Whether it is there."""
        return self._hall.memory.sessions.pin(read_id(session_id), read_id(message_id, "message"))

    def unpin_message(self, session_id: str, message_id: str) -> bool:
        """Take that back."""
        return self._hall.memory.sessions.unpin(read_id(session_id), read_id(message_id, "message"))

    async def search_sessions(
        self,
        query: str,
        limit: int = 20,
        session_id: str | None = None,
        role: str | None = None,
        filter_metadata: Mapping[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        """Messages that hold all of these words, the best first: `session_id`, `title`, `message_id`, `role`, `timestamp`, `snippet`."""
        return await self._hall.memory.sessions.search(
            query,
            limit=limit,
            session_id=None if session_id is None else read_id(session_id),
            role=role,
            filter_metadata=filter_metadata,
        )

    # --- from one to another ---

    async def export_session(
        self, session_id: str, export_path: str | Path | None = None, *, file_path: str | Path | None = None
    ) -> bool:
        """Write a session to a file, as JSON. Whether there is such a session.

        Args:
            export_path: The file; `file_path` is another name for it.
        """
        return await self._hall.memory.sessions.export_to(read_id(session_id), _one_path(export_path, file_path))

    async def import_session(
        self,
        import_path: str | Path | None = None,
        new_id: bool = True,
        use_immediately: bool = False,
        *,
        file_path: str | Path | None = None,
    ) -> str | None:
        """Read a session from a file: an export, or a session file of the original Oblix. Whole or not at all; gives its id.

        Args:
            import_path: The file; `file_path` is another name for it.
            new_id: Give it an id of its own. Else it keeps the file's, and `None` says that such a session is here already.
            use_immediately: Requests that name no session belong to it from now on.
        """
        path = _one_path(import_path, file_path)
        return self._used(await self._hall.memory.sessions.import_from(path, new_id=new_id), use_immediately)

    async def merge_sessions(
        self,
        source_ids: Sequence[str] | None = None,
        title: str | None = None,
        use_immediately: bool = False,
        *,
        session_ids: Sequence[str] | None = None,
    ) -> str | None:
        """Put several sessions into a new one, by time; gives its id, `None` where one of them is not there. The sources stay.

        Args:
            source_ids: The sessions; `session_ids` is another name for them.
        """
        ids = source_ids if source_ids is not None else session_ids
        if not ids or isinstance(ids, str):
            raise InvalidRequest("No sessions are named.", hint='Pass a list: merge_sessions(["…", "…"]).')
        merged = await self._hall.memory.sessions.merge([read_id(each) for each in ids], title)
        return self._used(merged, use_immediately)

    async def copy_session(
        self, session_id: str, new_title: str | None = None, use_immediately: bool = False
    ) -> str | None:
        """Copy a session; gives the new id, `None` where it is not there."""
        return self._used(await self._hall.memory.sessions.copy(read_id(session_id), new_title), use_immediately)

    async def fork_session(
        self, session_id: str, message_id: str, title: str | None = None, use_immediately: bool = False
    ) -> str | None:
        """Copy a session up to a message, that one included, to go on from there in another way; gives the new id."""
        ids = read_id(session_id), read_id(message_id, "message")
        return self._used(await self._hall.memory.sessions.fork(*ids, title), use_immediately)

    def _used(self, session_id: str | None, use: bool) -> str | None:
        if use and session_id is not None:
            self.current_session_id = session_id
        return session_id

    # --- talking ---

    async def chat_once(self, prompt: str, session_id: str | None = None, **wishes: Unpack[Wishes]) -> Reply:
        """Ask in this session, else in the current one, else in a new one; it is the current one from then on, and `reply.session_id`."""
        self.current_session_id = self._begun(session_id)
        return await self._client.execute(prompt, session_id=self.current_session_id, **wishes)

    async def start_chat(self, session_id: str | None = None, **wishes: Unpack[Wishes]) -> str:
        """Talk on the terminal until `exit`, each answer shown when it is whole; gives the session's id. `/help` lists the commands."""
        return await self._talk(session_id, wishes, streams=False)

    async def chat_streaming(self, session_id: str | None = None, **wishes: Unpack[Wishes]) -> str:
        """The same, each answer shown as it comes."""
        return await self._talk(session_id, wishes, streams=True)

    async def _talk(self, session_id: str | None, wishes: Wishes, *, streams: bool) -> str:
        from oblix.client.chat import Talk

        conversation = Talk(self._client, self._begun(session_id), wishes=wishes, streams=streams)
        await conversation.run()
        self.current_session_id = conversation.session_id
        return conversation.session_id

    def _begun(self, session_id: str | None) -> str:
        """The session that is named, else the current one, else a new one."""
        named = self.current_session_id if session_id is None else session_id
        return uuid4().hex if named is None else read_id(named)

    @property
    def _client(self) -> OblixClient:
        """This is a part of it."""
        return self  # type: ignore[return-value]


def _one_path(path: str | Path | None, other: str | Path | None) -> Path:
    found = path if path is not None else other
    if found is None:
        raise InvalidRequest("No file is named.", hint="Pass its path.")
    return Path(found)
