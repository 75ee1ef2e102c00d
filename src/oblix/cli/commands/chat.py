"""`oblix chat`: talk, in a session that is kept."""

from __future__ import annotations

import asyncio
import sys
from typing import Any
from uuid import uuid4

import click

from oblix.cli.here import hook_what_is_here
from oblix.cli.render import note
from oblix.cli.talking import ask_before_passing, session_meant, telling_of_loads
from oblix.client import OblixClient


@click.command("chat")
@click.option("-s", "--session", help="Go on with this session (an id, or the start of one); else a new one begins.")
@click.option("-c", "--continue", "goes_on", is_flag=True, help="Go on with the latest session.")
@click.option("-m", "--model", help="This model (provider:name) and no other.")
@click.option("--system", help="A system prompt.")
@click.option("--private", is_flag=True, help="Nothing that is said leaves this machine.")
@click.option("--policy", help="balanced, offline_first, fastest, cheapest, best, private, or a file (.toml).")
@click.option("--max-tokens", type=click.IntRange(1), default=1024, show_default=True, help="Limit of each answer.")
def command(
    session: str | None,
    goes_on: bool,
    model: str | None,
    system: str | None,
    private: bool,
    policy: str | None,
    max_tokens: int,
) -> None:
    """Talk until `exit`; /help lists what else can be said."""
    wishes = {"system": system, "private": private, "policy": policy}
    given = {name: wish for name, wish in wishes.items() if wish}
    asyncio.run(_talk(session, given, goes_on=goes_on, model_id=model, max_tokens=max_tokens))


async def _talk(session: str | None, wishes: dict[str, Any], *, goes_on: bool, **settings: Any) -> None:
    from oblix.agents import ConnectivityAgent, ResourceMonitor
    from oblix.client.chat import Talk

    with telling_of_loads():
        async with OblixClient() as client:
            await hook_what_is_here(client, settings["model_id"])
            client.hook_agent(ResourceMonitor())
            client.hook_agent(ConnectivityAgent())
            ask_before_passing(client)
            session_id = session_meant(client, session, goes_on=goes_on) or uuid4().hex
            if sys.stderr.isatty():
                note("exit leaves, /help lists what else can be said.")
            conversation = Talk(client, session_id, wishes=wishes, settings=settings)
            await conversation.run()
            if conversation.last is not None and sys.stderr.isatty():
                note(f"oblix chat -s {conversation.session_id[:12]} goes on with it.")
