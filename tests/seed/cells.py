"""What each program must show in each condition: who answers is data, what its output must say is a function per program."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .run import PROMPT, Ran
from .world import MAX_ANSWER, Condition

PHI, LLAMA2, GPT35, GPT4 = TIERS = ("ollama:phi", "ollama:llama2", "openai:gpt-3.5-turbo", "openai:gpt-4")
_NO_CLOUD = (Condition.NO_KEYS, Condition.PLACEHOLDER, Condition.NO_NETWORK)
_NO_EDGE = (Condition.NO_OLLAMA, Condition.KILLED)
_OFFLINE = "[OFFLINE MODE ACTIVE]"
_ROUNDING = 0.00005  # USD: the page prints four digits


def who(all_up: Sequence[str], no_cloud: Sequence[str], no_edge: Sequence[str]) -> dict[Condition, tuple[str, ...]]:
    """The models that answer, by what is missing: nothing, the cloud, the edge."""
    return {
        Condition.ALL_UP: tuple(all_up),
        **dict.fromkeys(_NO_CLOUD, tuple(no_cloud)),
        **dict.fromkeys(_NO_EDGE, tuple(no_edge)),
    }


# The models that answer, in the order of the program's answers. `performance` insists on ollama:phi for its first task and
# catches nothing: without Ollama it ends there, in our typed error.
ANSWERED_BY: Mapping[str, Mapping[Condition, tuple[str, ...]]] = {
    "basic": who([LLAMA2], [LLAMA2], [GPT35]),
    "tiers": who([PHI, GPT4], [PHI, LLAMA2], [GPT35, GPT4]),
    "offline": who([LLAMA2] * 2, [LLAMA2] * 2, [GPT35] * 2),
    "performance": who([PHI, PHI, GPT35, GPT35], [PHI] * 4, []),
    "cost": who([LLAMA2] * 3, [LLAMA2] * 3, [GPT35, GPT35, GPT4]),
}


@dataclass(slots=True)
class Look:
    """One look at what a program printed: collects the models it used and what is not as it should be.

    Attributes:
        condition: The condition it ran in.
        tokens: The length of a prompt in the server's own tokens.
        checks: What the agents said before the last prompt, as the decision was written down.
    """

    name: str
    condition: Condition
    ran: Ran
    tokens: Callable[[str], int]
    checks: Mapping[str, Any]
    models: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def expect(self, holds: object, otherwise: str) -> bool:
        """Note a problem unless `holds`."""
        if not holds:
            self.problems.append(otherwise)
        return bool(holds)

    def answers(self, pattern: str) -> list[re.Match[str]]:
        """Find the answers, and compare who gave them with what is expected; the first group is the model."""
        found = list(re.finditer(pattern, self.ran.stdout, re.MULTILINE | re.DOTALL))
        self.models = [match[1] for match in found]
        expected = list(ANSWERED_BY[self.name][self.condition])
        self.expect(self.models == expected, f"answered by {self.models}, expected {expected}")
        return found

    @property
    def is_offline(self) -> bool:
        """Whether the network is gone."""
        return self.condition is Condition.NO_NETWORK


def look(name: str, condition: Condition, ran: Ran, *, tokens: Callable[[str], int], checks: Mapping[str, Any]) -> Look:
    """Judge one run."""
    seen = Look(name, condition, ran, tokens, checks)
    seen.expect(not ran.hung, f"still running after {ran.seconds:.0f} s")
    seen.expect("Traceback" not in ran.stdout + ran.stderr, "a traceback")
    if ANSWERED_BY[name][condition]:
        seen.expect(ran.code == 0, f"exit code {ran.code}, expected 0")
        seen.expect(not ran.stderr, "something on stderr")
        seen.expect(not re.search(r"^Error:", ran.stdout, re.MULTILINE), "an error on stdout")
        _CHECKS[name](seen)
    else:
        _ends_in_our_error(seen)
    return seen


def _ends_in_our_error(seen: Look) -> None:
    lines = seen.ran.stderr.splitlines()
    seen.expect(seen.ran.code == 1, f"exit code {seen.ran.code}, expected 1")
    seen.expect(1 < len(lines) <= 6, f"{len(lines)} lines on stderr, expected a few")
    seen.expect(lines and lines[-1].startswith("hint: "), "the last line on stderr is no hint")
    seen.expect(PHI in seen.ran.stderr, f"stderr does not name {PHI}")
    expected = "\nTask: What is 15 + 27?\nSimple task detected, using edge model for speed\n"
    seen.expect(seen.ran.stdout == expected, "stdout is not what came before the failing call")


def _basic(seen: Look) -> None:
    answers = seen.answers(r"\AResponse from (\S+):\n(.+?)\n\nOrchestration decisions:\n(.+)\Z")
    if not answers:
        return
    seen.expect(answers[0][2].strip(), "an empty answer")
    agents = dict(re.findall(r"^- (\w+): (.+)$", answers[0][3], re.MULTILINE))
    link = "disconnected, target: local" if seen.is_offline else "optimal, target: hybrid"
    expected = {"resource_monitor": "available, target: hybrid", "connectivity_monitor": link}
    seen.expect(agents == expected, f"agents said {agents}, expected {expected}")


def _tiers(seen: Look) -> None:
    seen.answers(r"^(?:Simple|Complex) query used: (\S+)$")
    seen.expect(len(seen.ran.stdout.splitlines()) == 2, "more or fewer than two lines")
    ranks = [TIERS.index(model) for model in seen.models if model in TIERS]
    seen.expect(len(ranks) == 2 and ranks[0] < ranks[1], "the complex query did not get a higher tier")


def _offline(seen: Look) -> None:
    greeting, *turns = seen.ran.stdout.split(PROMPT)
    seen.expect(greeting.startswith("Offline-First AI Assistant"), "no greeting")
    seen.answers(r"^Using model: (\S+)\nResponse: \s*\S")
    marked = [_OFFLINE in turn for turn in turns]
    # The cable is pulled while the program waits for its second question; the last turn is `exit`.
    expected = [False, seen.is_offline, False]
    seen.expect(marked == expected, f"offline mode said in turns {marked}, expected {expected}")
    seen.expect("emergency mode" not in seen.ran.stdout, "emergency mode")


def _performance(seen: Look) -> None:
    answers = seen.answers(r"^Response from (\S+):\n(.+?)\nResponse time: (\d+\.\d\d) seconds$")
    seen.expect(all(float(answer[3]) > 0 for answer in answers), "an answer in no time")
    kinds = re.findall(r"^(Simple|Complex) task detected", seen.ran.stdout, re.MULTILINE)
    seen.expect(kinds == ["Simple", "Simple", "Complex", "Complex"], f"tasks {kinds}")


_COST_ANSWER = (
    r"^--- Query: ([^\n]+)\nModel used by orchestration: (\S+)\nBudget status: \$(\d\.\d{4}) spent \(of \$5\.00 total\)\n"
    r"Budget usage: (\d+\.\d)%\n(.+?)\n(?=\n---)"
)
_COST_TOTAL = r"\n--- Final Budget Status ---\nTotal spend: \$(\d\.\d{4})\nRemaining budget: \$(\d\.\d{4})\n\Z"
_PAGE_PRICES = {PHI: 0.0, LLAMA2: 0.0, GPT35: 0.0015, GPT4: 0.03}  # USD per 1000 tokens, the page's own table


def _cost(seen: Look) -> None:
    answers = list(re.finditer(_COST_ANSWER, seen.ran.stdout, re.MULTILINE | re.DOTALL))
    seen.answers(r"^Model used by orchestration: (\S+)$")
    least = most = 0.0
    for query, model, spent, percent, text in (match.groups() for match in answers):
        seen.expect(text.strip(), "an empty answer")
        price, asked = _PAGE_PRICES.get(model, 0.0) / 1000, seen.tokens(query)
        least, most = least + (asked + 1) * price, most + (asked + MAX_ANSWER) * price
        fits = least - _ROUNDING <= float(spent) <= most + _ROUNDING
        seen.expect(fits, f"${spent} after {query!r}, expected between {least:.6f} and {most:.6f}")
        seen.expect(abs(float(percent) - float(spent) / 5 * 100) <= 0.06, f"{percent} % of the budget at ${spent}")
    seen.expect(len(answers) == 3, f"{len(answers)} whole answers, expected 3")
    _cost_total(seen, answers)
    # That the agent steers shows in the models: without its vote the third query asks for the highest tier.
    said = seen.checks.get("cost_optimizer", {})
    told = (said.get("state"), said.get("target"))
    seen.expect(told == ("budget_available", "local"), f"the program's own agent was heard to say {told}")


def _cost_total(seen: Look, answers: Sequence[re.Match[str]]) -> None:
    total = re.search(_COST_TOTAL, seen.ran.stdout)
    if not seen.expect(total, "no final budget status") or total is None or not answers:
        return
    spend, rest = float(total[1]), float(total[2])
    seen.expect(abs(spend + rest - 5) <= 2 * _ROUNDING + 1e-9, f"spend {spend} and rest {rest} do not add up to 5")
    seen.expect(spend == float(answers[-1][3]), "the total is not the last status")
    paid = any(_PAGE_PRICES.get(model, 0.0) for model in seen.models)
    seen.expect((spend > 0) == paid, f"spent {spend} with {seen.models}")


_CHECKS: Mapping[str, Callable[[Look], None]] = {
    "basic": _basic,
    "tiers": _tiers,
    "offline": _offline,
    "performance": _performance,
    "cost": _cost,
}
