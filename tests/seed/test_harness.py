"""The harness itself: it talks to a program, notices a hang, and calls nothing ok that is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .cells import Look, look
from .run import Ran, Turn, run
from .world import Condition

TIERS = "Simple query used: {}\nComplex query used: {}\n"
BASIC = "Response from {}:\n{}\n\nOrchestration decisions:\n{}"
AGENTS = "- resource_monitor: available, target: hybrid\n- connectivity_monitor: {}\n"
COST = (
    "\n--- Query: {0}\nModel used by orchestration: openai:gpt-3.5-turbo\nBudget status: ${1} spent (of $5.00 total)\n"
    "Budget usage: 0.0%\nwords\n"
)
CHECKS = {"cost_optimizer": {"state": "budget_available", "target": "local"}}
TOTAL = "\n--- Final Budget Status ---\nTotal spend: ${}\nRemaining budget: ${}\n"


def judge(name: str, stdout: str, condition: Condition = Condition.ALL_UP, *, stderr: str = "", code: int = 0) -> Look:
    return look(name, condition, Ran(stdout, stderr, code, 1.0), tokens=lambda prompt: 40, checks=CHECKS)


def test_a_program_is_talked_to_at_its_prompt(tmp_path: Path) -> None:
    """What is to happen before a line happens while the program waits for that line."""
    program = "print('hello')\nwhile (said := input('\\nYou: ')) != 'exit': print('heard', said)"
    happened: list[str] = []
    script = [Turn("one"), Turn("two", lambda: happened.append("pulled")), Turn("exit")]
    ran = run([sys.executable, "-c", program], env={}, cwd=tmp_path, script=script)
    assert (ran.code, ran.stderr, happened) == (0, "", ["pulled"])
    assert ran.stdout == "hello\n\nYou: heard one\n\nYou: heard two\n\nYou: "


def test_a_program_that_hangs_is_ended_and_shows_where(tmp_path: Path) -> None:
    (tmp_path / "hang.py").write_text("import time\ntime.sleep(60)\n")
    ran = run([sys.executable, "hang.py"], env={}, cwd=tmp_path, deadline=0.5)
    assert ran.hung
    assert "hang.py" in ran.stderr
    assert "still running" in look("basic", Condition.ALL_UP, ran, tokens=len, checks={}).problems[0]


def test_what_is_as_it_should_be_is_ok() -> None:
    assert not judge("tiers", TIERS.format("ollama:phi", "openai:gpt-4")).problems
    basic = BASIC.format("ollama:llama2", "Qubits.", AGENTS.format("optimal, target: hybrid"))
    assert not judge("basic", basic).problems
    offline = BASIC.format("ollama:llama2", "Qubits.", AGENTS.format("disconnected, target: local"))
    assert not judge("basic", offline, Condition.NO_NETWORK).problems


@pytest.mark.parametrize(
    ("stdout", "stderr", "code", "problem"),
    [
        (TIERS.format("ollama:llama2", "ollama:phi"), "", 0, "did not get a higher tier"),
        (TIERS.format("ollama:phi", "openai:gpt-4"), "warning\n", 0, "something on stderr"),
        (TIERS.format("ollama:phi", "openai:gpt-4"), "", 1, "exit code 1"),
        ("\nError: nothing answered\nhint: start it\n", "", 0, "an error on stdout"),
        ("", "Traceback (most recent call last):\n", 1, "a traceback"),
    ],
    ids=["tier", "stderr", "code", "error", "traceback"],
)
def test_what_is_not_is_named(stdout: str, stderr: str, code: int, problem: str) -> None:
    assert problem in "; ".join(judge("tiers", stdout, stderr=stderr, code=code).problems)


def test_an_error_that_should_come_is_asked_for() -> None:
    """`performance` must fail without Ollama; in silence, or with a traceback, is not how."""
    said = "\nTask: What is 15 + 27?\nSimple task detected, using edge model for speed\n"
    error = "oblix.errors.AllModelsFailed: No answer from 'ollama:phi': connection refused.\nhint: `ollama serve`\n"
    none = Condition.NO_OLLAMA
    assert not judge("performance", said, none, stderr=error, code=1).problems
    assert judge("performance", said, none, stderr=error, code=0).problems
    assert judge("performance", said, none, stderr=f"Traceback:\n{error}", code=1).problems
    assert judge("performance", said, none, stderr=error + "more\n", code=1).problems


@pytest.mark.parametrize(
    ("spent", "rest", "fine"),
    [("0.0002", "4.9998", True), ("0.0002", "4.9990", False), ("0.0020", "4.9980", False), ("0.0000", "5.0000", False)],
    ids=["right", "does not add up", "too dear", "free"],
)
def test_budgets_are_calculated_again(spent: str, rest: str, fine: bool) -> None:
    stdout = "".join(COST.format(query, "0.0001") for query in "ab") + COST.format("c", spent)
    money = [
        problem
        for problem in judge("cost", stdout + TOTAL.format(spent, rest), Condition.NO_OLLAMA).problems
        if not problem.startswith("answered by")
    ]
    assert (not money) is fine, money
