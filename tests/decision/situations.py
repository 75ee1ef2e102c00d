"""Situations that people ask `oblix why` about: what was decided on, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from oblix.decision import explain
from oblix.decision.decide import decide
from oblix.decision.facts import Facts, Health, Pace, Turn
from oblix.decision.flips import flips
from oblix.decision.layout import lay_out
from oblix.decision.policy import PRESETS, Policy, Rule, When
from oblix.types.attempt import Attempt
from oblix.types.privacy import Privacy
from oblix.types.report import AgentReport
from oblix.types.spec import Price

from .world import LOW, PRIVATE, model, picture

SIMPLE = "What is the capital of France?"
COMPLEX = "Analyze the security implications of quantum computing for elliptic-curve cryptography in detail."
PACE_HOME = Pace(start=0.15, read=0.004, write=0.04, load=3.1)
PACE_AWAY = Pace(start=0.5, read=0.0002, write=0.011)
PHI = model("ollama:phi", "edge", 0, window=4096, pace=PACE_HOME)
LLAMA = model("ollama:llama2", "edge", 1, window=4096, pace=replace(PACE_HOME, write=0.09))
MINI = model(
    "openai:gpt-4o-mini", "cloud", 2, window=128_000, price=Price(0.15, 0.6, "genai-prices 0.2.3"), pace=PACE_AWAY
)
OPUS = model(
    "claude:claude-opus-4-5", "cloud", 3, window=200_000, price=Price(5.0, 25.0, "genai-prices 0.2.3"), pace=PACE_AWAY
)
PAIR = (LLAMA, MINI)

IDLE = AgentReport(state="available", reason="machine idle (CPU 6 %, memory 41 %)")
CRITICAL = AgentReport(state="critical", target="cloud", reason="CPU 97 % (limit 90 %)")
GOOD = AgentReport(state="optimal", reason="48 ms, 0 % loss")
POOR = AgentReport(state="degraded", lean="edge", reason="latency 912 ms is above 200 ms")
AWAY = AgentReport(state="disconnected", target="local", reason="no network route to any hooked cloud endpoint")
CALM = {"resource_monitor": IDLE, "connectivity_monitor": GOOD}


@dataclass(frozen=True, slots=True)
class Situation:
    """A decision to be told; without an outcome it is not known what became of it."""

    facts: Facts
    policy: Policy = PRESETS["balanced"]
    outcome: Mapping[str, Any] | None = None

    def told(self, width: int = 80) -> str:
        """What `oblix why` says of it."""
        found = flips(self.facts, self.policy)
        return (
            lay_out(explain.story(decide(self.facts, self.policy).to_dict(), self.outcome, found), width=width) + "\n"
        )


def facts(prompt: str = SIMPLE, models: tuple[Any, ...] = PAIR, **known: Any) -> Facts:
    """The facts of a prompt on a calm machine."""
    made = picture(models, prompt, known.pop("reports", CALM), known.pop("before", None), **known)
    return replace(made, id="01KBAJ1C00ZJ3V7Q9D2M4N6P8R")


def ended(*attempts: Attempt, total: float | None = None, error: tuple[str, str] | None = None) -> dict[str, Any]:
    """An outcome as the log keeps it."""
    good = next((attempt for attempt in attempts if attempt.outcome == "ok"), None)
    costs = [attempt.cost_usd for attempt in attempts if attempt.cost_usd is not None]
    figures = {
        "total_latency": sum(attempt.total for attempt in attempts) + 0.01 if total is None else total,
        "overhead": 0.002,
        "input_tokens": good.input_tokens if good else None,
        "output_tokens": good.output_tokens if good else None,
        "cost_usd": sum(costs),
        "saved_usd": 0.00018 if good and good.place == "edge" else 0.0,
    }
    return {
        "attempts": [attempt.to_dict() for attempt in attempts],
        "metrics": figures if good else None,
        "error": None if error is None else {"code": error[0], "message": error[1]},
    }


def good(model_id: str = "ollama:llama2", **known: Any) -> Attempt:
    """An answer."""
    place: Any = "edge" if model_id.startswith("ollama") else "cloud"
    usual: dict[str, Any] = {
        "total": 1.19, "first_token": 0.31, "input_tokens": 24, "output_tokens": 11, "cost_usd": 0.0 if place == "edge" else 0.0000102,
    }  # fmt: skip
    return Attempt(model_id, place, "ok", **{**usual, **known})


def bad(model_id: str, outcome: Any = "failed", **known: Any) -> Attempt:
    """A try that gave no answer."""
    return Attempt(model_id, "edge" if model_id.startswith("ollama") else "cloud", outcome, **known)


def ruled(*rules: Rule) -> Policy:
    """A policy of one's own."""
    return replace(PRESETS["balanced"], name="office", rules=rules)


FOUND = Privacy("private", by="detector", found={"card": 1}, why="1 card number")
_EMPTY = "No model may answer this request.\n  …"

SITUATIONS: dict[str, Callable[[], Situation]] = {
    "idle_machine_simple_prompt": lambda: Situation(facts(), outcome=ended(good())),
    "complex_prompt_climbs": lambda: Situation(
        facts(COMPLEX, (PHI, LLAMA, MINI), prompt_tokens=31),
        outcome=ended(good("openai:gpt-4o-mini", total=7.4, output_tokens=612, cost_usd=0.000372), total=7.41),
    ),
    "critical_machine": lambda: Situation(
        facts(reports={**CALM, "resource_monitor": CRITICAL}), outcome=ended(good("openai:gpt-4o-mini"))
    ),
    "degraded_network": lambda: Situation(
        facts(COMPLEX, reports={**CALM, "connectivity_monitor": POOR}), outcome=ended(good(total=21.4), total=21.4)
    ),
    "offline": lambda: Situation(
        facts(COMPLEX, reports={**CALM, "connectivity_monitor": AWAY}), outcome=ended(good(total=21.4), total=21.4)
    ),
    "private_by_caller": lambda: Situation(facts(COMPLEX, privacy=PRIVATE), outcome=ended(good(total=9.0), total=9.0)),
    "private_by_detector": lambda: Situation(facts(COMPLEX, privacy=FOUND), outcome=ended(good(total=9.0), total=9.0)),
    "private_by_policy": lambda: Situation(facts(COMPLEX), PRESETS["private"], ended(good(total=9.0), total=9.0)),
    "redacted": lambda: Situation(
        facts(COMPLEX, privacy=replace(FOUND, mode="redact")), outcome=ended(good("openai:gpt-4o-mini"))
    ),
    "key_missing": lambda: Situation(
        facts(COMPLEX, (PHI, LLAMA, replace(MINI, spec=replace(MINI.spec, key="missing")))),
        outcome=ended(good(total=8.8), total=8.8),
    ),
    "key_refused": lambda: Situation(
        facts(COMPLEX, (LLAMA, replace(MINI, health=Health(key_refused="401 Unauthorized, 40 s ago")), OPUS)),
        outcome=ended(good("claude:claude-opus-4-5", total=6.1, cost_usd=0.0151), total=6.1),
    ),
    "budget": lambda: Situation(
        facts(COMPLEX, (LLAMA, MINI, OPUS), max_cost_usd=0.001), outcome=ended(good("openai:gpt-4o-mini", total=4.0))
    ),
    "unpriced": lambda: Situation(
        facts(COMPLEX, (LLAMA, model("openai:new-model", "cloud", 1)), max_cost_usd=0.05),
        outcome=ended(good(total=9.1), total=9.1),
    ),
    "context_window": lambda: Situation(
        facts(prompt_tokens=8210),
        outcome=ended(good("openai:gpt-4o-mini", input_tokens=8190, output_tokens=212, cost_usd=0.00136)),
    ),
    "veto_by_an_agent": lambda: Situation(
        facts(reports={**CALM, "office_hours": AgentReport(proceed=False, state="closed", reason="it is Sunday")}),
        outcome=ended(error=("OBX-VETOED", _EMPTY)),
    ),
    "rule_prefers": lambda: Situation(
        facts(tags=("mail",)),
        ruled(Rule("mail to the cloud", When(tags=("mail",)), to=("cloud",))),
        ended(good("openai:gpt-4o-mini")),
    ),
    "rule_refuses": lambda: Situation(
        facts(tags=("payroll",)),
        ruled(Rule("no payroll", When(tags=("payroll",)), refuse="payroll is done by hand")),
        ended(error=("OBX-VETOED", _EMPTY)),
    ),
    "model_id_strict": lambda: Situation(
        facts(model_id="openai:gpt-4o-mini"), outcome=ended(good("openai:gpt-4o-mini"))
    ),
    "model_id_preferred_but_not_hooked": lambda: Situation(
        facts(model_id="openai:gpt-5", fallback=True), outcome=ended(good())
    ),
    "failing_health_and_failover": lambda: Situation(
        facts(models=(replace(PHI, health=Health(failing="timed out, 12 s ago")), LLAMA, MINI)),
        outcome=ended(
            bad("ollama:llama2", kind="connect", why="ollama:llama2: connection refused at http://localhost:11434", total=0.004),
            good("openai:gpt-4o-mini", total=1.1),
            total=1.53,
        ),
    ),
    "stream_restarted": lambda: Situation(
        facts(COMPLEX),
        outcome=ended(
            bad("openai:gpt-4o-mini", kind="truncated", why="openai:gpt-4o-mini: the answer ended without its proof of completion",
                total=2.3, first_token=0.4, cost_usd=0.00021),
            good(total=9.4),
            total=11.71,
        ),
    ),
    "hedged": lambda: Situation(
        facts(COMPLEX, (MINI, OPUS)),
        outcome=ended(
            bad("claude:claude-opus-4-5", "cancelled", total=4.2, cost_usd=0.0021,
                why="claude:claude-opus-4-5 was slower than usual, and another model answered first"),
            good("openai:gpt-4o-mini", hedged=True, total=2.2),
            total=4.21,
        ),
    ),
    "load_bridged": lambda: Situation(
        facts(models=(replace(LLAMA, loaded=False), MINI)),
        outcome=ended(
            bad("ollama:llama2", "postponed", why="ollama:llama2 is being loaded; another model answers meanwhile", total=0.5),
            good("openai:gpt-4o-mini", total=0.9),
            total=1.41,
        ),
    ),
    "conversation_stays": lambda: Situation(
        facts(models=(replace(PHI, spec=replace(PHI.spec, tier=1)), replace(LLAMA, spec=replace(LLAMA.spec, tier=1)), MINI),
              before=Turn("ollama:llama2", 900, 12.0), prompt_tokens=980),
        outcome=ended(good(input_tokens=974)),
    ),
    "nothing_hooked_may_answer": lambda: Situation(
        facts(COMPLEX, (MINI, replace(OPUS, spec=replace(OPUS.spec, key="missing"))), privacy=PRIVATE),
        outcome=ended(error=("OBX-PRIVATE", _EMPTY)),
    ),
    "cancelled": lambda: Situation(
        facts(), outcome=ended(bad("ollama:llama2", "cancelled", kind="cancelled", why="the caller left", total=0.8, first_token=0.3))
    ),
    "battery_low": lambda: Situation(facts(reports={**CALM, "power": LOW}), outcome=ended(good("openai:gpt-4o-mini"))),
    "battery_low_at_home": lambda: Situation(
        facts(COMPLEX, (PHI, LLAMA, MINI), reports={**CALM, "power": LOW}), PRESETS["offline_first"], ended(good("ollama:phi"))
    ),
    "does_not_fit": lambda: Situation(
        facts(COMPLEX, (PHI, replace(LLAMA, loaded=False, fit="no")), privacy=PRIVATE),
        outcome=ended(good("ollama:phi", total=6.2), total=6.2),
    ),
    "does_not_fit_and_is_asked": lambda: Situation(
        facts(models=(replace(LLAMA, fit="no"), MINI), model_id="ollama:llama2"),
        outcome=ended(
            bad("ollama:llama2", kind="engine_crash", why="ollama:llama2: the engine was killed for want of memory", total=9.1),
            total=9.1,
            error=("OBX-ALL-FAILED", "No model answered.\n  …"),
        ),
    ),
    "not_answered_yet": lambda: Situation(facts()),
}  # fmt: skip
