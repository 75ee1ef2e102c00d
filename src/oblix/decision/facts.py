"""Everything that a decision may look at, frozen and serialisable. It holds features of the prompt, never the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal

from oblix.types.money import OnLimit, Room
from oblix.types.privacy import UNKNOWN, Privacy
from oblix.types.report import AgentReport
from oblix.types.spec import Capability, ModelSpec

Fit = Literal["fits", "tight", "no"]


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
        answer_tokens: Expected; never more than the caller's limit.
        answer_limit: The caller's limit (`max_tokens`), which a cost limit reckons with; `None` when left open.
        needs: Capabilities without which the request makes no sense.
        tags: The caller's own words for it, for the rules of a policy.
        said: Those phrases of the policy's rules that occur in it.
        listened: All phrases that were looked for; of others nothing is known.
        approved: The user allowed it to pass its budgets.
        least_tokens: What is left of the prompt when all of the conversation is cut that may be; `None` where nothing may.
    """

    prompt_tokens: int
    answer_tokens: int
    complexity: Complexity
    _: KW_ONLY
    privacy: Privacy = UNKNOWN
    answer_limit: int | None = None
    model_id: str | None = None
    fallback: bool = False
    needs: frozenset[Capability] = frozenset()
    max_cost_usd: float | None = None
    tags: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    listened: tuple[str, ...] = ()
    least_tokens: int | None = None
    approved: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """What recent attempts taught about a model; every text says what happened, `None` is "nothing".

    Attributes:
        key_refused: The provider refused our key, until the settings change or ten minutes have passed.
        missing: The server does not have the model.
        failing: It, its server or the way there failed of late, and is given time.
        quarantined: This very request crashed its engine before.
        resting: It asked to be left alone for more than a minute, or is out of credit: nothing may be sent to it.
    """

    key_refused: str | None = None
    missing: str | None = None
    failing: str | None = None
    quarantined: str | None = None
    resting: str | None = None


HEALTHY = Health()


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a model works, as its own history has it.

    Attributes:
        start: Seconds before it reads: the way there, and its own preparations.
        read: Seconds per token of the prompt.
        write: Seconds per token of the answer.
        load: Seconds to bring it into memory; `None` before the first load.
    """

    start: float
    read: float
    write: float
    load: float | None = None


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A hooked model, its health and its pace.

    Attributes:
        pace: `None` before its first answer.
        loaded: Whether it is in memory; `None` when that is not known, or means nothing.
        busy: Requests of ours that it works on.
        queue: Requests of others that wait at its engine, as that tells.
        fit: Whether it has room in the memory that is free; `None` when that is not known, or means nothing.
        budget: What the tightest budget leaves for it; `None` where it counts to none.
    """

    spec: ModelSpec
    health: Health = HEALTHY
    _: KW_ONLY
    pace: Pace | None = None
    loaded: bool | None = None
    busy: int = 0
    queue: int = 0
    fit: Fit | None = None
    budget: Room | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """The turn of this conversation before the present one.

    Attributes:
        model_id: Who answered.
        tokens: Of the conversation up to that answer, where the present prompt begins with it: at home they lie in that model's memory, in
            the cloud in a cache. 0 where only the session is the same.
        ago: Seconds since then.
    """

    model_id: str
    tokens: int
    ago: float


@dataclass(frozen=True, slots=True)
class Facts:
    """The whole picture at one moment.

    Attributes:
        now: Seconds since the epoch.
        before: `None` where no conversation goes on.
        on_limit: What follows where a budget excludes the model that would have answered: `edge-only` (a model at home answers), `ask` (the
            user may let it pass), `stop` (nobody answers).
    """

    id: str
    now: float
    asked: Asked
    models: tuple[ModelFacts, ...]
    reports: Mapping[str, AgentReport] = field(default_factory=dict)
    before: Turn | None = None
    on_limit: OnLimit = "edge-only"

    @property
    def network_is_down(self) -> bool:
        """Whether an agent says that the cloud cannot be reached."""
        return any([report.state == "disconnected" for report in self.reports.values()])

    @property
    def sparing(self) -> AgentReport | None:
        """The report of the first agent that says that energy or coolness is scarce here."""
        for report in self.reports.values():
            if report.sparing:
                return report
        return None
