"""The world, made once for the page's programs and our examples."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from . import needs
from .world import World


@pytest.fixture(scope="package")
def world() -> Iterator[World]:
    """Namespaces and servers. In CI they must be there."""
    reason = needs.world_missing()
    if reason is not None and os.environ.get("CI"):
        pytest.fail(f"in CI the programs must run: {reason}")
    if reason is not None:
        pytest.skip(reason)
    with World(needs.weights()) as made:
        yield made
