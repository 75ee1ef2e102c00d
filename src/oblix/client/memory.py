"""Sessions on the path of a prompt: what was said goes before it, and what is said is kept."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Container, Sequence
from dataclasses import replace
from functools import cached_property
from math import inf
from random import getrandbits
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

from oblix.decision.tokens import estimate_request
from oblix.errors import ConfigurationError, DeadlineExceeded, InvalidRequest
from oblix.storage.store import Store, StoreBusy, Work
from oblix.types.attempt import Attempt
from oblix.types.decision import Decision
from oblix.types.messages import Message
from oblix.types.privacy import Privacy
from oblix.types.reply import Reply
from oblix.types.request import Request

if TYPE_CHECKING:
    from oblix.execution.journey import Journey
    from oblix.sessions.recalled import Recalled
    from oblix.sessions.store import Sessions

T = TypeVar("T")
# Tokens of a conversation that are looked at, by estimate, where no window is smaller: some 600 messages, read in 3 ms. What goes before
# a prompt is paid for at every turn.
MOST = 32_768
ANSWER = 1024  # tokens that are kept free in a window for an answer whose length the caller left open
FORGET_EVERY = 86_400.0  # seconds
KNOWN = 64  # conversations that are kept in mind, so that they need not be read again at every turn
DENSEST = 3.0  # tokens for one of our estimate: signs that hardly any tokenizer knows
MARGIN = 0.9  # of a window: tokens are counted by estimate
# Finish reasons of answers that the caller did not bound: kept as broken off, because half a sentence, or what a filter stopped, spoils
# what is asked next. What `max_tokens` ended is no less true for that, and the next turn may ask to go on.
CUT_OFF = frozenset({"budget", "content_filter"})
PRIVATE, REDACTED = 1, 2  # how a message is marked: it stays at home; a cloud model may have it with placeholders only
_log = logging.getLogger("oblix.sessions")


class Memory:
    """The sessions of one client, and whose turn it is to speak in each.

    Args:
        wall: Seconds since the epoch.

    Attributes:
        retain_days: Sessions in which nothing was said for so long are deleted before the first request of a day; `None`: never.
    """

    retain_days: float | None = None

    def __init__(self, store: Store, wall: Callable[[], float]) -> None:
        self.store = store
        self._wall = wall
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.density: dict[
            str, float
        ] = {}  # model id → tokens that it lately counted for one of our estimate, at least 1
        self._known: OrderedDict[str, Recalled] = OrderedDict()
        self._said = ""
        self._opening = asyncio.Lock()
        self._is_ready = False
        self._forgets_at = -inf  # seconds since the epoch

    @cached_property
    def sessions(self) -> Sessions:
        """The sessions; imported when they are first used, because that takes 20 ms."""
        from oblix.ledger import owner
        from oblix.sessions.store import Sessions

        return Sessions(self.store, self._wall, me=owner.me, is_alive=owner.is_alive)

    async def get_ready(self) -> None:
        """What the first request in a session waits for: the file, and what processes left in it that ended in mid-answer.

        Once a day it also deletes what is too old, but no session that is being spoken in.
        """
        if self._is_ready and self.store.is_open and not self._forgets:
            return
        async with self._opening:  # whoever comes meanwhile waits as well
            spoken_in = {session_id for session_id, turn in self._turns.items() if turn.locked()}
            await self.guarded(asyncio.to_thread(self._begin, spoken_in))

    def _begin(self, spoken_in: Container[str]) -> None:
        from oblix.ledger import owner

        owner.me()  # it reads a file, once
        sessions = self.sessions
        if not (self.store.is_open or self.store.exists()):
            return  # looking back creates nothing
        self.store.open()
        if not self._is_ready:
            self._is_ready = True
            self.store.write_now(sessions.recover())
        if self.retain_days is not None and self._forgets:
            self._forgets_at = self._wall() + FORGET_EVERY
            sessions.forget(self.retain_days, spoken_in)

    @property
    def _forgets(self) -> bool:
        """Whether it is time for that."""
        return self.retain_days is not None and self._wall() >= self._forgets_at

    async def recent(self, session_id: str, tokens: int, *, goes_on: bool) -> Recalled | None:
        """The end of a conversation, `None` where there is none; `goes_on`: with all of its newest turn."""
        if not self.store.is_open:
            return None
        known = self._known.get(session_id)
        found = self.store.read(self.sessions.recent(session_id, tokens, known, goes_on=goes_on))
        self.keep_in_mind(session_id, found)
        return found

    def keep_in_mind(self, session_id: str, recalled: Recalled | None) -> None:
        """For the next turn, which looks whether it still holds."""
        if recalled is None:
            self._known.pop(session_id, None)
            return
        self._known[session_id] = recalled
        self._known.move_to_end(session_id)
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)

    def turn(self, session_id: str) -> asyncio.Lock:
        """Whoever holds it speaks in that session: first come, first served."""
        lock = self._turns.get(session_id)
        if lock is None:
            lock = self._turns[session_id] = asyncio.Lock()
        return lock

    async def guarded(self, work: Awaitable[T]) -> T | None:
        """What `work` gives; `None` where the file cannot be used, which is told. That costs nobody his answer."""
        import apsw

        try:
            return await work
        except (apsw.Error, ConfigurationError, StoreBusy) as error:
            self.trouble(error)
            return None

    def trouble(self, error: BaseException) -> None:
        """Something could not be read or kept: told, but not at every prompt."""
        said = str(error) or type(error).__name__
        if said != self._said:
            _log.warning("a conversation is not kept as it should be: %s", said)
        self._said = said

    def abandon(self) -> None:
        """Forget a loop that was closed."""
        self._turns.clear()
        self._opening = asyncio.Lock()


class Round:
    """One request in a session, from what goes before it to its answer.

    Attributes:
        left_out: Messages of the session that were not even looked at, because no window has room for them.
    """

    def __init__(self, memory: Memory, request: Request, session_id: str) -> None:
        self.left_out = 0
        self._memory = memory
        self._asked = request
        self._id = session_id
        self._recalled: Recalled | None = None
        self._turn: asyncio.Lock | None = None
        self._mark = 0
        self._is_open = False  # the question is in the file, and waits for its answer
        self._exchange = f"{request.id} {getrandbits(64):x}"  # two processes may give their requests one name
        self._question, self._begun = _parted(request.messages)
        self._request = request
        self._fitted: dict[int, tuple[Request, int]] = {}
        self._sent: dict[str, tuple[int, Request]] = {}  # model id → its window, and what it was given

    # --- what goes before ---

    @property
    def has_entered(self) -> bool:
        """Whether it is its turn."""
        return self._turn is not None

    async def enter(self) -> None:
        """Wait until those who came before have their answers."""
        turn = self._memory.turn(self._id)
        await turn.acquire()
        self._turn = turn

    async def recall(self, widest: int | None) -> Request:
        """The request with what was said before it; a conversation that the caller brought stays as it is.

        Args:
            widest: The largest window of all models, in tokens; `None` where one of them is not known.

        Raises:
            InvalidRequest: It brings the result of a tool, and the session does not hold the call.
        """
        request = self._asked
        await self._memory.get_ready()
        if request.is_whole:
            return request
        tokens = MOST if widest is None else min(widest, MOST)
        goes_on = any(message.role == "tool" for message in request.messages)
        recalled = await self._memory.guarded(self._memory.recent(self._id, tokens, goes_on=goes_on))
        if goes_on:
            self._check_results(request.messages, () if recalled is None else recalled.messages)
        if recalled is None:
            return request
        self._recalled, self.left_out = recalled, recalled.left_out
        return replace(request, messages=_behind(recalled, request.messages))

    def _check_results(self, asked: Sequence[Message], before: Sequence[Message]) -> None:
        """No provider takes a result without its call: it would be left out, and the rest be paid for."""
        called = {call.id for message in (*before, *asked) for call in message.tool_calls}
        for message in asked:
            result = message.tool_call_id
            if message.role == "tool" and (result not in called if result else not called):
                raise InvalidRequest(
                    f"Session {self._id!r} does not hold the call that the result {result or 'without an id'!r} belongs to.",
                    hint="Bring the whole conversation in messages=, from the question on; nothing was sent.",
                )

    def least_tokens(self, request: Request) -> int | None:
        """What is left of the prompt when all is cut that may be, in tokens; `None` where nothing may."""
        if self._recalled is None:
            return None
        from oblix.sessions.context import least

        return least(request.messages)

    def judged(self, privacy: Privacy) -> Privacy:
        """The label, as far as the session has a say in it: what went out with placeholders only does not go out without them later."""
        if (
            self._recalled is None
            or not self._recalled.redacted
            or privacy.label == "private"
            or privacy.by == "caller"
        ):
            return privacy
        return Privacy("private", by="message", why="it holds a message that was sent with placeholders only")

    def fitted(self, model_id: str, window: int | None) -> tuple[Request, int]:
        """The request as it fits a model's window, and how many messages of the session are left out for that."""
        if self._recalled is None or window is None:
            return self._request, self.left_out
        room = int(window * MARGIN) - min(self._request.max_tokens or ANSWER, window // 4)
        room = int(room / self._memory.density.get(model_id, 1.0))
        found = self._fitted.get(room)
        if found is None:  # once for each room: who compares requests by identity finds the same one again
            found = self._fitted[room] = self._fit(room)
        self._sent[model_id] = window, found[0]
        return found

    def _fit(self, room: int) -> tuple[Request, int]:
        from oblix.sessions.context import fit

        messages, cut = fit(self._request.messages, room)
        return (replace(self._request, messages=messages) if cut else self._request), cut + self.left_out

    def _learn(self, attempts: Sequence[Attempt]) -> None:
        """How many tokens the models counted, where that filled a good part of a window: the next turn is fitted by it."""
        for attempt in attempts:
            window, request = self._sent.get(attempt.model_id, (0, self._request))
            if window and (attempt.input_tokens or 0) * 2 > window:
                ratio = (attempt.input_tokens or 0) / estimate_request(request)
                self._memory.density[attempt.model_id] = min(max(1.0, ratio), DENSEST)

    # --- what is kept ---

    def asked(self, decision: Decision, request: Request) -> Work[Any]:
        """The work that writes the question down, with the decision that was taken.

        Args:
            request: As it goes out.
        """
        privacy = decision.privacy
        self._request = request
        self._is_open = True  # also where the caller leaves while it is being written
        self._mark = PRIVATE if privacy.stays_home else REDACTED if privacy.is_redacted else 0
        return self._memory.sessions.asked(self._id, self._question, request_id=self._exchange, private=self._mark)

    def forget(self) -> None:
        """The question could not be written down, and nothing of its answer will be."""
        self._is_open = False

    async def answered(self, message: Message, reply: Reply) -> None:
        """The answer came to its end: it is in the file before anybody has it, behind its beginning where the caller wrote that."""
        if not self._is_open or reply.finish_reason in CUT_OFF:
            return
        self._is_open = False
        memory, mark = self._memory, self._mark
        if self._begun:
            message = replace(message, content=self._begun + message.text)
        work = memory.sessions.answered(
            self._id,
            message,
            request_id=self._exchange,
            model_id=reply.model_id,
            private=mark,
            finish_reason=reply.finish_reason,
        )
        version = await memory.guarded(memory.store.write(work))
        if self._recalled is not None:
            said = (*self._question, message)
            if mark == PRIVATE:
                said = tuple(replace(each, private=True) for each in said)
            memory.keep_in_mind(self._id, self._recalled.gone_on(said, version or 0, redacted=mark == REDACTED))

    def leave(self, journey: Journey) -> None:
        """It is over: what was said without coming to an end is kept as such, and the next may speak."""
        if self._is_open:
            self._is_open = False
            model_id = journey.attempts[-1].model_id if journey.attempts else ""
            work = self._memory.sessions.broken(
                self._id,
                "".join(journey.text),
                request_id=self._exchange,
                model_id=model_id,
                private=self._mark,
                finish_reason="" if journey.end is None else journey.end.finish_reason,
            )
            self._memory.store.post(work, self._memory.trouble)
        self._learn(journey.attempts)
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.release()


def never_its_turn(request: Request) -> DeadlineExceeded:
    """The deadline passed while an earlier call on the same session was at work."""
    return DeadlineExceeded(
        f"No answer within the deadline of {request.deadline:g} s: an earlier call on session {request.session_id!r} was at work.",
        hint="Calls on one session are put in order. Raise deadline=, or give them sessions of their own.",
    )


def _behind(recalled: Recalled, asked: Sequence[Message]) -> tuple[Message, ...]:
    """What is asked behind what was said; a system prompt of the request stands in the place of the session's own."""
    mine = [message for message in asked if message.role == "system"]
    system = recalled.context.get("system")
    if not mine and isinstance(system, str) and system:
        mine = [Message("system", system)]
    before = [message for message in recalled.messages if message.role != "system" or not mine]
    return (*mine, *before, *(message for message in asked if message.role != "system"))


def _parted(messages: Sequence[Message]) -> tuple[tuple[Message, ...], str]:
    """What is asked, and how the answer to it begins, where the caller wrote that.

    Asked is what comes after the last answer. A system prompt belongs to its request alone.
    """
    end = len(messages)
    while end and messages[end - 1].role == "assistant":
        end -= 1
    start = end
    while start and messages[start - 1].role != "assistant":
        start -= 1
    asked = tuple(message for message in messages[start:end] if message.role != "system")
    return asked, "".join(message.text for message in messages[end:])
