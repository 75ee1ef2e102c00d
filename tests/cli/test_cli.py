"""The command line, as a child process, on a real model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from oblix.cli.main import COMMANDS

from .running import run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home_with_model(tmp_path: Path, weights: Path) -> Path:
    """A home whose cache already holds the small model."""
    cache = tmp_path / "oblix" / "cache"
    cache.mkdir(parents=True)
    (cache / "models").symlink_to(weights.parent)
    return tmp_path


def test_version_and_help(tmp_path: Path) -> None:
    """Both answer at once; help lists every command."""
    assert run(tmp_path, "--version").stdout.startswith("oblix, version ")
    shown = run(tmp_path, "--help")
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in COMMANDS)


def test_help_imports_no_command(tmp_path: Path) -> None:
    """Help is quick because it imports nothing of what it lists."""
    code = "import sys; from oblix.cli.main import main; main(['--help']); sys.exit('oblix.client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_documented(name: str) -> None:
    """The README tells of each."""
    assert f"oblix {name}" in (ROOT / "README.md").read_text("utf-8")


def test_nothing_to_answer_with(tmp_path: Path) -> None:
    """Without any model: exit code 2, and what to do."""
    done = run(tmp_path, "hello")
    assert (done.returncode, done.stdout) == (2, "")
    assert "oblix models fetch smollm2" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("args", "code", "exit_code"),
    [
        (("--json", "hello"), "OBX-CONFIG", 2),
        (("ask", "--json", "-m", "openai:gpt-4o-mini", "hello"), "OBX-KEY", 4),
        (("ask", "--json", "--modle", "x", "hello"), "OBX-INVALID", 2),
        (("sessions", "show", "--json", "nowhere"), "OBX-INVALID", 2),
        (("budget", "set", "much", "--json"), "OBX-INVALID", 2),
    ],
)
def test_with_json_an_error_is_an_object(args: tuple[str, ...], code: str, exit_code: int, tmp_path: Path) -> None:
    """On stderr, because stdout is for answers; its keys are never renamed."""
    done = run(tmp_path, *args)
    assert (done.returncode, done.stdout) == (exit_code, "")
    error = json.loads(done.stderr)["error"]
    assert set(error) == {"code", "message", "hint", "request_id", "exit_code"}
    assert (error["code"], error["exit_code"]) == (code, exit_code)
    assert error["message"]


@pytest.mark.parametrize("as_json", [False, True])
def test_what_the_log_warns_of_is_shown(as_json: bool, tmp_path: Path) -> None:
    """A data file that was moved aside, keys that others may read: who types a command has no log to look at."""
    (tmp_path / "oblix").mkdir()
    (tmp_path / "oblix" / "oblix.db").write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 99)
    (tmp_path / "oblix" / "keys.toml").write_text("")
    (tmp_path / "oblix" / "keys.toml").chmod(0o644)
    options = ("--json",) if as_json else ()
    damaged, open_to_all = run(tmp_path, "sessions", "list", *options), run(tmp_path, "keys", "list", *options)
    assert (damaged.returncode, open_to_all.returncode) == (0, 0)
    for done, said in ((damaged, "corrupt-"), (open_to_all, "chmod 600")):
        warned = [line for line in done.stderr.splitlines() if "warning" in line]
        assert len(warned) == 1
        assert said in done.stderr
        assert not as_json or json.loads(warned[0])["warning"]["message"]


def test_json_after_a_double_dash_is_part_of_the_prompt(tmp_path: Path) -> None:
    done = run(tmp_path, "ask", "--", "hello", "--json")
    assert done.stderr.startswith("error: ")


def test_unknown_option_is_a_usage_error(tmp_path: Path) -> None:
    """Click's own message, exit code 2."""
    done = run(tmp_path, "ask", "--modle", "x", "hello")
    assert done.returncode == 2
    assert "--model" in done.stderr


@pytest.mark.parametrize(
    ("args", "code", "word"),
    [
        (("--private", "hello"), 3, "stay at home"),
        (("hello",), 4, "OPENAI_API_KEY"),
        (("-m", "gpt", "hello"), 2, "provider:name"),
        (("-m", "opnai:gpt", "hello"), 2, "'openai'"),
        (("--policy", "chepest", "hello"), 2, "'cheapest'"),
    ],
)
def test_exit_codes(tmp_path: Path, args: tuple[str, ...], code: int, word: str) -> None:
    """Each way of failing has its code and its word, and no traceback."""
    (tmp_path / "oblix.toml").write_text('[[model]]\nid = "openai:gpt-4o-mini"\n')
    done = run(tmp_path, "ask", *args)
    assert done.returncode == code, done.stderr
    assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_the_policy_of_the_settings_file_holds(tmp_path: Path) -> None:
    """`private` in the file keeps a prompt at home without a flag."""
    (tmp_path / "oblix.toml").write_text('[route]\npolicy = "private"\n[[model]]\nid = "openai:gpt-4o-mini"\n')
    assert run(tmp_path, "hello", OPENAI_API_KEY="sk-0123456789abcdef").returncode == 3


def test_a_cost_limit_of_nothing_is_a_limit(tmp_path: Path) -> None:
    """0 is not "no limit"."""
    (tmp_path / "oblix.toml").write_text('[[model]]\nid = "openai:gpt-4o-mini"\n')
    done = run(tmp_path, "ask", "--max-cost", "0", "hello", OPENAI_API_KEY="sk-0123456789abcdef")
    assert done.returncode == 5, done.stderr


@pytest.mark.parametrize("word", ["mdels", "wy"])
def test_a_mistyped_command_is_not_asked(tmp_path: Path, word: str) -> None:
    """A single word close to a command is a slip, and no prompt."""
    done = run(tmp_path, word)
    assert done.returncode == 2
    assert "Did you mean" in done.stderr


def test_bad_settings_file(tmp_path: Path) -> None:
    """The key and its nearest name are told."""
    (tmp_path / "oblix.toml").write_text('[[model]]\nid = "ollama:a"\nteir = 1\n')
    done = run(tmp_path, "hello")
    assert done.returncode == 2
    assert "'teir'" in done.stderr
    assert "'tier'" in done.stderr


def test_why_without_history(tmp_path: Path) -> None:
    """No data file is made by asking why."""
    done = run(tmp_path, "why")
    assert done.returncode == 2
    assert not (tmp_path / "oblix").exists()


@pytest.mark.engine
def test_ask_and_why(home_with_model: Path) -> None:
    """stdout is the answer alone; the decision can be asked for afterwards."""
    done = run(home_with_model, "What is the capital of France?", "--max-tokens", "8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    notes = set(done.stderr.splitlines())
    # The first comes on a machine that is busy enough to load for more than a second.
    assert notes <= {
        "[embedded:smollm2 is being loaded]",
        "[the answer was cut off at its limit; --max-tokens sets it]",
    }
    why = run(home_with_model, "why")
    assert why.stdout.startswith("embedded:smollm2 (edge) answered: ")
    record = json.loads(run(home_with_model, "why", "--json").stdout)
    assert record["chosen"] == "embedded:smollm2"
    assert [attempt["outcome"] for attempt in record["attempts"]] == ["ok"]
    assert "capital" not in json.dumps(record)  # features, never the prompt


@pytest.mark.engine
def test_piped_input_and_json(home_with_model: Path) -> None:
    """What is piped in belongs to the prompt; `--json` prints one object."""
    done = run(home_with_model, "ask", "--json", "--max-tokens", "8", "Summarise:", stdin="Rain fell all day.")
    reply = json.loads(done.stdout)
    assert reply["model_id"] == "embedded:smollm2"
    assert reply["metrics"]["output_tokens"] <= 8


@pytest.mark.engine
def test_models(home_with_model: Path) -> None:
    """The fetched model is listed; fetching it again does nothing."""
    assert "embedded:smollm2\tedge\tfetched" in run(home_with_model, "models").stdout
    again = run(home_with_model, "models", "fetch", "smollm2")
    assert again.returncode == 0
    assert "is here" in again.stderr
