"""The reply, readable as an object and as a mapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from oblix.types.attempt import Attempt
from oblix.types.decision import Decision
from oblix.types.messages import Message, Thought, ToolCall
from oblix.types.report import AgentReport


@dataclass(frozen=True, slots=True)
class Reply(Mapping[str, Any]):
    """What `execute` returns: the answer, its figures, and why it ran where it did.

    Attributes:
        model_id: The model that answered, `provider:name`.
        response: The answer, always a string.
        metrics: `total_latency`, `time_to_first_token`, `overhead` (seconds), `input_tokens`, `output_tokens` (int, estimated where
            the key `estimated` says so), `tokens_per_second`, `cost_usd`, `saved_usd` (USD or `None`), `start_time`, `end_time`
            (ISO, UTC), `model_name`, `model_type`. What was not measured is `None`.
        agent_checks: Agent name → report.
        finish_reason: As `End.finish_reason`; `budget` where the answer was stopped because a budget had no more room.
        thoughts: Blocks of thinking that its provider wants back with this answer.
    """

    request_id: str
    model_id: str
    response: str
    metrics: Mapping[str, Any]
    agent_checks: Mapping[str, AgentReport]
    decision: Decision
    attempts: tuple[Attempt, ...] = ()
    session_id: str | None = None
    finish_reason: str = "stop"
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    thoughts: tuple[Thought, ...] = field(default=(), repr=False)

    def __getitem__(self, key: str) -> Any:
        if key in _KEYS:
            return getattr(self, key)
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(_KEYS)

    def __len__(self) -> int:
        return len(_KEYS)

    def __str__(self) -> str:
        return self.response

    @property
    def message(self) -> Message:
        """The answer as the next turn of a conversation has it."""
        return Message("assistant", self.response, self.tool_calls, thoughts=self.thoughts)

    def why(self) -> str:
        """Why the answer came from where it did, in one line; what of the conversation had no room there, and whether it was cut short."""
        cut = self.metrics.get("cut_messages")
        told = [self._why()]
        if cut:
            told.append(f"{cut} older messages did not fit its window")
        if self.finish_reason == "budget":
            told.append("the answer was cut short, because a budget has no more room")
        return "; ".join(told)

    def _why(self) -> str:
        others = [attempt for attempt in self.attempts if attempt.outcome != "ok"]
        if not any(attempt.outcome == "failed" or attempt.model_id != self.model_id for attempt in others):
            return self.decision.why()
        told = [
            f"{each.model_id} failed ({each.why})" if each.outcome == "failed" else str(each.why) for each in others
        ]
        return f"{'; '.join(dict.fromkeys(told))}; so {self.model_id} answered"

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, ready for JSON."""
        return {
            "request_id": self.request_id,
            "model_id": self.model_id,
            "response": self.response,
            "metrics": dict(self.metrics),
            "agent_checks": {name: report.to_dict() for name, report in self.agent_checks.items()},
            "decision": self.decision.to_dict(),
            "attempts": [attempt.to_dict() for attempt in self.attempts],
            "session_id": self.session_id,
            "finish_reason": self.finish_reason,
            "tool_calls": [{"id": c.id, "name": c.name, "arguments": c.arguments} for c in self.tool_calls],
        }


_KEYS = (
    "request_id",
    "model_id",
    "response",
    "metrics",
    "agent_checks",
    "decision",
    "attempts",
    "session_id",
    "finish_reason",
    "tool_calls",
)
