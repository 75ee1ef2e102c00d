"""`oblix status`: what this machine, its network and its models are doing, on one screen."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import click

from oblix.cli.here import hook_what_is_here
from oblix.cli.render import json_line, show_screen
from oblix.client import OblixClient
from oblix.errors import NoRoute
from oblix.settings import Settings, load

EVERY = 2.0  # seconds between two screens of --watch
SLOWEST = 2.0  # seconds for one screen in all, dead networks and frozen engines included
LEAVING = 0.3  # of them for telling and leaving


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; with --watch one a line.")
@click.option(
    "--watch",
    "every",
    is_flag=False,
    flag_value=EVERY,
    default=None,
    type=click.FloatRange(0.5),
    metavar="[SECONDS]",
    help=f"Show it anew every so many seconds ({EVERY:g}), until Ctrl-C.",
)
def command(as_json: bool, every: float | None) -> int:
    """What this machine, its network and its models are doing. Ends with 3 where no model can answer.

    No prompt is sent. Besides the edge servers of this machine only the hooked cloud models' hosts are contacted.
    """
    return 0 if asyncio.run(_run(as_json=as_json, every=every)) else NoRoute.exit_code


async def _run(*, as_json: bool, every: float | None) -> bool:
    """Whether some model could answer, at the last look."""
    from oblix.agents import ConnectivityAgent, PowerAgent, ResourceMonitor

    loop = asyncio.get_running_loop()
    began = loop.time() - time.process_time()  # what was spent until here was spent on starting
    async with OblixClient() as client:
        settings = load()
        await hook_what_is_here(client, None, required=False)
        for agent in (ResourceMonitor(), ConnectivityAgent(), PowerAgent()):
            client.hook_agent(agent)
        while True:
            status = await _gather(client, settings, within=max(0.5, SLOWEST - LEAVING - (loop.time() - began)))
            _show(status, as_json=as_json, anew=every is not None)
            if every is None:
                return bool(status["ready"])
            await asyncio.sleep(every)  # from when it was shown: a slow look is not shown again at once
            began = loop.time()


async def _gather(client: OblixClient, settings: Settings, *, within: float) -> dict[str, Any]:
    from oblix.client.status import gather

    return await gather(client._hall, settings=settings, within=within)


def _show(status: dict[str, Any], *, as_json: bool, anew: bool) -> None:
    if as_json:
        click.echo(json_line(status))
    else:
        from oblix.cli.screen import screen

        show_screen(screen(status), anew=anew)
    sys.stdout.flush()
