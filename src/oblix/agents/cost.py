"""The agent that watches the money: budgets that are never passed, and how much of them is used up."""

from __future__ import annotations

from typing import Any, NamedTuple

from oblix.agents.base import BaseAgent, Surroundings
from oblix.errors import ConfigurationError
from oblix.types.money import Limit, Period, micro
from oblix.types.report import AgentReport

CONSTRAINED = 70.0  # percent of a budget: from above here on it leans to home
CRITICAL = 90.0  # percent: from above here on it votes for home
MOST = 1e9  # USD; the same bound as in a settings file


class CostAgent(BaseAgent):
    """Reports `budget_available`, `budget_constrained` (above 70 % of a budget), `budget_critical` (above 90 %) or `unknown`.

    Hooked, it also sets these budgets: each call reserves what it may cost before anything is sent, so that none is passed, by however
    many calls at once. What other programs spend on the same data file counts as well. While money is plenty it votes for no place.

    Args:
        daily_budget: USD a day, where the user lives.
        monthly_budget: USD a month; `None` sets none.

    Raises:
        ConfigurationError: A budget is no amount of USD.
    """

    def __init__(
        self, daily_budget: float = 5.0, name: str = "cost_monitor", *, monthly_budget: float | None = None
    ) -> None:
        super().__init__(name)
        self.daily_budget = _amount("daily_budget", daily_budget)
        self.monthly_budget = None if monthly_budget is None else _amount("monthly_budget", monthly_budget)
        self._surroundings: Surroundings | None = None
        origin = f"the agent {name!r}"
        self.limits = (Limit("all", "day", micro(self.daily_budget), origin=origin),)
        if self.monthly_budget is not None:
            self.limits += (Limit("all", "month", micro(self.monthly_budget), origin=origin),)

    def attach(self, surroundings: Surroundings) -> None:
        """Learn whose books to look at."""
        self._surroundings = surroundings

    async def check(self, **kwargs: Any) -> AgentReport:
        """How much of the budgets is used up."""
        return self.peek()

    def peek(self) -> AgentReport:
        """The same: the books are at hand."""
        uses = [use for limit in self.limits if (use := self._use(limit)) is not None]
        if not uses:
            return AgentReport(reason="the books cannot be read")
        tightest = max(uses, key=lambda use: use.percent)
        metrics: dict[str, Any] = {"budget_percentage": tightest.percent}
        for use in uses:
            metrics |= use.metrics()
        if tightest.percent > CRITICAL:
            said = f"Budget nearly depleted: {tightest}"
            return AgentReport(state="budget_critical", target="local", reason=said, metrics=metrics)
        if tightest.percent > CONSTRAINED:
            said = f"Budget usage high: {tightest}"
            return AgentReport(state="budget_constrained", lean="edge", reason=said, metrics=metrics)
        return AgentReport(state="budget_available", reason=f"Budget available: {tightest}", metrics=metrics)

    def _use(self, limit: Limit) -> _Use | None:
        spent = None if self._surroundings is None else self._surroundings.spent(limit.period)
        return None if spent is None else _Use(limit.period, spent / 1e6, limit.micro_usd / 1e6)


class _Use(NamedTuple):
    """What is spent of a budget, in USD."""

    period: Period
    spent: float
    budget: float

    @property
    def percent(self) -> float:
        """Of nothing, everything is used up."""
        return 100 * self.spent / self.budget if self.budget else 100.0

    def metrics(self) -> dict[str, float]:
        """Under the names that the agents of old used."""
        each = "daily" if self.period == "day" else "monthly"
        return {f"{each}_spend": self.spent, f"{each}_budget": self.budget}

    def __str__(self) -> str:
        return f"${self.spent:.2f}/${self.budget:.2f} this {self.period}"


def _amount(name: str, usd: float) -> float:
    if isinstance(usd, bool) or not isinstance(usd, int | float) or not 0 <= usd <= MOST:
        raise ConfigurationError(f"{name}={usd!r} is no amount of USD.", hint=f"Write {name}=5.0.")
    return float(usd)
