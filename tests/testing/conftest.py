"""What the tests of the test tools share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oblix.errors import OblixError
from oblix.models.embedded.weights import resolve


@pytest.fixture(scope="session")
def weights() -> Path:
    """The small model's weights, which `make test` has fetched."""
    try:
        return resolve("smollm2").path
    except OblixError as exc:
        if os.environ.get("CI"):
            pytest.fail(f"in CI the weights must be there: {exc}")
        pytest.skip(str(exc))
