"""`oblix models`: what can be used here, and fetching weights."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from oblix.cli.render import note, table
from oblix.errors import AttemptFailed
from oblix.settings import load

if TYPE_CHECKING:
    from oblix.agents.probes.engine_facts import Engine, EngineModel
    from oblix.models.memory import Room

Row = tuple[str, str, str]  # model, place, state


@click.group("models", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """List the models that can be used here, or `fetch` one."""
    if ctx.invoked_subcommand is None:
        _list()


def _list() -> None:
    rows = [_embedded_row(), *asyncio.run(_engine_rows())]
    settings = load()
    rows += [(str(row["id"]), str(row.get("place", "")), f"from {settings.source}") for row in settings.models]
    click.echo(table(("model", "place", "state"), rows))


def _embedded_row() -> Row:
    from oblix.models.embedded.weights import resolve

    try:
        weights = resolve("smollm2")
    except AttemptFailed:
        return "embedded:smollm2", "edge", "not fetched: oblix models fetch smollm2 (98 MB)"
    return (
        "embedded:smollm2",
        "edge",
        f"fetched, {weights.size / 1e6:.0f} MB, trained for {weights.window or '?'} tokens",
    )


async def _engine_rows() -> list[Row]:
    """What the engines hold that run at their usual addresses, and which of them could not tell."""
    from oblix.client.discovery import free_memory, look_around
    from oblix.models.transport import Transport

    transport = Transport()
    try:
        await transport.prepare()
        engines, room = await asyncio.gather(look_around(transport), free_memory())
    finally:
        await transport.close()
    rows: list[Row] = []
    for engine in engines:
        if engine.state in ("loading", "hung", "locked"):
            rows.append((f"{engine.provider}:", "edge", f"{engine.state} at {engine.address}: {engine.reason}"))
        rows += [_model_row(engine, model, room) for model in engine.models]
    return rows


def _model_row(engine: Engine, model: EngineModel, room: Room | None) -> Row:
    from oblix.client.selection import consider

    pick, why = consider(engine, model, room)
    words = [pick.words, f"up to {pick.window} tokens" if pick.window else "", why and f"not used: {why}"]
    place = "cloud" if model.forwarded_to else "edge"
    return pick.model_id, place, ", ".join(word for word in words if word)


@command.command("fetch")
@click.argument("name")
def fetch(name: str) -> None:
    """Fetch the weights NAME (`smollm2`, or an HTTPS address of a GGUF file) into the cache; does nothing when they are there."""
    fetch_weights(name)


def fetch_weights(name: str) -> None:
    """Fetch with a progress bar; the size is said first.

    Raises:
        ConfigurationError: They cannot be had; the message says why. Nothing half-made is left behind.
    """
    from oblix.models.embedded.weights import fetch, resolve, size_to_fetch

    try:
        found = resolve(name)
    except AttemptFailed:
        pass
    else:
        note(f"{name} is here: {found.path} ({found.size / 1e6:.0f} MB)")
        return
    size = size_to_fetch(name)
    note(f"fetching {name}" + (f": {size / 1e6:.0f} MB" if size else ""))
    if not sys.stderr.isatty():
        found = fetch(name)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

        bar = Progress(
            BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(), console=Console(stderr=True)
        )
        with bar:
            task = bar.add_task(name, total=size)
            found = fetch(name, lambda done, total: bar.update(task, completed=done, total=total or size))
    note(f"{name}: {found.path}")
