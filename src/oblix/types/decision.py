"""The decision: every candidate with its verdict, and the reasons in words.

They are structs of msgspec, frozen as every value of ours, because a decision makes a dozen of them: a frozen dataclass takes ten times as
long to make (1.15 against 0.10 µs for a candidate).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from msgspec import Struct, field

from oblix.types.money import Room
from oblix.types.privacy import UNKNOWN, Privacy
from oblix.types.report import AgentReport
from oblix.types.spec import Place

Verdict = Literal["chosen", "next", "rejected"]


class Reason(Struct, frozen=True):
    """Why, once as a stable code for programs and once as a sentence for people."""

    code: str
    text: str

    def to_dict(self) -> dict[str, str]:
        """A plain dict, ready for JSON."""
        return {"code": self.code, "text": self.text}


class Candidate(Struct, frozen=True):
    """A hooked model and what the decision made of it.

    Attributes:
        verdict: `chosen` comes first in the plan, `next` is tried when the ones before it fail, `rejected` is never tried.
        reason: Why that verdict.
        score: The sum of the soft terms, higher is better; `None` when rejected.
        terms: What each soft term gave.
        estimated_seconds: Load, queue, reading and writing of the expected tokens.
        estimated_cost_usd: For the same tokens; `None` when unpriced.
    """

    model_id: str
    place: Place
    verdict: Verdict
    reason: Reason
    tier: int = 1
    score: float | None = None
    terms: Mapping[str, float] = field(default_factory=dict)
    estimated_seconds: float | None = None
    estimated_cost_usd: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, ready for JSON."""
        return {
            "model": self.model_id,
            "location": self.place,
            "verdict": self.verdict,
            "by": self.reason.code,
            "reason": self.reason.text,
            "tier": self.tier,
            "score": self.score,
            "terms": dict(self.terms),
            "est_s": self.estimated_seconds,
            "est_usd": self.estimated_cost_usd,
        }


class Decision(Struct, frozen=True):
    """One decision, the same in the reply, the log and `oblix why`.

    Attributes:
        at: Seconds since the epoch.
        plan: Model ids in the order in which they are tried; empty when nothing may answer.
        reasons: The main reason first.
        checks: The agents' reports by agent name.
        requested: The model id that was asked for, or `auto`.
        complexity: In [0, 1], with its evidence in `complexity_evidence`.
        rule: Name of the policy's rule that matched.
        limit_usd: The request's cost limit.
        room: What the tightest budget left, `None` where none counts any of the models.
        bridges_to_cloud: While a model at home is being loaded, a cloud model may answer.
        policy_digest: Stands for the whole content of the policy, with which the decision can be taken again.
    """

    id: str
    at: float
    policy: str
    plan: tuple[str, ...]
    reasons: tuple[Reason, ...]
    candidates: tuple[Candidate, ...]
    requested: str = "auto"
    checks: Mapping[str, AgentReport] = field(default_factory=dict)
    complexity: float = 0.0
    complexity_evidence: tuple[str, ...] = ()
    privacy: Privacy = UNKNOWN
    rule: str | None = None
    limit_usd: float | None = None
    room: Room | None = None
    bridges_to_cloud: bool = True
    policy_digest: str = ""

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
            "at": datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds"),
            "requested": self.requested,
            "chosen": self.chosen,
            "location": self.place,
            "policy": self.policy,
            "policy_digest": self.policy_digest,
            "rule": self.rule,
            "plan": list(self.plan),
            "reasons": [reason.to_dict() for reason in self.reasons],
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "complexity": {"score": self.complexity, "evidence": list(self.complexity_evidence)},
            "privacy": self.privacy.to_dict(),
            "budget": self._budget(),
        }

    def _budget(self) -> dict[str, Any] | None:
        """The limit that the request had to keep: its own, else what the tightest budget left."""
        if self.limit_usd is not None:
            return {"name": "request", "limit_usd": self.limit_usd}
        if (room := self.room) is None:
            return None
        spent = round(room.limit_usd - room.left_usd - room.held_usd, 6)
        return {"name": room.name, "spent_usd": max(0.0, spent), "limit_usd": room.limit_usd}
