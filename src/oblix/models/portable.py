"""A conversation as another provider takes it: ids, orphaned calls and results, roles, empty turns, images, thoughts.

Each provider refuses something that another one writes: ids of tool calls that are too long or come twice, calls that were never answered,
turns out of order. Here a conversation is changed as little as its next provider demands. What was changed once stays as it is; and the
beginning of a conversation is changed in the same way however it goes on, so that a provider's prompt cache still fits.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import count

from oblix.models.dialects import Dialect
from oblix.models.wire_tools import object_text
from oblix.types.messages import Image, Message, Text, ToolCall
from oblix.types.spec import ModelSpec

IMAGE = Text("[image]")
NO_RESULT = "(No result: the call was not carried out.)"
NO_ANSWER = "(The answer to this was lost.)"
OPENING = "(The conversation goes on.)"
_log = logging.getLogger("oblix.models")


def portable(messages: tuple[Message, ...], dialect: Dialect, spec: ModelSpec) -> tuple[Message, ...]:
    """The conversation as the model `spec` takes it.

    Images that it cannot see become words in earlier turns; those of the newest turn stay, because they are what is asked about.
    """
    if len(messages) == 1 and _is_plain(messages[0]):
        return messages
    calls = _Calls(dialect)
    mine = [_mine(message, spec) for message in _seen(messages, dialect, vision="vision" in spec.capabilities)]
    for message in _joined(mine) if dialect.joined else mine:
        calls.take(message)
    turns = _spoken(calls.turns(), dialect)
    if dialect.system_first:
        turns = _system_first(turns)
    if dialect.joined:
        turns = _joined(turns)
    if dialect.parted:
        turns = [part for turn in turns for part in _parted(turn)]
    if dialect.answered:
        turns = list(_answered(turns))
    if not turns or dialect.user_first:
        turns = _user_first(turns)
    if dialect.trimmed:
        turns[-1] = _trimmed(turns[-1])
    for what in calls.told:
        _log.debug("conversation for %s: %s", spec.id, what)
    return tuple(turns)


def _is_plain(message: Message) -> bool:
    has_more = message.tool_calls or message.tool_call_id is not None or message.thoughts
    return (
        message.role == "user" and not has_more and isinstance(message.content, str) and bool(message.content.strip())
    )


def _seen(messages: tuple[Message, ...], dialect: Dialect, *, vision: bool) -> Iterator[Message]:
    """Words for the images that no model takes (of other roles than the user), and for those of earlier turns that this one cannot see."""
    newest = max((at for at, message in enumerate(messages) if message.role == "assistant"), default=-1)
    for at, message in enumerate(messages):
        if not message.images:
            yield message
            continue
        kept = message.role == "user" and (vision or at > newest)
        urls = dialect.addresses or at > newest
        parts = (Text(message.content),) if isinstance(message.content, str) else message.content
        yield replace(message, content=tuple(p if _is_shown(p, kept=kept, urls=urls) else IMAGE for p in parts))


def _is_shown(part: Text | Image, *, kept: bool, urls: bool) -> bool:
    return isinstance(part, Text) or (kept and bool(part.data or (part.url and urls)))


def _mine(message: Message, spec: ModelSpec) -> Message:
    """Without thoughts of other models: each is signed for, or of use to, the one that thought it."""
    if not message.thoughts:
        return message
    mine = [t for t in message.thoughts if (t.provider, t.model) == (spec.provider, spec.name)]
    return replace(message, thoughts=tuple(mine) if message.role == "assistant" else ())


@dataclass(slots=True)
class _Open:
    """A call that waits for its result."""

    turn: int
    old_id: str
    new_id: str


@dataclass(slots=True)
class _Calls:
    """Gathers a conversation turn by turn; each result is put behind its call, and both get an id that the dialect takes."""

    dialect: Dialect
    told: list[str] = field(default_factory=list)
    _turns: list[Message] = field(default_factory=list)
    _results: dict[str, Message] = field(default_factory=dict)  # by the new id
    _open: list[_Open] = field(default_factory=list)
    _used: set[str] = field(default_factory=set)

    def take(self, message: Message) -> None:
        """The next turn."""
        if message.role == "tool":
            self._take_result(message)
        elif message.role == "assistant" and message.tool_calls:
            calls = tuple([self._renamed(call) for call in message.tool_calls])
            self._turns.append(replace(message, tool_calls=calls, tool_call_id=None))
        elif message.tool_calls or message.tool_call_id is not None:
            self._turns.append(replace(message, tool_calls=(), tool_call_id=None))
        else:
            self._turns.append(message)

    def turns(self) -> list[Message]:
        """All turns, with one result for each call."""
        turns: list[Message] = []
        for turn in self._turns:
            turns.append(turn)
            for call in turn.tool_calls:
                result = self._results.get(call.id)
                if result is None:
                    self.told.append("a call without a result got one that says so")
                turns.append(result or Message("tool", NO_RESULT, tool_call_id=call.id))
        return turns

    def _take_result(self, message: Message) -> None:
        """To the newest turn with an open call of that id; a result without an id to the newest turn with any."""
        found = [call for call in self._open if not message.tool_call_id or call.old_id == message.tool_call_id]
        if not found:
            self.told.append("a result without a call was left out")
            return
        call = next(call for call in found if call.turn == found[-1].turn)
        self._open.remove(call)
        self._results[call.new_id] = replace(message, tool_call_id=call.new_id, tool_calls=(), thoughts=())

    def _renamed(self, call: ToolCall) -> ToolCall:
        new_id = self._new_id(call.id)
        self._used.add(new_id)
        self._open.append(_Open(len(self._turns), call.id, new_id))
        return ToolCall(new_id, tool_name(call.name, self.dialect), object_text(call.arguments))

    def _new_id(self, old: str) -> str:
        if old not in self._used and self.dialect.ids.fullmatch(old):
            return old
        self.told.append("the id of a tool call was changed")
        tries = (f"{old}\0{number}".encode("utf-8", "surrogatepass") for number in count())
        ids = (blake2b(each, digest_size=5).hexdigest()[:9] for each in tries)
        return next(new for new in ids if new not in self._used)


def tool_name(name: str, dialect: Dialect) -> str:
    """The name of a tool that was called, as the provider takes it."""
    if dialect.names.fullmatch(name):
        return name
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64] or "unnamed"


def _spoken(turns: list[Message], dialect: Dialect) -> list[Message]:
    """Without the turns in which nothing is said; but an answer that was begun may have begun with white space."""
    spoken = [turn for turn in turns if not _is_void(turn, dialect)]
    if dialect.begun and turns and turns[-1].role == "assistant" and turns[-1].content and _is_void(turns[-1], dialect):
        spoken.append(turns[-1])
    return spoken


def _is_void(turn: Message, dialect: Dialect) -> bool:
    """Nothing is said in it. What a tool gave may be nothing."""
    if turn.role == "tool" or turn.tool_calls or turn.images or turn.text.strip():
        return False
    return turn.role != "user" or not dialect.blank


def _system_first(turns: list[Message]) -> list[Message]:
    system = [turn for turn in turns if turn.role == "system"]
    if not system or (len(system) == 1 and turns[0] is system[0]):
        return turns
    together = replace(system[0], content="\n\n".join(turn.text for turn in system))
    return [_private(together, system), *(turn for turn in turns if turn.role != "system")]


def _joined(turns: Iterable[Message]) -> list[Message]:
    """Neighbours of one role as one turn; their thoughts go, because they belong to the turns as they were."""
    joined: list[Message] = []
    for turn in turns:
        last = joined[-1] if joined else None
        if last is None or last.role != turn.role or turn.role == "tool":
            joined.append(turn)
        else:
            content = _added(last.content, turn.content)
            one = replace(last, content=content, tool_calls=last.tool_calls + turn.tool_calls, thoughts=())
            joined[-1] = _private(one, (last, turn))
    return joined


def _added(
    first: str | tuple[Text | Image, ...], second: str | tuple[Text | Image, ...]
) -> str | tuple[Text | Image, ...]:
    if isinstance(first, str) and isinstance(second, str):
        return "\n\n".join(filter(None, (first, second)))
    parts = ((Text(each),) if isinstance(each, str) else each for each in (first, second))
    return tuple(part for each in parts for part in each)


def _private(turn: Message, of: Iterable[Message]) -> Message:
    return replace(turn, private=any(each.private for each in of))


def _parted(turn: Message) -> tuple[Message, ...]:
    if not turn.tool_calls or not turn.content:
        return (turn,)
    calls = replace(turn, content="")
    return (replace(turn, tool_calls=(), thoughts=()), calls) if turn.text.strip() else (calls,)


def _answered(turns: Iterable[Message]) -> Iterator[Message]:
    last = None
    for turn in turns:
        if last == "tool" and turn.role == "user":
            yield Message("assistant", NO_ANSWER)
        yield turn
        last = turn.role


def _user_first(turns: list[Message]) -> list[Message]:
    at = next((at for at, turn in enumerate(turns) if turn.role != "system"), len(turns))
    if at < len(turns) and turns[at].role == "user":
        return turns
    return [*turns[:at], Message("user", OPENING), *turns[at:]]


def _trimmed(turn: Message) -> Message:
    return replace(turn, content=turn.text.rstrip()) if turn.role == "assistant" else turn
