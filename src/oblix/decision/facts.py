"""Everything that a decision may look at, frozen and serialisable. It holds features of the prompt, never the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field

from oblix.types.report import AgentReport
from oblix.types.spec import Capability, ModelSpec


@dataclass(frozen=True, slots=True)
class Complexity:
    """How much a prompt asks of a model: 0 is trivial, 1 the hardest, with the evidence in words."""

    score: float
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked.

    Attributes:
        prompt_tokens: Estimated, of the whole conversation.
        answer_tokens: Expected; the caller's limit, else a guess.
        needs: Capabilities without which the request makes no sense.
    """

    prompt_tokens: int
    answer_tokens: int
    complexity: Complexity
    _: KW_ONLY
    private: bool = False
    model_id: str | None = None
    fallback: bool = False
    needs: frozenset[Capability] = frozenset()
    max_cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """What recent attempts taught about a model; every text says what happened, `None` is "nothing".

    Attributes:
        key_refused: The provider refused our key, until the settings change or ten minutes have passed.
        missing: The server does not have the model.
        failing: It, its server or the way there failed of late, and is given time.
        seconds: Typical seconds for an answer, from its own history; `None` before the first.
        quarantined: This very request crashed its engine before.
        resting: It asked to be left alone for more than a minute, or is out of credit: nothing may be sent to it.
    """

    key_refused: str | None = None
    missing: str | None = None
    failing: str | None = None
    seconds: float | None = None
    quarantined: str | None = None
    resting: str | None = None


HEALTHY = Health()


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A hooked model and its health."""

    spec: ModelSpec
    health: Health = HEALTHY


@dataclass(frozen=True, slots=True)
class Facts:
    """The whole picture at one moment; `now` is in seconds since the epoch."""

    id: str
    now: float
    asked: Asked
    models: tuple[ModelFacts, ...]
    reports: Mapping[str, AgentReport] = field(default_factory=dict)

    @property
    def network_is_down(self) -> bool:
        """Whether an agent says that the cloud cannot be reached."""
        return any(report.state == "disconnected" for report in self.reports.values())
