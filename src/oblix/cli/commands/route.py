"""`oblix route PROMPT`: where a prompt would run, and why. Nothing is sent and nothing is logged."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import click

from oblix.cli.commands.ask import piped
from oblix.cli.here import hook_what_is_here
from oblix.cli.render import json_line, show_story
from oblix.client import OblixClient
from oblix.client.hall import Thought
from oblix.errors import NoRoute
from oblix.settings import home

_SIMULATE = """What is to be taken for true, with commas between: offline, degraded, hot, battery=PERCENT, cpu=PERCENT, memory=PERCENT,
gpu=PERCENT, latency=MILLISECONDS, loss=PERCENT, bandwidth=MBIT/S, budget=USD."""


@click.command("route")
@click.argument("words", nargs=-1)
@click.option("-m", "--model", help="This model (provider:name) and no other.")
@click.option("-s", "--system", help="A system prompt.")
@click.option("--private", is_flag=True, help="The prompt never leaves this machine.")
@click.option("--policy", help="A policy's name, or its file (.toml).")
@click.option("--max-tokens", type=click.IntRange(1), default=1024, show_default=True, help="Limit of the answer.")
@click.option("--max-cost", type=click.FloatRange(0), help="Exclude models whose estimated cost is above this (USD).")
@click.option("--tag", "tags", multiple=True, help="A word for the rules of a policy; may be given again.")
@click.option("--simulate", default="", help=_SIMULATE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: the decision, and what would change it.")
def command(  # noqa: PLR0913  one parameter per option
    words: tuple[str, ...],
    model: str | None,
    system: str | None,
    private: bool,
    policy: str | None,
    max_tokens: int,
    max_cost: float | None,
    tags: tuple[str, ...],
    simulate: str,
    as_json: bool,
) -> int:
    """Where a prompt would run, and why, without running it. Ends with 3 where no model may answer."""
    prompt = " ".join(words)
    if not sys.stdin.isatty():
        prompt = f"{prompt}\n\n{piped()}".strip()
    wishes = {"system": system, "private": private, "policy": policy, "max_cost_usd": max_cost, "tags": tags}
    given = {name: wish for name, wish in wishes.items() if wish is not None and wish is not False and wish != ()}
    thought = asyncio.run(_consider(prompt, model, {**given, "max_tokens": max_tokens}, simulate))
    _show(thought, as_json=as_json)
    return 0 if thought.decision.plan else NoRoute.exit_code


async def _consider(prompt: str, model: str | None, wishes: dict[str, Any], simulate: str) -> Thought:
    from oblix.agents import ConnectivityAgent, ResourceMonitor
    from oblix.agents.simulated import simulated

    simulation = simulated(simulate)
    limits = [limit for limit in (wishes.get("max_cost_usd"), simulation.max_cost_usd) if limit is not None]
    if limits:
        wishes["max_cost_usd"] = min(limits)
    # What earlier answers taught is read out of the data file, if there is one; considering makes none.
    async with OblixClient(store=None if (home() / "oblix.db").exists() else ":memory:") as client:
        await hook_what_is_here(client, model)
        for agent in (ResourceMonitor(), ConnectivityAgent(), *simulation.agents):
            client.hook_agent(agent)  # one of the same name is replaced
        return await client.consider(prompt, model_id=model, **wishes)


def _show(thought: Thought, *, as_json: bool) -> None:
    from oblix.decision.explain import story
    from oblix.decision.flips import flips

    record, found = thought.decision.to_dict(), flips(thought.facts, thought.policy)
    if as_json:
        click.echo(json_line({**record, "flips": [flip.to_dict() for flip in found]}))
    else:
        show_story(story(record, flips=found, is_dry=True))
