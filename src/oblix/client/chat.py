"""A conversation on the terminal, kept in a session: `execute(chat=True)`, `start_chat`, `chat_streaming`, `oblix chat`."""

from __future__ import annotations

import sys
import threading
from asyncio import Future, get_running_loop
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from oblix.client import figures
from oblix.client.terminal import inert
from oblix.client.wishes import read_id
from oblix.errors import InvalidRequest, OblixError
from oblix.types.reply import Reply
from oblix.types.spec import Place

if TYPE_CHECKING:
    from oblix.client.client import OblixClient

LEAVE = ("exit", "quit", "/bye", "/exit", "/quit")
LISTED = 20  # sessions that `/list` shows
_CUT_OFF = {"budget": "a budget has no more room", "content_filter": "its provider filtered it"}
UNTITLED = "(no title)"  # what lists call a session that has none


async def talk(client: OblixClient, first: str | None, wishes: Mapping[str, Any], **settings: Any) -> Reply:
    """Ask, print, remember, until `exit` or the end of the input; gives the last reply.

    Args:
        wishes: For every turn; `messages` are what was said before.
        settings: The other arguments of `execute`, for every turn; without a `session_id` a new session begins.

    Raises:
        InvalidRequest: The conversation ended before anything was answered.
    """
    named = settings.pop("session_id")
    begun = uuid4().hex if named is None else read_id(named)
    conversation = Talk(client, begun, wishes=wishes, settings=settings)
    reply = await conversation.run(first)
    if reply is None:
        raise InvalidRequest("The conversation ended before anything was answered.")
    return reply


@dataclass(slots=True)
class Talk:
    """A conversation while it lasts.

    Attributes:
        session_id: Where it is kept; a new one is made when it is first spoken in.
        wishes: Those of `execute`, for every turn.
        settings: Its other arguments.
        streams: The text is shown as it comes, and not when it is whole.
        place: Where it must be answered, by `/edge` or `/cloud`.
        last: What was last heard, a failure included.
    """

    client: OblixClient
    session_id: str
    _: KW_ONLY
    wishes: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    streams: bool = True
    place: Place | None = None
    private: bool | None = None
    last: Reply | OblixError | None = None

    async def run(self, first: str | None = None) -> Reply | None:
        """Talk until the end; the last reply, if there was one."""
        reply: Reply | None = None
        line = first or await _read()
        while line is not None and (said := line.strip()).lower() not in LEAVE:
            try:
                if said.startswith("/") and await self._obey(said):
                    pass
                elif said:
                    reply = self.last = await self._ask(line)
            except OblixError as error:
                self.last = error
                sys.stderr.write(inert(f"{error}\n", sys.stderr))  # the conversation goes on
            line = await _read()
        return reply

    # --- asking ---

    async def _ask(self, prompt: str) -> Reply:
        wishes, settings = dict(self.wishes), dict(self.settings)
        if earlier := wishes.pop("messages", ()):
            await self.client.add_messages(self.session_id, earlier)
            self.wishes = wishes
        if self.private is not None:
            wishes["private"] = self.private
        if self.place is not None:
            settings["model_id"] = await self._best(prompt, self.place, wishes, settings)
        reply = await self.client.execute(prompt, stream=self.streams, session_id=self.session_id, **settings, **wishes)
        if not self.streams:
            _say(reply.response)
        if why := _CUT_OFF.get(reply.finish_reason):
            sys.stderr.write(f"[the answer was cut off: {why}; it is kept, and not told to a model again]\n")
        return reply

    async def _best(
        self, prompt: str, place: Place, wishes: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> str | None:
        """The first model of the plan at that place: rules, privacy and budgets hold as ever."""
        known: dict[str, Any] = {name: settings.get(name) for name in ("temperature", "max_tokens")}
        decision = await self.client.route(prompt, session_id=self.session_id, **known, **wishes)
        places = {candidate.model_id: candidate for candidate in decision.candidates}
        best = next((model_id for model_id in decision.plan if places[model_id].place == place), None)
        if best is None:
            told = "; ".join(f"{c.model_id}: {c.reason.text}" for c in decision.candidates if c.place == place)
            raise InvalidRequest(
                f"No {place} model may answer this" + (f" ({told})." if told else ": none is hooked."),
                hint="/auto lets Oblix choose again.",
            )
        return best

    # --- commands ---

    async def _obey(self, line: str) -> bool:
        """Do what a line asks for that begins with a slash; whether it names a command."""
        name, _, argument = line.partition(" ")
        command = COMMANDS.get(name.lower())
        if command is None:
            if "/" in name[1:]:  # a path: it is asked, not obeyed
                return False
            raise InvalidRequest(f"{name} is no command.", hint="/help lists them.")
        await command(self, argument.strip())
        return True

    async def help(self, _: str) -> None:
        """List the commands."""
        for name, command in COMMANDS.items():
            _say(f"{name:<9} {(command.__doc__ or '').splitlines()[0]}")
        _say(f"{'exit':<9} Leave.")

    async def new(self, _: str) -> None:
        """Begin a new session."""
        self.session_id = uuid4().hex
        _say("A new session begins.")

    async def list(self, _: str) -> None:
        """List the sessions, the newest first."""
        found = self.client.list_sessions(limit=LISTED)
        for each in found:
            mark = "*" if each["id"] == self.session_id else " "
            _say(
                f"{mark} {each['id']}  {each['updated_at'][:16]}  {each['message_count']:>4}  {each['title'] or UNTITLED}"
            )
        if not found:
            _say("There are no sessions yet.")

    async def load(self, argument: str) -> None:
        """Go on with a session: /load ID, or the first signs of it."""
        self.session_id = self.client.find_session(argument)
        loaded = self.client.load_session(self.session_id)
        assert loaded is not None
        _say(f"{loaded['title'] or UNTITLED}: {len(loaded['messages'])} messages.")
        for message in loaded["messages"][-2:]:
            _say(f"{message['role']}: {message['content']}")

    async def metrics(self, _: str) -> None:
        """Show the figures of the last answer."""
        if isinstance(self.last, Reply):
            _say(figures.footer(self.last))
        else:
            _say("Nothing was answered yet.")

    async def why(self, _: str) -> None:
        """Say why the last answer ran where it did."""
        request_id = None if self.last is None else self.last.request_id
        _say("Nothing was asked yet." if request_id is None else await self.client.explain(request_id))

    async def status(self, _: str) -> None:
        """Show what the machine, the network and the models are doing."""
        status = await self.client.status()
        for name in ("machine", "power", "network"):
            if (sense := status[name]) is not None:
                _say(f"{name}: {sense['state']}  {sense['reason']}")
        can = {True: "yes", False: "no", None: "perhaps"}
        for model in status["models"]:
            _say(f"{model['id']} ({model['place']}): {can[model['can_answer']]}, {model['why']}")

    async def edge(self, _: str) -> None:
        """Answer at home from now on."""
        self.place = "edge"
        _say("Models at home answer from now on; /auto lets Oblix choose.")

    async def cloud(self, _: str) -> None:
        """Answer in the cloud from now on; what is private stays at home."""
        self.place = "cloud"
        _say("Cloud models answer from now on; /auto lets Oblix choose.")

    async def auto(self, _: str) -> None:
        """Let Oblix choose where to answer."""
        self.place = None
        _say("Oblix chooses.")

    async def keep_private(self, argument: str) -> None:
        """Keep what is said at home: /private on, /private off."""
        if argument.lower() not in ("", "on", "off"):
            raise InvalidRequest(f"/private {argument} is not known.", hint="/private on, or /private off.")
        self.private = argument.lower() != "off"
        _say(
            "What is said from now on stays at home, and keeps this session there."
            if self.private
            else "What is said from now on is not private by itself; what was, keeps this session at home."
        )


Command = Callable[[Talk, str], Awaitable[None]]
COMMANDS: dict[str, Command] = {
    "/help": Talk.help,
    "/new": Talk.new,
    "/list": Talk.list,
    "/load": Talk.load,
    "/metrics": Talk.metrics,
    "/why": Talk.why,
    "/status": Talk.status,
    "/edge": Talk.edge,
    "/cloud": Talk.cloud,
    "/auto": Talk.auto,
    "/private": Talk.keep_private,
}


def _say(text: str) -> None:
    sys.stdout.write(f"{inert(text)}\n")
    sys.stdout.flush()


async def _read() -> str | None:
    """A line from the terminal, read on a daemon thread so that the loop goes on; `None` at the end of the input."""
    loop = get_running_loop()
    line: Future[str | None] = loop.create_future()

    def work() -> None:
        # Held for as long as this thread waits. Else a program that is interrupted meanwhile ends in "Fatal Python error: could not
        # acquire lock for <stdin>": the interpreter would close the stream whose lock `input` holds.
        held = sys.stdin  # noqa: F841
        try:
            text: str | None = input("\nYou: ")
        except (
            EOFError,
            OSError,
            RuntimeError,
            ValueError,
        ):  # the end; or no terminal, a closed one, bytes that are no text
            text = None
        with suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(tell, text)

    def tell(text: str | None) -> None:
        if not line.done():
            line.set_result(text)

    threading.Thread(target=work, name="oblix-input", daemon=True).start()
    return await line
