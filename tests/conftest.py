"""What every test stands on: no key, proxy or home of the developer's, real weights once per machine, no blocked loop."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp  # noqa: F401  imported here, so that its first import (file reads) happens outside of any loop
import pytest
from blockbuster import blockbuster_ctx

from oblix.errors import OblixError
from oblix.models.embedded import weights as shop

Require = Callable[[object, str], None]

# Where this machine keeps weights, read before any test moves OBLIX_HOME: 98 MB are fetched once per machine, not per test.
_WEIGHTS = shop.cache_folder()
_OURS_TO_CLEAR = re.compile(
    r"^(OPENAI|ANTHROPIC|OLLAMA|OBLIX)_.*|.*_API_KEY$|^(HTTPS?|WSS?|ALL|NO|FTP)_PROXY$|^NETRC$", re.IGNORECASE
)


def require(condition: object, reason: str) -> None:
    """Skip the test where something it needs is missing; in CI that is a failure, because there everything must run."""
    if condition:
        return
    if os.environ.get("CI"):
        pytest.fail(f"in CI this must not be missing: {reason}")
    pytest.skip(reason)


@pytest.fixture(name="require", scope="session")
def _require() -> Require:
    """`require`, for tests that ask for it."""
    return require


def _move_home(patch: pytest.MonkeyPatch, folder: Path) -> None:
    for name in [name for name in os.environ if _OURS_TO_CLEAR.match(name)]:
        patch.delenv(name)
    models = folder / "cache" / "models"
    models.parent.mkdir(parents=True)
    _WEIGHTS.mkdir(parents=True, exist_ok=True)
    models.symlink_to(_WEIGHTS, target_is_directory=True)
    patch.setenv("OBLIX_HOME", str(folder))


@pytest.fixture(scope="session", autouse=True)
def _surroundings_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For fixtures that outlive a test: as `_surroundings`."""
    with pytest.MonkeyPatch.context() as patch:
        _move_home(patch, tmp_path_factory.mktemp("oblix-session", numbered=True))
        yield


@pytest.fixture(autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty home with the machine's weights in it, and no variable that would let a test reach out."""
    _move_home(monkeypatch, tmp_path_factory.mktemp("oblix", numbered=True))


@pytest.fixture(autouse=True)
def _no_blocking() -> Iterator[None]:
    """A call of ours that would block the event loop is an error."""
    with blockbuster_ctx("oblix"):
        yield


@pytest.fixture(scope="session")
def weights() -> Path:
    """The small model's weights, fetched by `make test` or by the first test that needs them."""
    try:
        return shop.fetch("smollm2").path
    except OblixError as error:
        require(False, str(error).replace("\n", "; "))
        raise AssertionError from error
