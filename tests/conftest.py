"""What every test stands on: no key, proxy or home of the developer's, real weights once per machine, no blocked loop.

And every decision that a test writes down must come out the same when it is taken again from what was written (`Replaying`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp  # noqa: F401  imported here, so that its first import (file reads) happens outside of any loop
import msgspec
import pytest
from blockbuster import blockbuster_ctx

from oblix.decision.decide import decide
from oblix.errors import OblixError
from oblix.models.embedded import weights as shop
from oblix.storage.decisions import DecisionLog, Kept
from oblix.storage.history import Forgotten, recall
from oblix.storage.parts import whole

Require = Callable[[object, str], None]

# No test asks for, or finds, a password of the developer's: child processes get this one too.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"

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
    with blockbuster_ctx("oblix") as watching:
        # Plain functions of the client may be called on a loop, and have to be done then; and whether the file still lies there is
        # looked at (1 us) just before it is written to.
        for function in watching.functions.values():
            function.can_block_in("oblix/storage/store.py", {"write_now", "_stay"})
            function.can_block_in("oblix/storage/file.py", {"_be_open"})
        yield


@pytest.fixture(scope="session")
def weights() -> Path:
    """The small model's weights, fetched by `make test` or by the first test that needs them."""
    try:
        return shop.fetch("smollm2").path
    except OblixError as error:
        require(False, str(error).replace("\n", "; "))
        raise AssertionError from error


class Replaying:
    """Takes every decision again that a log in this process writes during the suite, out of the bytes that were written.

    A row costs a test nothing but an append: they are looked at when it is over, or when they fill `MOST` bytes. What child processes
    write is out of reach. A test fails if a decision of its own comes out otherwise, and the summary tells how many there were.
    """

    MOST = 64 << 20

    def __init__(self) -> None:
        self.decisions = 0
        self.same = 0
        self._rows: list[tuple[bytes, bytes]] = []
        self._bytes = 0
        self._policies: dict[str, bytes] = {}
        self._parts: dict[str, bytes] = {}
        self._differing: list[str] = []

    def watch(self) -> None:
        """Stand beside the one function through which every row goes."""
        insert = DecisionLog._insert

        async def watched(
            log: DecisionLog,
            statement: str,
            rows: Sequence[tuple[Any, ...]],
            parts: Sequence[tuple[str, bytes]] = (),
            also: Any = None,
        ) -> Any:
            result = await insert(log, statement, rows, parts, also)
            self._parts.update(parts)
            if statement.startswith("INSERT INTO decision"):
                for _, _, record, facts in rows:
                    self._note(record, facts)
            elif "INTO policy" in statement:
                self._policies.update(rows)
            return result

        DecisionLog._insert = watched  # type: ignore[method-assign, assignment]

    def _note(self, record: bytes, facts: bytes) -> None:
        self._rows.append((record, facts))
        self._bytes += len(record) + len(facts)
        if self._bytes > self.MOST:
            self._take_again()

    def _take_again(self) -> None:
        rows, self._rows, self._bytes = self._rows, [], 0
        for record, facts in rows:
            written: dict[str, Any] = msgspec.json.decode(record)
            if not {"candidates", "policy_digest"} <= written.keys():
                continue  # a test of the log itself, which keeps anything
            self.decisions += 1
            trouble = self._compare(written, facts)
            if trouble is None:
                self.same += 1
            else:
                self._differing.append(f"{written['id']}: {trouble}")

    def _compare(self, written: dict[str, Any], facts: bytes) -> str | None:
        try:
            past = recall(
                Kept(written, whole(facts, self._parts.get), self._policies.get(written["policy_digest"]), None)
            )
        except Forgotten as error:
            return str(error)
        again = msgspec.json.decode(msgspec.json.encode(decide(*past).verdicts()))
        other = [name for name in again if written.get(name) != again[name]]
        return None if not other else "; ".join(f"{name} {written.get(name)!r} != {again[name]!r}" for name in other)

    def differing(self) -> str:
        """What came out otherwise since the last call, one decision a line."""
        self._take_again()
        told, self._differing = "\n".join(self._differing), []
        return told

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """A test that is good otherwise fails if a decision of its own cannot be taken again."""
        try:
            result = yield
        except BaseException:
            self.differing()
            raise
        if item.get_closest_marker("another_mind") is not None:
            self._rows.clear()
        if told := self.differing():
            pytest.fail(f"taken again, these decisions come out otherwise:\n{told}", pytrace=False)
        return result

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker of pytest-xdist is done: what it took again counts here."""
        for name, count in getattr(node, "workeroutput", {}).get("replay", {}).items():
            setattr(self, name, getattr(self, name) + count)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """One line."""
        terminalreporter.write_line(f"replay: decisions={self.decisions} same={self.same}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """What was written after the last test (by a fixture) counts as well."""
        if told := self.differing():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            print(f"taken again, these decisions come out otherwise:\n{told}")
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["replay"] = {"decisions": self.decisions, "same": self.same}


def pytest_configure(config: pytest.Config) -> None:
    """Before any test."""
    replaying = Replaying()
    replaying.watch()
    config.pluginmanager.register(replaying, "replaying")
