"""What an agent is: something that is asked before every prompt, and may have an opinion on where it should run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

from oblix.types.attempt import Attempt
from oblix.types.money import Limit, Period
from oblix.types.report import AgentReport
from oblix.types.traffic import Endpoint, Exchange


class Surroundings(Protocol):
    """What the client tells its built-in agents; they ask anew at each reading, so that later hooks count."""

    def cloud_endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of the hooked cloud models, each once. No other host is ever contacted by a sensor."""

    def inference_processes(self) -> frozenset[int]:
        """Processes whose load is our own inference."""

    def has_local_server(self) -> bool:
        """Whether an edge server on this machine (Ollama and the like) is hooked."""

    def runs_here(self, model_id: str) -> bool:
        """Whether a hooked model works on this machine, in an engine's process or in ours."""

    def network_changed(self) -> None:
        """The network is not the one that it was: connections that are kept for later are given up. From any thread."""

    def spent(self, period: Period) -> int | None:
        """What was spent in the present day, month or in all, in micro-USD, by every program on the data file; `None` when not known."""


class BaseAgent(ABC):
    """Base of all agents, ours and users'.

    `check` is awaited on every execute, at the same time as those of the other agents, with at least `prompt`, `request` and
    `session_id`, and must answer within its deadline (100 ms). One that raises, hangs or answers junk abstains and is reported
    with `state="error"`; with `fail_closed = True` it refuses the request instead.

    Attributes:
        limits: Budgets that hold for the client while the agent is hooked, whatever it says.
    """

    fail_closed: bool = False
    limits: tuple[Limit, ...] = ()

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_active = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        first = next(base for base in cls.__mro__ if "check" in base.__dict__ or "peek" in base.__dict__)
        if "peek" not in first.__dict__:
            cls.peek = BaseAgent.peek  # type: ignore[method-assign]  # an inherited shortcut would pass the newer check() by

    async def initialize(self) -> bool:
        """Get ready; awaited once, before the first `check`. `False` means that the agent cannot work."""
        self.is_active = True
        return True

    @abstractmethod
    async def check(self, **kwargs: Any) -> Mapping[str, Any] | AgentReport:
        """Look, and report: a mapping or an `AgentReport` with `proceed`, `state`, `target`, `reason`, `metrics`."""

    async def shutdown(self) -> None:
        """Let go of everything."""
        self.is_active = False

    def peek(self) -> AgentReport | None:
        """What `check` would report, if that is known without waiting. Saves a task on the path of a prompt."""
        return None

    def attach(self, surroundings: Surroundings) -> None:  # noqa: B027  optional
        """Called when the agent is hooked. Must touch nothing outside."""

    def notice(self, attempt: Attempt) -> None:  # noqa: B027  optional
        """Called after each attempt, so that an agent can learn from real traffic. Must not block."""

    def observe(self, exchange: Exchange) -> None:  # noqa: B027  optional
        """Called for what real traffic to a cloud endpoint tells about the way there. Must not block."""
