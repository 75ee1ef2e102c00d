"""A hooked CostAgent: its budget is the books' own, and its vote follows what is used up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from oblix import BudgetExceeded, OblixClient
from oblix.agents import CostAgent
from oblix.testing import ScriptedModel, run
from oblix.types.chunk import End, Usage

from .hooked import Says, client_with, cloud, edge

HARD = "Prove that there are infinitely many primes, step by step, and analyse the cryptography that rests on it. " * 3
ANSWER: list[Any] = ["yes", End("stop", Usage(100, 100))]  # $0.004 at the price of `cloud`


def client(agent: CostAgent, *models: ScriptedModel, file: Any = ":memory:") -> OblixClient:
    made = client_with(*models, store=file, policy="best")
    made.hook_agent(agent)
    return made


def test_it_reads_the_books_of_its_client_and_votes_by_them(tmp_path: Path) -> None:
    """Money is plenty: the cloud answers. Used up by nine tenths: home."""

    async def main() -> None:
        async with client(CostAgent(0.1), edge(*["home"] * 40), cloud(*[ANSWER] * 40), file=tmp_path / "db") as made:
            replies = [await made.execute(HARD) for _ in range(30)]
            states = [reply.agent_checks["cost_monitor"].state for reply in replies]
            assert states[0] == "budget_available"
            assert list(dict.fromkeys(states)) == ["budget_available", "budget_constrained", "budget_critical"]
            assert replies[0].model_id == "openai:gpt"
            assert replies[-1].model_id == "ollama:phi"
            spent = sum(reply.metrics["cost_usd"] for reply in replies)
            told = replies[-1].agent_checks["cost_monitor"].metrics
            assert told["daily_spend"] == pytest.approx(spent, abs=1e-9)
            assert round(1e6 * spent) == (await made.spend()).total.micro_usd

    run(main())


def test_its_budget_is_never_passed_by_many_calls_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with client(CostAgent(0.02), cloud(*[ANSWER] * 64), file=tmp_path / "db") as made:
            found = await asyncio.gather(
                *(made.execute("hi", max_tokens=100) for _ in range(64)), return_exceptions=True
            )
            refused = [each for each in found if isinstance(each, BaseException)]
            assert refused
            assert all(isinstance(each, BudgetExceeded) for each in refused)
            assert 0 < (await made.spend()).total.micro_usd <= 20_000

    run(main())


def test_what_others_spend_on_the_same_file_counts(tmp_path: Path) -> None:
    async def main() -> None:
        async with client_with(cloud(ANSWER), store=tmp_path / "db") as other:
            await other.execute("hi")
        async with client(CostAgent(0.0041), cloud(ANSWER), file=tmp_path / "db") as made:
            with pytest.raises(BudgetExceeded, match="day"):
                await made.execute(HARD)

    run(main())


def test_one_of_the_same_name_takes_its_place_and_its_budget() -> None:
    async def main() -> None:
        made = client(CostAgent(0.000001), cloud(ANSWER))
        with pytest.raises(BudgetExceeded):
            await made.execute("hi")
        made.hook_agent(Says("cost_monitor", {"state": "fine"}))
        assert (await made.execute("hi")).response == "yes"

    run(main())
