"""The agent that watches the money: a budget that is never passed, and a vote that follows what is used up."""

from __future__ import annotations

from typing import Any

import pytest

from oblix import AgentReport
from oblix.agents import CostAgent
from oblix.errors import ConfigurationError


class Told:
    """Surroundings that know what was spent."""

    def __init__(self, **spent: int) -> None:
        self.known = spent

    def spent(self, period: str) -> int | None:
        return self.known.get(period)


def judged(agent: CostAgent, **spent: int) -> AgentReport:
    agent.attach(Told(**spent))  # type: ignore[arg-type]  # of the surroundings it asks nothing else
    return agent.peek()


@pytest.mark.parametrize(
    ("micro_usd", "state", "target", "lean"),
    [
        (0, "budget_available", "hybrid", None),
        (3_500_000, "budget_available", "hybrid", None),
        (3_500_001, "budget_constrained", "hybrid", "edge"),
        (4_500_000, "budget_constrained", "hybrid", "edge"),
        (4_500_001, "budget_critical", "local", None),
        (6_000_000, "budget_critical", "local", None),
    ],
)
def test_what_it_says(micro_usd: int, state: str, target: str, lean: str | None) -> None:
    report = judged(CostAgent(daily_budget=5.0), day=micro_usd)
    assert (report.state, report.target, report.lean, report.proceed) == (state, target, lean, True)
    assert report.metrics == {
        "budget_percentage": micro_usd / 1e6 / 5.0 * 100,
        "daily_spend": micro_usd / 1e6,
        "daily_budget": 5.0,
    }
    assert f"${micro_usd / 1e6:.2f}/$5.00" in report.reason


def test_the_tighter_of_two_budgets_speaks() -> None:
    report = judged(CostAgent(5.0, monthly_budget=20.0), day=500_000, month=19_000_000)
    assert (report.state, report.metrics["budget_percentage"]) == ("budget_critical", 95.0)
    assert "$19.00/$20.00 this month" in report.reason
    assert (report.metrics["daily_spend"], report.metrics["monthly_spend"]) == (0.5, 19.0)


def test_without_books_it_has_no_opinion() -> None:
    agent = CostAgent()
    for report in (agent.peek(), judged(agent)):
        assert (report.state, report.vote, report.lean) == ("unknown", None, None)


def test_a_budget_of_nothing_is_used_up() -> None:
    assert judged(CostAgent(0.0), day=0).state == "budget_critical"


@pytest.mark.parametrize("budget", [-1.0, float("nan"), float("inf"), 1e300, 10**400, True, "5", None])
def test_what_is_no_budget(budget: Any) -> None:
    with pytest.raises(ConfigurationError, match="daily_budget"):
        CostAgent(daily_budget=budget)
    if budget is not None:
        with pytest.raises(ConfigurationError, match="monthly_budget"):
            CostAgent(monthly_budget=budget)
