"""The engine's own process dies in the middle of an answer: what it leaves behind holds no prompt, and it never had a key."""

from __future__ import annotations

import io
import json
import pickle
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from oblix import AllModelsFailed, OblixClient

from .birds import KEY, PROMPT, assert_hidden, assert_silent, heard, on_a_loop, searched, told

pytestmark = pytest.mark.engine

# Takes the engine's place in the child: what is said on its standard error goes into a file as well, and at the third piece of an
# answer it does the worst.
STAND_IN = """
import ctypes, json, os, subprocess, sys
sys.path.remove(os.path.dirname(__file__))
del sys.modules["xllamacpp"]
import xllamacpp

with open({said!r} + ".environment", "w") as file:
    json.dump(dict(os.environ), file)
tee = subprocess.Popen(["tee", "-a", {said!r}], stdin=subprocess.PIPE, stdout=2)
os.dup2(tee.stdin.fileno(), 2)
os.dup2(2, 1)

class Mortal(xllamacpp.Server):
    def handle_chat_completions(self, body, on_chunk):
        pieces = iter(range(3))
        def until_the_third(chunk):
            if next(pieces, None) is None:
                {death}
            return on_chunk(chunk)
        super().handle_chat_completions(body, until_the_third)

xllamacpp.Server = Mortal
"""
QUIET = "ctypes.string_at(0)"  # a read of address 0: SIGSEGV, in native code
LOUD = 'os.write(2, b"assertion failed: " + json.dumps(body).encode() + b"\\n"); os.abort()'


@pytest.fixture(autouse=True)
def _images() -> Iterator[None]:
    """Processes may leave an image of themselves when they crash, as far as this machine allows it."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


def mortal(folder: Path, death: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have engines die so; gives the file with all that they say."""
    stand_in, said = folder / "stand_in", folder / "said"
    stand_in.mkdir()
    (stand_in / "xllamacpp.py").write_text(STAND_IN.format(said=str(said), death=death))
    monkeypatch.setenv("PYTHONPATH", str(stand_in))
    if death == QUIET:
        monkeypatch.setenv("PYTHONFAULTHANDLER", "1")  # what it dumps would push other last words out of sight
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD"):
        monkeypatch.setenv(name, KEY)
    (folder / "here").mkdir()
    monkeypatch.chdir(folder / "here")  # where Linux writes an image of a process that crashes
    return said


async def asked_in_vain(client: OblixClient, weights: Path) -> AllModelsFailed:
    await client.hook_model("embedded", str(weights), window=512, threads=1, slots=1)
    with pytest.raises(AllModelsFailed) as caught:
        await client.execute(PROMPT, max_tokens=8, provider_options={"ignore_eos": True})
    return caught.value


@pytest.mark.parametrize(("death", "signal"), [(QUIET, "SIGSEGV"), (LOUD, "SIGABRT")], ids=["quiet", "loud"])
@on_a_loop
async def test_an_engine_that_crashes_leaves_no_canary(
    death: str, signal: str, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: io.StringIO
) -> None:
    """Not in its standard error, our log, our error, the data file, nor in an image of the process; also where its last words quote us."""
    said = mortal(tmp_path, death, monkeypatch)
    async with OblixClient(store=tmp_path / "data" / "oblix.db") as client:
        error = await asked_in_vain(client, weights)
        assert signal in str(error)
        assert "its last words" in str(error)
        assert_silent(
            {
                "error": str(error) + repr(error) + repr(error.attempts),
                "pickle": pickle.dumps(error),
                "status": json.dumps(await client.status(), default=repr),
                "why": await client.explain(),
            }
        )
        assert_silent({"locals": told(error)}, of=("key",))
        assert_hidden(client, error)
    words = said.read_bytes()
    assert (b"Fatal Python error" in words) == (death == QUIET)
    assert heard(words) == ([] if death == QUIET else ["prompt"])
    given = json.loads((tmp_path / "said.environment").read_text())
    assert "PATH" in given
    assert_silent({"log": log.getvalue(), "environment": repr(given)})  # the engine calls nobody, and needs no key
    assert searched(tmp_path / "data") == {}
    assert list((tmp_path / "here").iterdir()) == []
