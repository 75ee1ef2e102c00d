"""`oblix models`: what can be used here, and fetching weights."""

from __future__ import annotations

import asyncio
import sys

import click

from oblix.cli.here import ollama_models
from oblix.cli.render import note, table
from oblix.errors import AttemptFailed
from oblix.settings import load


@click.group("models", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """List the models that can be used here, or `fetch` one."""
    if ctx.invoked_subcommand is None:
        _list()


def _list() -> None:
    from oblix.models.embedded.weights import resolve

    rows = []
    try:
        weights = resolve("smollm2")
        rows.append(
            (
                "embedded:smollm2",
                "edge",
                f"fetched, {weights.size / 1e6:.0f} MB, trained for {weights.window or '?'} tokens",
            )
        )
    except AttemptFailed:
        rows.append(("embedded:smollm2", "edge", "not fetched: oblix models fetch smollm2 (98 MB)"))
    rows += [(f"ollama:{name}", "edge", "Ollama holds it") for name in asyncio.run(ollama_models())]
    settings = load()
    rows += [(str(row["id"]), str(row.get("place", "")), f"from {settings.source}") for row in settings.models]
    click.echo(table(("model", "place", "state"), rows))


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
