"""The blocking twin of what a client can do with sessions. Each method is described at `oblix.OblixClient`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from oblix.types.messages import Message
from oblix.types.reply import Reply

if TYPE_CHECKING:
    from oblix.client.client import OblixClient as AsyncClient
    from oblix.client.wishes import Wishes

T = TypeVar("T")


async def soon(work: Callable[[], T]) -> T:
    """On the loop's thread, where nobody else looks at the same things."""
    return work()


class Conversations(ABC):
    """See `oblix.client.conversation.Conversations`."""

    _client: AsyncClient

    @abstractmethod
    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end on the twin's loop."""

    @property
    def current_session_id(self) -> str | None:
        """The session of requests that name none; may be set."""
        return self._client.current_session_id

    @current_session_id.setter
    def current_session_id(self, session_id: str | None) -> None:
        self._client.current_session_id = session_id

    def create_session(
        self,
        title: str | None = None,
        initial_context: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """See `oblix.OblixClient.create_session`."""
        return self._run(self._client.create_session(title, initial_context, metadata))

    def create_and_use_session(
        self,
        title: str | None = None,
        initial_context: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """See `oblix.OblixClient.create_and_use_session`."""
        return self._run(self._client.create_and_use_session(title, initial_context, metadata))

    def use_session(self, session_id: str | None) -> bool:
        """See `oblix.OblixClient.use_session`."""
        return self._run(soon(lambda: self._client.use_session(session_id)))

    def list_sessions(self, limit: int = 50, filter_metadata: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """See `oblix.OblixClient.list_sessions`."""
        return self._run(soon(lambda: self._client.list_sessions(limit, filter_metadata)))

    def find_session(self, start: str) -> str:
        """See `oblix.OblixClient.find_session`."""
        return self._run(soon(lambda: self._client.find_session(start)))

    def load_session(self, session_id: str) -> dict[str, Any] | None:
        """See `oblix.OblixClient.load_session`."""
        return self._run(soon(lambda: self._client.load_session(session_id)))

    def delete_session(self, session_id: str) -> bool:
        """See `oblix.OblixClient.delete_session`."""
        return self._run(soon(lambda: self._client.delete_session(session_id)))

    def rename_session(self, session_id: str, title: str) -> bool:
        """See `oblix.OblixClient.rename_session`."""
        return self._run(soon(lambda: self._client.rename_session(session_id, title)))

    def update_session_metadata(self, session_id: str, metadata: Mapping[str, Any]) -> bool:
        """See `oblix.OblixClient.update_session_metadata`."""
        return self._run(soon(lambda: self._client.update_session_metadata(session_id, metadata)))

    def get_session_metadata(self, session_id: str) -> dict[str, Any] | None:
        """See `oblix.OblixClient.get_session_metadata`."""
        return self._run(soon(lambda: self._client.get_session_metadata(session_id)))

    def add_messages(self, session_id: str, messages: Sequence[Message | Mapping[str, Any]]) -> None:
        """See `oblix.OblixClient.add_messages`."""
        self._run(self._client.add_messages(session_id, messages))

    def pin_message(self, session_id: str, message_id: str) -> bool:
        """See `oblix.OblixClient.pin_message`."""
        return self._run(soon(lambda: self._client.pin_message(session_id, message_id)))

    def unpin_message(self, session_id: str, message_id: str) -> bool:
        """See `oblix.OblixClient.unpin_message`."""
        return self._run(soon(lambda: self._client.unpin_message(session_id, message_id)))

    def search_sessions(
        self,
        query: str,
        limit: int = 20,
        session_id: str | None = None,
        role: str | None = None,
        filter_metadata: Mapping[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        """See `oblix.OblixClient.search_sessions`."""
        return self._run(self._client.search_sessions(query, limit, session_id, role, filter_metadata))

    def export_session(
        self, session_id: str, export_path: str | Path | None = None, *, file_path: str | Path | None = None
    ) -> bool:
        """See `oblix.OblixClient.export_session`."""
        return self._run(self._client.export_session(session_id, export_path, file_path=file_path))

    def import_session(
        self,
        import_path: str | Path | None = None,
        new_id: bool = True,
        use_immediately: bool = False,
        *,
        file_path: str | Path | None = None,
    ) -> str | None:
        """See `oblix.OblixClient.import_session`."""
        return self._run(self._client.import_session(import_path, new_id, use_immediately, file_path=file_path))

    def merge_sessions(
        self,
        source_ids: Sequence[str] | None = None,
        title: str | None = None,
        use_immediately: bool = False,
        *,
        session_ids: Sequence[str] | None = None,
    ) -> str | None:
        """See `oblix.OblixClient.merge_sessions`."""
        return self._run(self._client.merge_sessions(source_ids, title, use_immediately, session_ids=session_ids))

    def copy_session(self, session_id: str, new_title: str | None = None, use_immediately: bool = False) -> str | None:
        """See `oblix.OblixClient.copy_session`."""
        return self._run(self._client.copy_session(session_id, new_title, use_immediately))

    def fork_session(
        self, session_id: str, message_id: str, title: str | None = None, use_immediately: bool = False
    ) -> str | None:
        """See `oblix.OblixClient.fork_session`."""
        return self._run(self._client.fork_session(session_id, message_id, title, use_immediately))

    def chat_once(self, prompt: str, session_id: str | None = None, **wishes: Unpack[Wishes]) -> Reply:
        """See `oblix.OblixClient.chat_once`."""
        return self._run(self._client.chat_once(prompt, session_id, **wishes))

    def start_chat(self, session_id: str | None = None, **wishes: Unpack[Wishes]) -> str:
        """See `oblix.OblixClient.start_chat`."""
        return self._run(self._client.start_chat(session_id, **wishes))

    def chat_streaming(self, session_id: str | None = None, **wishes: Unpack[Wishes]) -> str:
        """See `oblix.OblixClient.chat_streaming`."""
        return self._run(self._client.chat_streaming(session_id, **wishes))
