"""What each preset makes of the reviewed worlds: `python -m tests.decision.presets` writes docs/presets.md."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from oblix.decision.decide import decide
from oblix.decision.facts import Facts
from oblix.decision.policy import PRESETS, WEIGHTS
from oblix.types.decision import Decision

from .reviewed import WORLDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "presets.md"

FOR = {
    "balanced": "The default: at home what home can do well, in the cloud what needs more; the agents steer.",
    "offline_first": "The cloud answers only where nothing at home may or has room in memory, or home has just failed.",
    "fastest": "The shortest predicted wait: loading, queue, reading and writing.",
    "cheapest": "Money first: a free model at home, then what costs least; the rest decides between what costs about the same.",
    "best": "The highest tier for every prompt; one agent alone does not change that.",
    "private": "Every prompt counts as private: no cloud model may see it.",
}
MEANING = """
A score is a sum, and the highest is tried first: only the proportions of the weights matter. Each is in points:

- `vote`: what a full vote of one agent for a place puts between home and cloud; a lean (`constrained`, `degraded`) is three quarters of it.
- `shortfall`: the lowest tier where the prompt asks for the highest; a tier between loses its share.
- `overshoot`: the highest tier where the lowest would do.
- `edge`: being at home, all else equal.
- `speed`: each factor of ten in predicted seconds, above a tenth of a second.
- `price`: each factor of ten in expected cost, above a thousandth of a cent; an unknown price counts as ten cents.
- `stay`: the model that gave the conversation's last answer gains it.

Above all of them stand, in this order: a network that seems down (the cloud comes last), a model asked for by name, a model without room
in memory, a failure a moment ago, and a rule of the policy.
A model that would fill the memory loses an eighth of a vote.
While an agent says that energy is scarce (a low battery, a hot machine), the cloud gains a lean in the presets that prefer it then.
In the others a model at home above the smallest loses what its tier would win for it, and up to a lean more; home as a whole loses nothing.
Of two with one score the one hooked first is tried first.
That a critical machine with a good network goes to the cloud, and a poor network with a free machine stays at home, holds in `balanced`.
`offline_first`, `private` and `cheapest` are named for something that goes before the first half of it, `best` and `fastest` for something
that goes before the second."""
HEAD = """# Presets

A preset is a set of weights: how much each soft term counts when the hard rules have left more than one model.
This page is generated from reviewed worlds by `python -m tests.decision.presets`, and a test fails when it and the code differ.
Each sentence below was written by someone who looked at the row and found it right: a row that comes out otherwise is to be read again.
"""
READ = """
## How to read the worlds

A cell names the model that is tried first; **bold** where it runs in the cloud.
A dash means that no model may answer: the request is refused with the reasons.
`phi` and `llama2` run on a laptop without a graphics processor (25 and 10 tokens a second), `qwen3:32b` on a workstation with one (50).
The others are cloud models; their windows, prices and speeds are written down in tests/decision/reviewed.py.
Tiers follow the order of hooking, edge before cloud, where the world does not say otherwise.
A simple question expects 60 tokens, a middling one 300, a hard one 800.
"""


def short(model_id: str) -> str:
    """The model's name alone."""
    return model_id.split(":", 1)[1]


def cell(decision: Decision) -> str:
    """Who is tried first; bold in the cloud."""
    if decision.chosen is None:
        return "–"
    return f"**{short(decision.chosen)}**" if decision.place == "cloud" else short(decision.chosen)


def orders(facts: Facts) -> Iterator[str]:
    """The whole plans, presets that agree on one line."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, policy in PRESETS.items():
        alike.setdefault(decide(facts, policy).plan, []).append(name)
    for plan, names in alike.items():
        yield f"{', '.join(names)}: {' → '.join(map(short, plan)) or 'refused'}"


def weights() -> Iterator[str]:
    """A row for each preset."""
    switches = {"always_top": "every prompt asks for the highest tier", "always_private": "every prompt is private"}
    yield f"| preset | {' | '.join(WEIGHTS)} | besides |"
    yield f"|---|{'---:|' * len(WEIGHTS)}---|"
    for name, policy in PRESETS.items():
        besides = [words for switch, words in switches.items() if getattr(policy, switch)]
        if not policy.bridges_to_cloud:
            besides.append("no cloud model answers while one at home is loaded")
        if policy.when_sparing == "smallest":
            besides.append("while energy is scarce, the smallest at home")
        numbers = " | ".join(f"{getattr(policy, weight):g}" for weight in WEIGHTS)
        yield f"| `{name}` | {numbers} | {'; '.join(besides)} |"


def page() -> str:
    """docs/presets.md."""
    lines = [
        HEAD,
        *(f"- `{name}`: {words}" for name, words in FOR.items()),
        "",
        "## Weights",
        "",
        *weights(),
        "",
        MEANING,
        READ,
    ]
    lines += [f"| | world | {' | '.join(PRESETS)} |", f"|---:|---|{'---|' * len(PRESETS)}"]
    for number, each in enumerate(WORLDS, 1):
        cells = " | ".join(cell(decide(each.facts, policy)) for policy in PRESETS.values())
        lines.append(f"| {number} | {each.words} | {cells} |")
    lines += ["", "## Why, world by world, with the whole order"]
    for number, each in enumerate(WORLDS, 1):
        lines += ["", f"**{number}. {each.words}.** {each.why}", "", *(f"- {order}" for order in orders(each.facts))]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
