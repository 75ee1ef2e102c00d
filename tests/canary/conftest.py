"""What the canaries listen to."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(name="log", autouse=True)
def _log() -> Iterator[io.StringIO]:
    """Everything that any logger says, from DEBUG on, with tracebacks."""
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lines
    root.removeHandler(handler)
    root.setLevel(before)
