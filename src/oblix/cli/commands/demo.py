"""`oblix demo`: the guided tour."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec

import click

from oblix.cli.commands.models import fetch_weights
from oblix.errors import ConfigurationError


@click.command("demo")
def command() -> None:
    """See a real model answer here, and five scenes that show why it ran where it did. No key, no server needed."""
    if find_spec("xllamacpp") is None:
        raise ConfigurationError("The embedded engine is not installed.", hint='pip install "openoblix[embedded]"')
    fetch_weights("smollm2")
    from oblix.demo.tour import run
    from oblix.models.embedded.weights import resolve

    asyncio.run(run(resolve("smollm2").path))
