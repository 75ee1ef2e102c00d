"""What the matrix needs from this machine, and why it cannot run where something is missing."""

from __future__ import annotations

from pathlib import Path

from oblix.errors import OblixError
from oblix.models.embedded.weights import resolve
from oblix.testing import netns

from . import page

MODEL = "smollm2"


def missing() -> str | None:
    """Why the page's matrix cannot run here, or `None` when it can."""
    return page.absent() or world_missing()


def world_missing() -> str | None:
    """Why the world cannot be made here, or `None` when it can."""
    return netns.available() or _no_weights()


def weights() -> Path:
    """The small model's weights, which `make test` and `make seed` have fetched."""
    return resolve(MODEL).path


def _no_weights() -> str | None:
    try:
        weights()
    except OblixError as exc:
        return str(exc).replace("\n", "; ")
    return None
