"""`oblix spend` and `oblix budget`: what was spent, what may be, and whether the books are right."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import apsw
import pytest

from oblix.cli.commands.spend import _parts
from oblix.cli.talking import approve
from oblix.client import OblixClient
from oblix.decision.layout import lay_out
from oblix.errors import BudgetExceeded
from oblix.testing import ScriptedModel
from oblix.testing import run as run_virtually
from oblix.types.chunk import End, Usage

from .running import PAID, run

PAGE = (Path(__file__).parents[2] / "docs" / "money.md").read_text("utf-8")


def spent(home: Path) -> None:
    """A home with a history: two answers of a cloud, one without usage; three at home."""

    async def main() -> None:
        async with OblixClient(store=home / "oblix" / "oblix.db") as client:
            end = End("stop", Usage(40, 80))
            client.hook(ScriptedModel("ollama:phi", ["yes", end], ["yes", end], ["yes", end]))
            client.hook(
                ScriptedModel("openai:gpt", ["yes", End("stop", Usage(100, 100))], ["and no", End("stop")], price=PAID)
            )
            for _ in range(3):
                await client.execute("What is the time?", model_id="ollama:phi", tags=("clock",), fallback=True)
            for _ in range(2):
                await client.execute("Prove it.", model_id="openai:gpt", tags=("proof", "work"))

    run_virtually(main())


def told(home: Path, *args: str) -> Any:
    ran = run(home, *args, "--json")
    assert (ran.returncode, ran.stderr) == (0, "")
    return json.loads(ran.stdout)


def test_without_a_history_nothing_is_made(tmp_path: Path) -> None:
    ran = run(tmp_path, "spend")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "Nothing was asked yet.\n", "")
    assert run(tmp_path, "budget", "show").stdout == "No budget is set. One for each day: oblix budget set 5/day\n"
    assert "books are right: 0 entries" in run(tmp_path, "budget", "check").stdout
    assert not (tmp_path / "oblix").exists()


def test_the_rows_of_each_kind(tmp_path: Path) -> None:
    spent(tmp_path)
    total = told(tmp_path, "spend")["total"]
    assert (total["calls"], total["answers"]) == (2, 5)
    assert total["micro_usd"] > 4000
    assert 0 < total["uncertain_micro_usd"] == total["micro_usd"] - 4000  # (100 × 10 + 100 × 30) / 10⁶ is certain
    for by, names in {
        "model": {"openai:gpt", "ollama:phi"},
        "place": {"edge", "cloud"},
        "tag": {"clock", "proof", "work"},
    }.items():
        rows = told(tmp_path, "spend", "--by", by, "--since", "7d")["rows"]
        assert {row["name"] for row in rows} == names
    (row,) = told(tmp_path, "spend", "--since", "today")["rows"]
    assert row["micro_usd"] == total["micro_usd"]
    assert told(tmp_path, "spend", "--since", "2999-01-01")["rows"] == []


def test_what_is_not_known_is_not_shown_as_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with OblixClient(store=tmp_path / "oblix" / "oblix.db") as client:
            client.hook(ScriptedModel("openai:own", ["b", End("stop", Usage(1000, 700))], price=None))
            await client.execute("hi")

    run_virtually(main())
    ran = run(tmp_path, "spend", "--by", "model")
    assert re.search(r"^openai:own\s+unknown\s+0\s+1\s", ran.stdout, re.MULTILINE)
    assert "1 answer is not in it" in ran.stdout
    assert "price = [0.5, 1.5]" in ran.stdout
    assert told(tmp_path, "spend")["total"]["unpriced"] == 1


def test_comma_separated_values(tmp_path: Path) -> None:
    spent(tmp_path)
    ran = run(tmp_path, "spend", "--by", "model", "--csv")
    rows = list(csv.DictReader(io.StringIO(ran.stdout)))
    assert [row["model"] for row in rows] == ["openai:gpt", "ollama:phi"]
    assert rows[1]["usd"] == "0.000000"
    assert int(rows[0]["micro_usd"]) == round(1e6 * float(rows[0]["usd"]))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("spend", "--since", "yesterdayish"), "is no day"),
        (("spend", "--since", "99999d"), ""),
        (("spend", "--by", "week"), "week"),
        (("spend", "--csv", "--json"), "together"),
        (("budget", "set", "five"), "5/day"),
        (("budget", "set", "5"), "5/day"),
        (("budget", "set", "-5/day"), ""),
        (("budget", "set", "5/day", "--model", "gpt"), "provider:name"),
        (("budget", "set", "5/day", "--model", "openai:gpt", "--tag", "x"), "one model, one tag or one key"),
        (("budget", "set", "5/day", "--tag="), "not empty"),
        (("budget", "set", "5/day", "--tag", "\udcff"), "UTF-8"),
        (("budget", "set", "5/day", "--key", "opnai"), "Did you mean 'openai'?"),
        (("budget", "set", "5/day", "--key", "openai"), "oblix keys set openai"),
    ],
)
def test_a_slip_is_told(args: tuple[str, ...], said: str, tmp_path: Path) -> None:
    ran = run(tmp_path, *args)
    assert "Traceback" not in ran.stderr
    assert said in ran.stderr
    assert ran.returncode == (0 if args[-1] == "99999d" else 2)


def test_a_budget_holds_for_every_program_on_the_file(tmp_path: Path) -> None:
    found = told(tmp_path, "budget", "set", "0.5/day")["budgets"]
    assert [(each["name"], each["limit_usd"], each["set_by"]) for each in found] == [("day", 0.5, "oblix budget set")]
    told(tmp_path, "budget", "set", "$50/month", "--model", "OpenAI:gpt")
    found = told(tmp_path, "budget", "set", "0.75/day")["budgets"]
    assert {each["name"]: each["limit_usd"] for each in found} == {"day": 0.75, "model openai:gpt a month": 50.0}
    spent(tmp_path)
    day = next(each for each in told(tmp_path, "budget", "show")["budgets"] if each["name"] == "day")
    total = told(tmp_path, "spend")["total"]["micro_usd"]
    assert round(1e6 * day["spent_usd"]) == total
    assert round(1e6 * day["left_usd"]) == 750_000 - total
    assert [each["name"] for each in told(tmp_path, "budget", "reset")["budgets"]] == ["model openai:gpt a month"]
    assert told(tmp_path, "budget", "reset", "month", "--model", "openai:gpt")["budgets"] == []
    assert "no such budget" in run(tmp_path, "budget", "reset").stderr


def test_a_budget_of_the_settings_is_shown_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "oblix.toml").write_text(
        '[budget]\non_limit = "stop"\nmonthly_usd = 20\nkeys = { OPENAI_API_KEY = { daily_usd = 1 } }\n'
    )
    found = told(tmp_path, "budget", "show")
    assert found["on_limit"] == "stop"
    assert [(each["name"], each["set_by"], each["is_for_all_programs"]) for each in found["budgets"]] == [
        ("month", "oblix.toml, line 3", False)
    ]
    (tmp_path / "oblix.toml").write_text("[budget]\nkeys = { OPNAI_API_KEY = { daily_usd = 1 } }\n")
    ran = run(tmp_path, "budget", "show")
    assert ran.returncode == 2
    assert "oblix.toml, line 2" in ran.stderr
    assert "Did you mean 'OPENAI_API_KEY'?" in ran.stderr


def test_a_key_is_named_and_never_shown(tmp_path: Path) -> None:
    key = "sk-" + "0123456789abcdef" * 2
    ran = run(tmp_path, "budget", "set", "5/day", "--key", "openai", OPENAI_API_KEY=key)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "openai" in ran.stdout
    assert key not in ran.stdout


def test_a_changed_entry_is_found(tmp_path: Path) -> None:
    spent(tmp_path)
    assert told(tmp_path, "budget", "check")["ok"]
    db = apsw.Connection(str(tmp_path / "oblix" / "oblix.db"))
    db.execute("DROP TRIGGER entry_stays")
    db.execute("UPDATE entry SET micro = micro + 1 WHERE seq = (SELECT min(seq) FROM entry WHERE kind = 'settle')")
    db.close()
    ran = run(tmp_path, "budget", "check")
    assert ran.returncode == 1
    assert "entry " in ran.stdout
    assert "adds up to" in ran.stdout


def test_a_file_that_was_damaged_is_told_of(tmp_path: Path) -> None:
    """Its budgets may be gone with it."""
    spent(tmp_path)
    (tmp_path / "oblix" / "oblix.db").write_bytes(b"garbage " * 4096)
    for _ in range(2):
        ran = run(tmp_path, "budget", "check")
        assert ran.returncode == 0
        assert "put aside: oblix.db.corrupt-" in ran.stderr


def test_a_report_waits_for_nobody_who_writes(tmp_path: Path) -> None:
    spent(tmp_path)
    db = apsw.Connection(str(tmp_path / "oblix" / "oblix.db"))
    db.execute("BEGIN IMMEDIATE")
    try:
        assert told(tmp_path, "spend")["total"]["calls"] == 2
    finally:
        db.close()


@pytest.mark.parametrize("args", [("set", "6/day"), ("reset",)], ids=["set", "reset"])
def test_another_program_that_writes_for_long_is_told_of(args: tuple[str, ...], tmp_path: Path) -> None:
    told(tmp_path, "budget", "set", "5/day")
    db = apsw.Connection(str(tmp_path / "oblix" / "oblix.db"))
    db.execute("BEGIN IMMEDIATE")
    try:
        ran = run(tmp_path, "budget", *args)
    finally:
        db.close()
    assert ran.returncode == 2
    assert "oblix.db cannot be used" in ran.stderr
    assert "try again in a moment" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert [each["limit_usd"] for each in told(tmp_path, "budget", "show")["budgets"]] == [5.0]


@pytest.mark.parametrize("args", [("show",), ("set", "6/day"), ("reset",), ("check",)], ids=lambda args: args[0])
def test_books_with_broken_tables_are_told_of(args: tuple[str, ...], tmp_path: Path) -> None:
    told(tmp_path, "budget", "set", "5/day")
    db = apsw.Connection(str(tmp_path / "oblix" / "oblix.db"))
    db.execute("DROP TABLE reservation; DROP TABLE budget")
    db.close()
    ran = run(tmp_path, "budget", *args)
    assert ran.returncode == 2
    assert "no such table" in ran.stderr
    assert "move it away" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_budget_that_would_not_last_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    ran = run(tmp_path, "budget", "set", "5/day", OBLIX_HOME=str(tmp_path / "file"))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "nothing is kept when this program ends" in ran.stderr
    assert "Set OBLIX_HOME" in ran.stderr


@pytest.mark.parametrize("whose", [(), ("--model", "openai:gpt-4o-mini"), ("--tag", "a b"), ("--key", "openai")])
def test_a_hint_works_when_it_is_followed(whose: tuple[str, ...], tmp_path: Path) -> None:
    """The refused call reaches the provider's address then, where nobody listens."""
    key = {"OPENAI_API_KEY": "sk-" + "0123456789abcdef" * 2}
    assert run(tmp_path, "budget", "set", "0.00001/month", *whose, **key).returncode == 0
    if whose[:1] == ("--tag",):
        hint = _refused_hint(tmp_path, whose[1])
    else:
        asked = ("ask", "-m", "openai:gpt-4o-mini", "hi")
        ran = run(tmp_path, *asked, **key, OPENAI_BASE_URL="http://127.0.0.1:9/v1")
        assert ran.returncode == 5
        hint = ran.stderr
    said = re.search(r"Raise it: oblix (budget set .*?); or", hint)
    assert said is not None
    args = shlex.split(said[1])
    assert args[3:] == list(whose)
    ran = run(tmp_path, *args, **key)
    assert (ran.returncode, ran.stderr) == (0, "")
    if whose[:1] != ("--tag",):
        ran = run(tmp_path, *asked, **key, OPENAI_BASE_URL="http://127.0.0.1:9/v1")
        assert ran.returncode == 1


def _refused_hint(home: Path, tag: str) -> str:
    async def main() -> str:
        async with OblixClient(store=home / "oblix" / "oblix.db") as client:
            client.hook(ScriptedModel("openai:gpt", price=PAID))
            with pytest.raises(BudgetExceeded) as refused:
                await client.execute("hi", tags=[tag])
            return refused.value.hint or ""

    return run_virtually(main())


def test_the_end_of_the_input_is_no_yes(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert asyncio.run(approve(BudgetExceeded("the budget 'day' has no room"))) is False
    assert "Let this one pass all the same?" in capfd.readouterr().err


def test_a_command_that_a_budget_ended_says_so(tmp_path: Path) -> None:
    told(tmp_path, "budget", "set", "0/day")
    key = "sk-" + "0123456789abcdef" * 2
    ran = run(
        tmp_path, "ask", "-m", "openai:gpt-4o-mini", "hi", OPENAI_API_KEY=key, OPENAI_BASE_URL="http://127.0.0.1:9/v1"
    )
    assert ran.returncode == 5
    assert "oblix budget set" in ran.stderr


def test_the_page_shows_what_comes(tmp_path: Path) -> None:
    spent(tmp_path)

    async def main() -> str:
        async with OblixClient(store=tmp_path / "oblix" / "oblix.db") as client:
            return lay_out(_parts(await client.spend("model"), {}), width=120)

    assert run_virtually(main()) in PAGE
