"""Plays a world and judges it."""

from __future__ import annotations

from .away import Papers
from .judge import Verdict, judge
from .stage import Account, How, Stage
from .worlds import World

STARVED = 0.3  # seconds in a row: then the machine had no time for the client, and what came late says nothing of it
TRIES = 3


def play(world: World, papers: dict[str, Papers], how: How) -> tuple[Verdict, Account]:
    """Open the world, let its script run, close it, judge. What was wrong while the machine was at its limit is played again."""
    for _ in range(TRIES):
        verdict, account = _play(world, papers, how)
        if verdict.right or not account.samples or account.samples[-1].starved < STARVED:
            break
    return verdict, account


def _play(world: World, papers: dict[str, Papers], how: How) -> tuple[Verdict, Account]:
    with Stage(world.providers, world.scheme, papers, how) as stage:
        if stage.raise_curtain(world.way, world.back or world.way):
            world.play(stage)
    return judge(world, stage.account), stage.account
