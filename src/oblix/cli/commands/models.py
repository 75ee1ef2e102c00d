"""`oblix models`: what can be used here, and fetching weights."""

from __future__ import annotations

import asyncio
import sys
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from oblix.cli.render import note, table
from oblix.errors import AttemptFailed
from oblix.settings import load

if TYPE_CHECKING:
    from oblix.agents.probes.engine_facts import Engine, EngineModel
    from oblix.models.memory import Room
    from oblix.settings import Settings
    from oblix.types.spec import ModelSpec

_CAN = {True: "can answer", False: "cannot answer", None: "may answer"}

Row = tuple[str, str, str]  # model, place, state


@click.group("models", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """List the models that can be used here, or `fetch` one."""
    if ctx.invoked_subcommand is None:
        _list()


def _list() -> None:
    rows = [_embedded_row(), *asyncio.run(_served_rows(load()))]
    click.echo(table(("model", "place", "state"), rows))


async def _served_rows(settings: Settings) -> list[Row]:
    return list(chain.from_iterable(await asyncio.gather(_engine_rows(), _settings_rows(settings))))


def _embedded_row() -> Row:
    from oblix.client.selection import size
    from oblix.models.embedded.weights import resolve

    try:
        weights = resolve("smollm2")
    except AttemptFailed:
        return "embedded:smollm2", "edge", "not fetched: oblix models fetch smollm2 (98 MB)"
    return (
        "embedded:smollm2",
        "edge",
        f"fetched, {size(weights.size)}, trained for {weights.window or '?'} tokens",
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


async def _settings_rows(settings: Settings) -> list[Row]:
    """The models of the settings file, and whether they can answer as far as it shows without asking the cloud."""
    from oblix.agents.probes.engine import look
    from oblix.agents.unheld import run_unheld
    from oblix.client import OblixClient, holdings
    from oblix.client.standing import Around, servers_of, standing

    if not settings.models:
        return []
    async with OblixClient(store=":memory:") as client:
        client.settle(settings)
        await client._hall.keychain.look(asyncio.get_running_loop().time())
        specs, transport = tuple(client.models.values()), client._hall.transport
        await transport.prepare()
        looks = (look(transport, *where, about=names) for where, names in servers_of(specs).items())
        engines = await asyncio.gather(*looks)
        embedded, _ = await run_unheld(holdings.embedded, specs)
    around = Around(engines, embedded, [_unasked(spec) for spec in specs if not spec.is_edge])
    found = [(spec, *standing(spec, around)) for spec in specs]
    return [
        (spec.id, spec.place, f"{_CAN[can_answer]}: {why.rstrip('.')}; from {settings.source}")
        for spec, can_answer, why in found
    ]


def _unasked(spec: ModelSpec) -> dict[str, Any]:
    """The way to a cloud model as `standing` wants it told, from its key alone."""
    if spec.key == "missing":
        return {"models": [spec.id], "state": "not_asked", "reason": "no API key was given, or only a placeholder"}
    return {"models": [spec.id], "state": "unknown", "reason": "not asked here; `oblix status` looks at the way there"}


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
    from oblix.client.selection import size
    from oblix.models.embedded.weights import fetch, resolve, size_to_fetch

    try:
        found = resolve(name)
    except AttemptFailed:
        pass
    else:
        note(f"{name} is here: {found.path} ({size(found.size)})")
        return
    whole = size_to_fetch(name)
    note(f"fetching {name}" + (f": {size(whole)}" if whole else ""))
    if not sys.stderr.isatty():
        found = fetch(name)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

        bar = Progress(
            BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(), console=Console(stderr=True)
        )
        with bar:
            task = bar.add_task(name, total=whole)
            found = fetch(name, lambda done, total: bar.update(task, completed=done, total=total or whole))
    note(f"{name}: {found.path}")
