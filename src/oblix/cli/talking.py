"""What `oblix ask` and `oblix chat` share: which session is meant, and a word while a model is being loaded."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import click

from oblix.agents.unheld import run_unheld
from oblix.cli.render import note
from oblix.client import OblixClient
from oblix.errors import BudgetExceeded


def session_meant(client: OblixClient, session: str | None, *, goes_on: bool) -> str | None:
    """The session of `--session` or `--continue`; `None` where neither is given, or there is none yet to go on with.

    Raises:
        InvalidRequest: `session` is the start of no id, or of several.
    """
    if session is not None:
        return client.find_session(session)
    if not goes_on:
        return None
    latest = client.list_sessions(limit=1)
    return str(latest[0]["id"]) if latest else None


async def approve(error: BudgetExceeded) -> bool:
    """Ask on the terminal whether a request may pass a budget."""
    note(error.message)
    try:
        return await run_unheld(partial(click.confirm, "Let this one pass all the same?", err=True))
    except click.Abort:  # the end of the input is no yes
        return False


def ask_before_passing(client: OblixClient) -> None:
    """Ask the user, where there is one."""
    if sys.stdin.isatty() and sys.stderr.isatty():
        client.approve_over_budget = approve


@contextmanager
def telling_of_loads() -> Iterator[None]:
    """Say on stderr that a model is being loaded, because it looks like one that hangs."""
    log, teller = logging.getLogger("oblix.execution"), logging.Handler(logging.INFO)
    teller.addFilter(lambda record: record.levelno < logging.WARNING)  # those are shown by `cli.main`
    teller.emit = lambda record: note(f"[{record.getMessage()}]")  # type: ignore[method-assign]
    before = log.level
    log.addHandler(teller)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(teller)
        log.setLevel(before)
