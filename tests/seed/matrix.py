"""The matrix: one cell is one program in one condition, run and judged."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oblix.storage.decisions import DecisionLog

from .cells import Look, look
from .page import NAMES
from .run import PROMPT, Ran, Turn, run
from .world import OBLIX_HOME, Condition, World

_TALKS = "offline"  # the program that asks for input


@dataclass(frozen=True, slots=True)
class Cell:
    """One program in one condition."""

    program: str
    condition: Condition

    def __str__(self) -> str:
        return f"{self.program}, {self.condition}"


@dataclass(frozen=True, slots=True)
class Result:
    """What a cell showed; ok when there are no problems."""

    cell: Cell
    models: tuple[str, ...]
    problems: tuple[str, ...]
    ran: Ran

    @property
    def last_words(self) -> str:
        """The last line that the program printed, its prompt left out."""
        lines = [line.strip() for line in (self.ran.stderr or self.ran.stdout).splitlines()]
        return next((line for line in reversed(lines) if line and line != PROMPT.strip()), "")

    @property
    def output(self) -> str:
        """All that it printed."""
        return f"exit code {self.ran.code}\n--- stdout\n{self.ran.stdout}\n--- stderr\n{self.ran.stderr}"


def cells() -> Iterator[Cell]:
    """All cells, one condition after the other, so that servers stay up as long as they can."""
    return (Cell(program, condition) for condition in Condition for program in NAMES)


def try_cell(cell: Cell, program: Path, world: World) -> Result:
    """Run one cell. With all up the program also runs with every warning an error: leaving without shutdown is quiet."""
    modes = ((), ("-W", "error")) if cell.condition is Condition.ALL_UP else ((),)
    problems: list[str] = []
    for flags in modes:
        seen = _run(cell, [*flags, str(program)], world)
        problems += [f"{' '.join(flags)}: {problem}" if flags else problem for problem in seen.problems]
        if problems:
            break
    return Result(cell, tuple(seen.models), tuple(problems), seen.ran)


def _run(cell: Cell, arguments: Sequence[str], world: World) -> Look:
    world.prepare(cell.condition)
    talks = cell.program == _TALKS
    pull = world.network.pull_link if cell.condition is Condition.NO_NETWORK else None
    if pull is not None and not talks:
        pull()
    with tempfile.TemporaryDirectory(prefix="oblix-seed-") as home:
        ran = run(
            world.command(*arguments),
            env=world.environment(cell.condition, Path(home)),
            cwd=Path(home),
            script=_script(pull) if talks else (),
        )
        checks = _last_checks(Path(home))
    killed = world.ollama_was_killed()
    world.network.plug_link()
    seen = look(cell.program, cell.condition, ran, tokens=world.prompt_tokens, checks=checks)
    seen.expect(killed == (cell.condition is Condition.KILLED), f"the Ollama server was killed: {killed}")
    return seen


def _last_checks(home: Path) -> dict[str, Any]:
    """What the agents reported before the last prompt, from the log that the program has left."""
    kept = home / OBLIX_HOME / "oblix.db"
    if not kept.exists():
        return {}
    with closing(DecisionLog(kept)) as log:
        found = log.find("last")
    checks: dict[str, Any] = found[0]["checks"] if found else {}
    return checks


def _script(pull: Callable[[], None] | None) -> list[Turn]:
    """Two questions and goodbye; the cable is pulled while the program waits for the second one."""
    return [Turn("What is the capital of France?"), Turn("And what is the capital of Italy?", pull), Turn("exit")]
