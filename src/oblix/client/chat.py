"""`execute(chat=True)`: a conversation on the terminal, kept for as long as it lasts."""

from __future__ import annotations

import sys
import threading
from asyncio import Future, get_running_loop
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from oblix.errors import InvalidRequest, OblixError
from oblix.types.messages import Message
from oblix.types.reply import Reply

if TYPE_CHECKING:
    from oblix.client.client import OblixClient

LEAVE = ("exit", "quit", "/bye", "/exit")


async def talk(client: OblixClient, first: str | None, wishes: Mapping[str, Any], **settings: Any) -> Reply:
    """Ask, print, remember, until `exit` or the end of the input; gives the last reply.

    Raises:
        InvalidRequest: The conversation ended before anything was answered.
    """
    history: list[Message | Mapping[str, Any]] = list(wishes.get("messages") or ())
    rest = {name: wish for name, wish in wishes.items() if name != "messages"}
    reply: Reply | None = None
    prompt = first or await _read()
    while prompt is not None and prompt.strip().lower() not in LEAVE:
        if prompt.strip():
            try:
                reply = await client.execute(prompt, stream=True, messages=[*history], **settings, **rest)
            except OblixError as error:
                sys.stderr.write(f"{error}\n")  # the conversation goes on; what was asked is not forgotten
            else:
                history += [Message("user", prompt), Message("assistant", reply.response)]
        prompt = await _read()
    if reply is None:
        raise InvalidRequest("The conversation ended before anything was answered.")
    return reply


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
