"""`oblix replay`: on a real data file."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import apsw
import pytest

from oblix.cli.commands.replay import _moment
from oblix.errors import InvalidRequest

from .running import remember, run
from .test_why import earlier_file

HARD = (
    "Analyze the implications of quantum computing for cryptography, compare the alternatives and design a migration."
)
MAIL = '[[rule]]\nname = "mail"\nwhen = { words = ["patient"] }\nto = "cloud"\n'


def test_every_decision_comes_out_the_same(tmp_path: Path) -> None:
    remember(tmp_path, {"prompt": "one"}, {"prompt": HARD}, {"prompt": "two", "policy": "cheapest"})
    told = run(tmp_path, "replay")
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.splitlines()[-1] == "replay: decisions=3 same=3 changed=0 skipped=0"


def test_a_decision_that_does_not_is_found(tmp_path: Path) -> None:
    """The control: a row that was changed by hand."""
    (changed,) = remember(tmp_path, {"prompt": "one"})
    db = apsw.Connection(str(tmp_path / "oblix" / "oblix.db"))
    ((text,),) = db.execute("SELECT CAST(record AS TEXT) FROM decision").fetchall()
    record = json.loads(str(text))
    record.update(chosen="openai:gpt", plan=["openai:gpt", "ollama:phi"])
    db.execute("UPDATE decision SET record = ?", (json.dumps(record).encode(),))
    db.close()
    told = run(tmp_path, "replay")
    assert told.returncode == 1
    assert changed in told.stdout
    assert told.stdout.splitlines()[-1] == "replay: decisions=1 same=0 changed=1 skipped=0"


def test_what_another_policy_would_have_changed(tmp_path: Path) -> None:
    remember(tmp_path, {"prompt": "one"}, {"prompt": "two"}, {"prompt": HARD}, {"prompt": "x", "private": True})
    told = run(tmp_path, "replay", "--policy", "best")
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith("4 decisions read, 4 of them taken again under the policy best: 2 same, 2 changed.\n")
    assert "\non the edge\t75 %\t25 %\tof 4 requests\n" in told.stdout
    assert "\n2\tollama:phi\topenai:gpt\ttier 1 is below what the policy asks for (tier 2) (e.g. 01" in told.stdout
    assert "0 private requests have a cloud model in their plan." in told.stdout
    found = json.loads(run(tmp_path, "replay", "--policy", "best", "--json").stdout)
    assert (found["same"], found["changed"], found["privacy_crossings"]) == (2, 2, 0)
    assert found["edge"] == {"old": 3, "new": 1, "requests": 4}


def test_what_was_private_by_its_policy_alone_is_told(tmp_path: Path) -> None:
    remember(tmp_path, {"prompt": HARD, "policy": "private"})
    told = run(tmp_path, "replay", "--policy", "balanced")
    assert told.returncode == 0
    assert "1 requests were private because the policy of then said so" in told.stdout


def test_rows_of_an_earlier_version_and_unheard_words_are_left_out_and_told(tmp_path: Path) -> None:
    earlier_file(tmp_path)
    remember(tmp_path, {"prompt": "one"})
    (tmp_path / "new.toml").write_text(MAIL)
    told = run(tmp_path, "replay", "--policy", "new.toml")
    assert told.returncode == 0
    assert "1: written by an earlier version." in told.stdout
    assert "1: rule 'mail' listens for words that were not listened for then." in told.stdout
    assert told.stdout.splitlines()[-1] == "replay: decisions=2 same=0 changed=0 skipped=2"


def test_only_what_is_young_enough(tmp_path: Path) -> None:
    remember(tmp_path, {"prompt": "one"})
    assert "decisions=1 " in run(tmp_path, "replay", "--since", "7d").stdout
    assert "decisions=0 " in run(tmp_path, "replay", "--since", "2999-01-01").stdout


def test_without_a_history_there_is_nothing_to_replay(tmp_path: Path) -> None:
    told = run(tmp_path, "replay")
    assert (told.returncode, told.stdout) == (2, "")
    assert "Nothing was asked yet" in told.stderr
    assert list(tmp_path.iterdir()) == []


NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("12h", 12 * 3600), ("7d", 7 * 86400), ("2w", 14 * 86400), ("0d", 0)]
)
def test_a_time_ago(text: str, seconds: int) -> None:
    assert NOW.timestamp() - _moment(text, NOW) == seconds


def test_a_date_and_a_time() -> None:
    assert _moment("2026-11-01T00:00:00+00:00", NOW) == datetime(2026, 11, 1, tzinfo=UTC).timestamp()
    assert _moment("2026-11-01", NOW) == datetime(2026, 11, 1).astimezone().timestamp()


@pytest.mark.parametrize("text", ["", "7", "7x", "-7d", "yesterday", "2026-13-01", "999999w"])
def test_what_is_no_time_is_a_clear_error(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is no time"):
        _moment(text, NOW)
