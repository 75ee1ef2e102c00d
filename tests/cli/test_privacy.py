"""`oblix privacy scan`: it tells what is there, and shows none of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from oblix.cli.commands.privacy import command
from oblix.decision.privacy.scan import LARGEST
from oblix.errors import InvalidRequest

CARD, ADDRESS, PASSWORD = "4111 1111 1111 1111", "ada@example.com", "hunter2hunter2"
TEXT = f"Hello,\nmail {ADDRESS} or use {CARD}.\r\npassword: {PASSWORD}\n"


def run(*args: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(command, ["scan", *args], input=stdin, standalone_mode=False)


def test_kind_and_place_are_told_and_never_the_whole(tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_bytes(TEXT.encode())
    ran = run(str(file))
    assert [line.split("\t") for line in ran.stdout.splitlines()] == [
        ["email", "2:6", "ad…om (15)", "told"],
        ["card", "2:29", "41…11 (19)", "private"],
        ["password", "3:11", "… (14)", "private"],
    ]
    assert ran.stderr == "Found e-mail addresses: 1, card numbers: 1, passwords: 1.\n"
    assert ran.return_value == 0


def test_as_json_from_standard_input() -> None:
    ran = run("-", "--json", stdin=TEXT)
    told = json.loads(ran.stdout)
    assert told["characters"] == len(TEXT)
    assert [(each["kind"], TEXT[each["start"] : each["end"]], each["private"]) for each in told["found"]] == [
        ("email", ADDRESS, False),
        ("card", CARD, True),
        ("password", PASSWORD, True),
    ]
    assert not any(secret in ran.stdout for secret in (CARD, ADDRESS, PASSWORD))


@pytest.mark.parametrize(("text", "code"), [(TEXT, 1), (f"mail {ADDRESS}", 0), ("hello", 0)])
def test_check_fails_only_for_what_counts_as_private(text: str, code: int) -> None:
    assert run("-", "--check", stdin=text).return_value == code


def test_nothing_found() -> None:
    ran = run("-", stdin="What is the capital of France?")
    assert (ran.stdout, ran.stderr, ran.return_value) == ("", "Nothing private was found.\n", 0)


def test_names_of_a_list(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("Ada Lovelace\n\nProject Falcon\n", "utf-8")
    ran = run("-", "--names", str(names), stdin="ada lovelace leads project falcon")
    assert [line.split("\t")[:3] for line in ran.stdout.splitlines()] == [
        ["name", "1:1", "ad…ce (12)"],
        ["name", "1:20", "pr…on (14)"],
    ]


def test_what_is_no_text_is_not_called_clean() -> None:
    ran = run("-", stdin=ADDRESS.encode("utf-16"))
    assert isinstance(ran.exception, InvalidRequest)
    assert "is no text in UTF-8" in str(ran.exception)


def test_a_text_too_large_for_a_prompt_is_scanned_here_and_says_so() -> None:
    ran = run("-", stdin="a" * LARGEST + f" {CARD}")
    assert ran.stdout.startswith(f"card\t1:{LARGEST + 2}\t")
    assert "As a prompt, this would count as private unseen" in ran.stderr


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    ran = run(str(tmp_path / "no.txt"))
    assert isinstance(ran.exception, InvalidRequest)
    assert "No such file" in str(ran.exception)
