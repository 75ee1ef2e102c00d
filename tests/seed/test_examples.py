"""Our examples: in every condition of the world, and, where there are no namespaces, at least with all up on loopback."""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from oblix.models.embedded.serve import LlamaServer, ServeOptions
from oblix.testing.ollama_options import OllamaOptions
from oblix.testing.ollama_server import OllamaServer

from .examples import ALL, EXAMPLES, Example, try_example
from .page import REPOSITORY
from .run import run
from .world import MAX_ANSWER, READINGS, Condition, World

pytestmark = pytest.mark.engine


def test_no_example_is_left_out() -> None:
    """Every program in the folder is run by these tests."""
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {example.name for example in ALL} | {"common"}


@pytest.mark.netns
@pytest.mark.parametrize("condition", list(Condition), ids=str)
@pytest.mark.parametrize("example", ALL, ids=lambda example: example.name)
def test_example_in_condition(example: Example, condition: Condition, world: World) -> None:
    """It ends well whatever is missing, and the model that must answer does."""
    ran, problems = try_example(example, condition, world)
    assert not problems, "\n".join([*problems, ran.stdout, ran.stderr])


@pytest.fixture(scope="module")
def servers(weights: Path) -> Iterator[dict[str, str]]:
    """Both sides on loopback, under the names that the examples and the README use by default."""
    key = f"sk-{secrets.token_hex(24)}"
    ollama = OllamaOptions(weights, ("llama3.2", "llama3.2:1b"), port=0, max_answer=MAX_ANSWER)
    with (
        LlamaServer(ServeOptions(weights, alias="gpt-4o-mini", api_key=key, max_answer=MAX_ANSWER)) as openai,
        OllamaServer(ollama) as edge,
    ):
        yield {"OLLAMA_HOST": edge.url, "OPENAI_BASE_URL": f"{openai.url}/v1", "OPENAI_API_KEY": key}


def _readme_program(folder: Path) -> Path:
    blocks = re.findall(
        r"^```python\n(.*?)^```", (REPOSITORY / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert len(blocks) == 1
    (folder / "readme.py").write_text(blocks[0], "utf-8")
    return folder / "readme.py"


@pytest.mark.parametrize("name", [*(example.name for example in ALL), "README"])
def test_program_with_all_up(name: str, servers: dict[str, str], tmp_path: Path) -> None:
    """With the default names, on loopback, wherever the tests run: exit code 0, an answer, nothing on stderr."""
    program = _readme_program(tmp_path) if name == "README" else EXAMPLES / f"{name}.py"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OBLIX_HOME": str(tmp_path / "home")}
    ran = run(
        [sys.executable, "-W", "error", str(program)],
        env={**environment, "OBLIX_READINGS": str(READINGS), **servers},
        cwd=tmp_path,
    )
    assert (ran.code, ran.stderr) == (0, ""), ran.stdout + ran.stderr
    assert re.search(r"(ollama:llama3\.2(:1b)?|openai:gpt-4o(-mini)?)\b", ran.stdout)
