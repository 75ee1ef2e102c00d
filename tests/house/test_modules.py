"""Sizes, first sentences, and who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import oblix

SOURCE = Path(oblix.__file__).parent
ROOT = SOURCE.parent.parent
MODULES = sorted(SOURCE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
HEAVY = (
    "aiohttp",
    "apsw",
    "asyncio",
    "click",
    "dotenv",
    "genai_prices",
    "keyring",
    "msgspec",
    "platformdirs",
    "psutil",
    "re2",
    "pydantic",
    "pynvml",
    "rich",
    "sqlite3",
    "uvloop",
    "xllamacpp",
    "yarl",
)


def named(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", MODULES + TESTS, ids=named)
def test_no_module_has_more_than_600_lines(file: Path) -> None:
    assert len(file.read_text("utf-8").splitlines()) <= 600


@pytest.mark.parametrize("file", MODULES, ids=named)
def test_every_module_opens_with_one_sentence(file: Path) -> None:
    said = ast.get_docstring(ast.parse(file.read_text("utf-8")))
    assert said
    first = said.splitlines()[0]
    assert first[-1] in ".?!"
    assert len(first) <= 140


def loaded(statement: str) -> set[str]:
    """What a fresh interpreter has loaded after a statement."""
    ran = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return {name.partition(".")[0] for name in ran.stdout.split()} & set(HEAVY)


def test_importing_the_house_loads_nothing_heavy() -> None:
    assert loaded("import oblix") == set()


@pytest.mark.parametrize(
    "statement",
    [
        "from oblix import *",
        "from oblix import OblixClient; from oblix.agents import ConnectivityAgent, ResourceMonitor",
        "from oblix.sync import OblixClient",
        "from oblix import OblixClient\nfrom oblix.agents import *\nclient = OblixClient()\nclient.hook_agent(ResourceMonitor())",
    ],
)
def test_what_talks_counts_or_writes_is_loaded_when_it_is_used(statement: str) -> None:
    assert loaded(statement) <= {"asyncio", "msgspec"}


def test_hooking_a_model_loads_its_provider_and_no_transport() -> None:
    found = loaded(
        "import asyncio\nfrom oblix import OblixClient\nclient = OblixClient()\n"
        "for name in ('ollama', 'openai', 'claude', 'embedded'):\n"
        "    asyncio.run(client.hook_model(name, 'smollm2', api_key='sk-test'))"
    )
    assert found <= {"asyncio", "msgspec", "psutil"}


def test_imports_go_down_the_stairs_only() -> None:
    """The contracts of pyproject.toml."""
    ran = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stdout
    assert "5 kept, 0 broken" in ran.stdout
