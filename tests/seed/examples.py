"""Our own examples in the same world as the page's programs: who must answer each in each condition."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .cells import GPT35, LLAMA2, PHI, who
from .page import REPOSITORY
from .run import Ran, run
from .world import Condition, World

EXAMPLES = REPOSITORY / "examples"
MODELS = {"EDGE_MODEL": LLAMA2, "SMALL_EDGE_MODEL": PHI, "CLOUD_MODEL": GPT35, "STRONG_CLOUD_MODEL": "openai:gpt-4"}


@dataclass(frozen=True, slots=True)
class Example:
    """A program, and how its output names the models that answered (group 1 of the pattern)."""

    name: str
    pattern: str
    answered_by: Mapping[Condition, tuple[str, ...]]
    says: str = ""  # a pattern that its output must hold

    @property
    def file(self) -> Path:
        """The program."""
        return EXAMPLES / f"{self.name}.py"

    def problems(self, ran: Ran, condition: Condition) -> list[str]:
        """What is not as it should be."""
        models = tuple(re.findall(self.pattern, ran.stdout, re.MULTILINE))
        offline = condition is Condition.NO_NETWORK and self.name == "offline_first"
        checks = {
            f"exit code {ran.code}": ran.code == 0,
            "something on stderr": not ran.stderr,
            f"answered by {models}, expected {self.answered_by[condition]}": models == self.answered_by[condition],
            f"does not say {self.says!r}": re.search(self.says, ran.stdout, re.MULTILINE) is not None,
            "[offline] where it is not, or missing where it is": ("[offline]" in ran.stdout) == offline,
        }
        return [problem for problem, holds in checks.items() if not holds]


ALL = (
    Example("basic", r"^(\w+:\S+): ", who([LLAMA2], [LLAMA2], [GPT35]), r"^- connectivity_monitor: \w+ \(.+\)$"),
    Example("tiers", r"^(\w+:\S+): ", who([PHI], [PHI], [GPT35]), r"^0\.\d\d  \w+:\S+  ←  Compare"),
    Example("offline_first", r"^(?:\[offline\] )?(\w+:\S+): ", who([LLAMA2], [LLAMA2], [GPT35])),
    # Before a model has answered, a cloud is taken to be quicker than a laptop: the one at home answers where there is no other.
    Example("fast", r"^(\w+:\S+): first token", who([GPT35], [PHI], [GPT35]), r"first token after \d+\.\d\d s"),
    Example(
        "budget",
        r"^(\w+:\S+)  ←  ",
        who([GPT35, LLAMA2, LLAMA2], [LLAMA2] * 3, [GPT35] * 3),
        r"^   spent \$\d\.\d{6} of \$0\.000040$",
    ),
    Example(
        "cost",
        r"^(\w+:\S+)  \$\S+  \w+  ←  What time",
        who([LLAMA2], [LLAMA2], [GPT35]),
        r"^spent here: \$\d\.\d{6}, in all today: \$\d\.\d{6} of \$5\.00$",
    ),
)


def try_example(example: Example, condition: Condition, world: World) -> tuple[Ran, list[str]]:
    """Run one example in one condition, and judge it."""
    world.prepare(condition)
    if condition is Condition.NO_NETWORK:
        world.network.pull_link()
    with tempfile.TemporaryDirectory(prefix="oblix-example-") as home:
        ran = run(
            world.command("-W", "error", str(example.file)),
            env={**world.environment(condition, Path(home)), **MODELS},
            cwd=Path(home),
        )
    problems = example.problems(ran, condition)
    if world.ollama_was_killed() != (condition is Condition.KILLED and example.name != "fast"):
        problems.append("the Ollama server was killed where it should not be, or lived where it should be killed")
    world.network.plug_link()
    return ran, problems
