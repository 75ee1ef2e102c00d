"""The decision: every candidate with its verdict, and the reasons in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

from oblix.types.report import AgentReport
from oblix.types.spec import Place

Verdict = Literal["chosen", "next", "excluded"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why, once as a stable code for programs and once as a sentence for people."""

    code: str
    text: str

    def to_dict(self) -> dict[str, str]:
        """A plain dict, ready for JSON."""
        return {"code": self.code, "text": self.text}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A hooked model and what the decision made of it.

    Attributes:
        verdict: `chosen` comes first in the plan, `next` is tried when the ones before it fail, `excluded` is never tried.
        reason: Why that verdict.
        score: The sum of the soft terms, higher is better; `None` when excluded.
        terms: What each soft term gave.
        estimated_cost_usd: For the expected tokens; `None` when unpriced.
    """

    model_id: str
    place: Place
    verdict: Verdict
    reason: Reason
    _: KW_ONLY
    tier: int = 1
    score: float | None = None
    terms: Mapping[str, float] = field(default_factory=dict)
    estimated_cost_usd: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, ready for JSON."""
        return {
            "model": self.model_id,
            "place": self.place,
            "verdict": self.verdict,
            "by": self.reason.code,
            "reason": self.reason.text,
            "tier": self.tier,
            "score": self.score,
            "terms": dict(self.terms),
            "est_usd": self.estimated_cost_usd,
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision, the same in the reply, the log and `oblix why`.

    Attributes:
        at: Seconds since the epoch.
        plan: Model ids in the order in which they are tried; empty when nothing may answer.
        reasons: The main reason first.
        checks: The agents' reports by agent name.
        complexity: In [0, 1], with its evidence in `complexity_evidence`.
    """

    id: str
    at: float
    policy: str
    plan: tuple[str, ...]
    reasons: tuple[Reason, ...]
    candidates: tuple[Candidate, ...]
    _: KW_ONLY
    checks: Mapping[str, AgentReport] = field(default_factory=dict)
    complexity: float = 0.0
    complexity_evidence: tuple[str, ...] = ()
    private: bool = False

    @property
    def chosen(self) -> str | None:
        """The model that is tried first."""
        return self.plan[0] if self.plan else None

    @property
    def place(self) -> Place | None:
        """Where that model runs."""
        return next((c.place for c in self.candidates if c.verdict == "chosen"), None)

    def why(self) -> str:
        """The reasons in one line."""
        return ", ".join(reason.text for reason in self.reasons)

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, ready for JSON."""
        return {**self.verdicts(), "checks": {name: report.to_dict() for name, report in self.checks.items()}}

    def verdicts(self) -> dict[str, Any]:
        """The same without the agents' reports, which the facts hold as well."""
        return {
            "id": self.id,
            "at": self.at,
            "policy": self.policy,
            "chosen": self.chosen,
            "place": self.place,
            "plan": list(self.plan),
            "reasons": [reason.to_dict() for reason in self.reasons],
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "complexity": {"score": self.complexity, "evidence": list(self.complexity_evidence)},
            "private": self.private,
        }
