"""`oblix PROMPT`: ask, and print the answer as it comes."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import NamedTuple
from uuid import uuid4

import click

from oblix.cli.here import hook_what_is_here
from oblix.cli.render import json_line, note
from oblix.cli.talking import ask_before_passing, session_meant, telling_of_loads
from oblix.client import OblixClient
from oblix.client.figures import footer
from oblix.client.terminal import inert
from oblix.types.chunk import Reset


@click.command("ask")
@click.argument("words", nargs=-1)
@click.option("-m", "--model", help="This model (provider:name) and no other.")
@click.option("-s", "--system", help="A system prompt.")
@click.option("-c", "--continue", "goes_on", is_flag=True, help="Go on with the latest session; else it begins one.")
@click.option("--session", help="Go on with this session: its id, or the start of it.")
@click.option("--private", is_flag=True, help="The prompt never leaves this machine.")
@click.option("--policy", help="balanced, offline_first, fastest, cheapest, best, private, or a file (.toml).")
@click.option("--tag", "tags", multiple=True, help="A word of yours for this request, which rules may ask for.")
@click.option("--max-tokens", type=click.IntRange(1), default=1024, show_default=True, help="Limit of the answer.")
@click.option("--max-cost", type=click.FloatRange(0), help="Exclude models whose estimated cost is above this (USD).")
@click.option(
    "--deadline", type=click.FloatRange(0.001), default=600.0, show_default=True, help="Seconds for the whole call."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: answer, figures, decision.")
@click.option("-q", "--quiet", is_flag=True, help="No line about where it ran.")
def command(  # noqa: PLR0913  one parameter per option
    words: tuple[str, ...],
    model: str | None,
    system: str | None,
    goes_on: bool,
    session: str | None,
    private: bool,
    policy: str | None,
    tags: tuple[str, ...],
    max_tokens: int,
    max_cost: float | None,
    deadline: float,
    as_json: bool,
    quiet: bool,
) -> None:
    """Ask. What is piped in is appended to the prompt."""
    prompt = " ".join(words)
    if not sys.stdin.isatty():
        prompt = f"{prompt}\n\n{piped()}".strip()
    wishes = {"system": system, "private": private, "policy": policy, "tags": tags or None, "max_cost_usd": max_cost}
    given: dict[str, object] = {name: wish for name, wish in wishes.items() if wish is not None and wish is not False}
    given |= {"on_break": "restart", "max_tokens": max_tokens, "deadline": deadline}
    asyncio.run(_ask(prompt, model, given, talk=_Session(session, goes_on), as_json=as_json, quiet=quiet))


def piped() -> str:
    """What was piped in; says so when that takes its time, because it looks like a slow model."""
    timer = threading.Timer(
        1.0, note, ("waiting for the end of standard input (give < /dev/null where there is none) …",)
    )
    timer.daemon = True
    timer.start()
    try:
        return sys.stdin.read()
    finally:
        timer.cancel()


class _Session(NamedTuple):
    """The conversation that is meant, if one is."""

    start: str | None
    goes_on: bool

    def of(self, client: OblixClient) -> str | None:
        """Its id; a new one, where the first is asked for to be gone on with."""
        return session_meant(client, self.start, goes_on=self.goes_on) or (uuid4().hex if self.goes_on else None)


async def _ask(
    prompt: str, model: str | None, wishes: dict[str, object], *, talk: _Session, as_json: bool, quiet: bool
) -> None:
    from oblix.agents import ConnectivityAgent, ResourceMonitor

    with telling_of_loads():
        async with OblixClient() as client:
            await hook_what_is_here(client, model)
            client.hook_agent(ResourceMonitor())
            client.hook_agent(ConnectivityAgent())
            ask_before_passing(client)
            if (session_id := talk.of(client)) is not None:
                wishes["session_id"] = session_id
            if as_json:
                reply = await client.execute(prompt, model_id=model, **wishes)  # type: ignore[arg-type]
                click.echo(json_line(reply.to_dict()))
                return
            async with client.stream(prompt, model_id=model, **wishes) as stream:  # type: ignore[arg-type]
                async for piece in stream:
                    if isinstance(piece, Reset):
                        note(f"\n[{piece.reason}; {piece.model_id} begins again]")
                    else:
                        click.echo(inert(piece), nl=False)
                reply = await stream.reply()
            click.echo()
            if reply.finish_reason == "length":
                note("[the answer was cut off at its limit; --max-tokens sets it]")
            if not quiet and sys.stderr.isatty():
                note(footer(reply))
