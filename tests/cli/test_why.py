"""`oblix why`: on a real data file, of this version and of the one before."""

from __future__ import annotations

import json
import re
from pathlib import Path

import apsw
import pytest

from oblix.storage.sqlite import MIGRATIONS

from .running import remember, run

EARLIER = {
    "id": "01KB0000000000000000000000",
    "at": 1_795_000_000.0,
    "policy": "balanced",
    "chosen": "ollama:phi",
    "place": "edge",
    "plan": ["ollama:phi"],
    "reasons": [{"code": "only_candidate", "text": "the only model that may answer"}],
    "candidates": [
        {"model": "ollama:phi", "place": "edge", "verdict": "chosen", "by": "only_candidate",
         "reason": "the only model that may answer", "tier": 1, "score": 0.25, "terms": {}, "est_usd": 0.0},
        {"model": "openai:gpt", "place": "cloud", "verdict": "excluded", "by": "privacy",
         "reason": "private prompts stay at home", "tier": 1, "score": None, "terms": {}, "est_usd": None},
    ],
    "complexity": {"score": 0.04, "evidence": []},
    "private": True,
}  # fmt: skip


def earlier_file(home: Path) -> None:
    """A data file as the version before this one made it."""
    (home / "oblix").mkdir()
    db = apsw.Connection(str(home / "oblix" / "oblix.db"))
    db.execute(MIGRATIONS[0])
    db.execute("PRAGMA user_version = 1")
    facts = json.dumps({"now": 1.0, "reports": {}}).encode()
    db.execute("INSERT INTO decision VALUES (?, 1.0, ?, ?)", (EARLIER["id"], json.dumps(EARLIER).encode(), facts))
    db.close()


def test_the_whole_story_of_the_latest_decision(tmp_path: Path) -> None:
    remember(tmp_path, {"prompt": "What is it?", "tags": ["mail"]}, fails=True)
    told = run(tmp_path, "why")
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith(
        "openai:gpt answered, after ollama:phi failed (connection refused). First choice was ollama:phi: simple prompt"
    )
    assert "\nThe models\nollama:phi\tedge\tchosen\t" in told.stdout
    assert "\n  With a harder prompt (0.50 or above), it would have gone to openai:gpt.\n" in told.stdout
    assert told.stdout.rstrip().endswith("UTC · tags mail")


def test_by_the_start_of_its_id(tmp_path: Path) -> None:
    first, second = remember(
        tmp_path, {"prompt": "one", "model_id": "openai:gpt"}, {"prompt": "two", "request_id": "job-2"}
    )
    assert "asked for by model_id" in run(tmp_path, "why", first[:22].lower()).stdout
    assert "job-2 · " in run(tmp_path, "why", second).stdout
    missing = run(tmp_path, "why", "job-3")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "'job-3' is the start of no decision" in missing.stderr


def test_as_one_record_with_attempts_usage_and_flips(tmp_path: Path) -> None:
    remember(tmp_path, {"prompt": "What is it?"}, fails=True)
    record = json.loads(run(tmp_path, "why", "--json").stdout)
    assert [(each["model"], each["outcome"]) for each in record["attempts"]] == [
        ("ollama:phi", "failed"),
        ("openai:gpt", "ok"),
    ]
    assert record["usage"]["output"] == 1
    assert set(record["prompt"]) == {"fingerprint"}
    assert record["flips"][0]["model"] == "openai:gpt"


def test_what_an_earlier_version_wrote_is_told_without_flips(tmp_path: Path) -> None:
    earlier_file(tmp_path)
    told = run(tmp_path, "why")
    assert (told.returncode, told.stderr) == (0, "")
    assert "ollama:phi (edge) was chosen: the only model that may answer." in told.stdout
    assert "its facts or its policy cannot be read" in told.stdout
    record = json.loads(run(tmp_path, "why", "--json").stdout)
    assert (record["location"], record["flips"]) == ("edge", None)
    assert record["candidates"][1]["verdict"] == "rejected"


def test_on_a_terminal_tables_have_columns(tmp_path: Path) -> None:
    """A real terminal of 90 columns."""
    pty = pytest.importorskip("pty")
    import fcntl
    import os
    import struct
    import subprocess
    import sys
    import termios

    remember(tmp_path, {"prompt": "What is it?"})
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 90, 0, 0))
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OBLIX_HOME": str(tmp_path / "oblix")}
    child = subprocess.Popen([sys.executable, "-m", "oblix", "why"], stdout=theirs, stdin=theirs, env=environment)
    os.close(theirs)
    said = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux tells the end of a terminal so
            break
        if not piece:
            break
        said += piece
    os.close(ours)
    assert child.wait(timeout=60) == 0
    lines = said.decode().replace("\r", "").splitlines()
    assert max(map(len, lines)) <= 90
    assert any(re.fullmatch("  model +location +verdict +about +cost +because", line) for line in lines)
    assert any(line.startswith("  ollama:phi  edge      chosen   ") for line in lines)
