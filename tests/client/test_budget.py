"""Budgets on the path of a prompt: who answers, what is told, what it cost; with scripted models and real books."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from oblix import BudgetExceeded, OblixClient, Price, Reply
from oblix.client.figures import footer
from oblix.testing import ScriptedModel, Wait, run
from oblix.types.chunk import End, Usage
from oblix.types.money import Limit

from .hooked import client_with, cloud, edge

HARD = "Prove that there are infinitely many primes, step by step, and analyse the cryptography that rests on it. " * 3


def client(
    *models: ScriptedModel, file: Any = ":memory:", micro_usd: int = 20, policy: str = "best", **settled: Any
) -> OblixClient:
    """A client with a budget a day, whose policy would rather ask the cloud."""
    made = client_with(*models, store=file, policy=policy)
    made._hall.books.watch("test", [Limit("all", "day", micro_usd, origin="a test")])
    for name, value in settled.items():
        setattr(made._hall.books, name, value)
    return made


def test_without_room_a_model_at_home_answers_and_that_is_told() -> None:
    reply = run(client(edge(["home"]), cloud()).execute(HARD))
    assert reply.model_id == "ollama:phi"
    (refused,) = [each for each in reply.decision.candidates if each.verdict == "rejected"]
    assert refused.reason.code == "budget"
    assert "'day'" in refused.reason.text
    assert "begins anew at" in refused.reason.text
    assert "budget" in [reason.code for reason in reply.decision.reasons]
    assert reply.decision.to_dict()["budget"] == {"name": "day", "spent_usd": 0.0, "limit_usd": 0.00002}


def test_with_room_the_cloud_answers_and_the_figures_are_the_books() -> None:
    made = client(edge(), cloud(["yes", End("stop", Usage(100, 7))]), micro_usd=1_000_000)

    async def main() -> Reply:
        reply = await made.execute(HARD)
        assert made._hall.books.ledger.spent() == round(1e6 * reply.metrics["cost_usd"])
        return reply

    reply = run(main())
    assert reply.model_id == "openai:gpt"
    assert reply.metrics["cost_usd"] == reply.attempts[0].cost_usd == (100 * 10 + 7 * 30) / 1e6


def test_costs_are_whole_micro_usd_everywhere() -> None:
    price = Price(0.15, 0.6, "test")
    reply = run(client_with(cloud(["yes", End("stop", Usage(101, 7))], price=price)).execute("hi"))
    assert reply.metrics["cost_usd"] == reply.attempts[0].cost_usd == 20e-6  # 15.15 and 4.2, rounded up once


def test_stop_means_that_home_does_not_step_in() -> None:
    home = edge(["home"])
    with pytest.raises(BudgetExceeded) as refused:
        run(client(home, cloud(), on_limit="stop").execute(HARD))
    assert home.requests == []
    assert refused.value.exit_code == 5
    assert refused.value.room is not None
    assert refused.value.room.name == "day"
    assert "oblix budget set" in (refused.value.hint or "")
    assert "begins anew" in (refused.value.hint or "")
    assert "openai:gpt would have answered" in refused.value.message


def test_stop_lets_home_answer_what_it_would_have_answered_anyway() -> None:
    assert (
        run(client(edge(["home"]), cloud(), on_limit="stop", policy="offline_first").execute("hi")).response == "home"
    )


def test_without_anybody_else_the_error_names_the_budget() -> None:
    with pytest.raises(BudgetExceeded, match="the budget 'day' of"):
        run(client(cloud()).execute(HARD))


def test_a_refusal_of_the_books_names_the_budget_as_well() -> None:
    """The prompt and a word would have been paid, what an answer takes is not."""
    with pytest.raises(BudgetExceeded, match="No budget has room") as refused:
        run(client(cloud(), micro_usd=200).execute("hi"))
    assert [each.kind for each in refused.value.attempts] == ["budget"]
    assert "oblix budget set" in (refused.value.hint or "")


@pytest.mark.parametrize("micro_usd", [20, 200], ids=["by the decision", "by the books"])
@pytest.mark.parametrize("answer", [True, False])
def test_ask_asks(micro_usd: int, answer: bool) -> None:
    asked: list[BudgetExceeded] = []

    def approve(error: BudgetExceeded) -> bool:
        asked.append(error)
        return answer

    made = client(edge(["home"]), cloud(["cloud"]), on_limit="ask", approve=approve, micro_usd=micro_usd)
    if answer:
        assert run(made.execute("hi there")).response == "cloud"
    else:
        with pytest.raises(BudgetExceeded):
            run(made.execute("hi there"))
    assert len(asked) == 1
    assert asked[0].room is not None


def test_ask_without_anybody_to_ask_is_stop() -> None:
    with pytest.raises(BudgetExceeded):
        run(client(edge(["home"]), cloud(), on_limit="ask").execute(HARD))


def test_an_answer_that_a_budget_cut_says_so() -> None:
    made = client(cloud([*["word "] * 500, End("stop", Usage(7, 500))]), micro_usd=6_000)
    reply = run(made.execute("hi"))
    assert reply.finish_reason == "budget"
    assert 100 < reply.response.count("word") < 200
    assert reply.metrics["cost_usd"] <= 0.006
    assert "cut short" in reply.why()
    assert "cut short" in footer(reply)


def test_energy_at_home_is_charged_and_a_budget_holds_for_it() -> None:
    """Priced, a model at home is in the books, ends where its budget does, and is refused then; one without a price goes on."""
    answers = ["yes", End("stop", Usage(100, 40))], [*["word "] * 2000, End("stop", Usage(7, 2000))]
    made = client(edge(*answers, name="ollama:priced", price=Price(0.00625, 0.125, "energy")), micro_usd=100)

    async def main() -> None:
        first = await made.execute("hi")
        assert first.metrics["cost_usd"] == first.attempts[0].cost_usd == 6e-6  # 0.625 and 5, rounded up once
        second = await made.execute("hi")
        assert second.finish_reason == "budget"
        assert 500 < second.response.count("word") < 1000
        books = (await made.spend("place")).rows["edge"]
        assert (books.calls, books.micro_usd) == (2, round(1e6 * (6e-6 + second.metrics["cost_usd"])))
        assert 80 < books.micro_usd <= 100
        await made._hall.books.ledger.set_limit(Limit("all", "day", books.micro_usd, origin="a test"))
        with pytest.raises(BudgetExceeded, match="'day'"):
            await made.execute("hi")
        made.hook(edge("free"))
        assert (await made.execute("hi")).response == "free"

    run(main())


def test_an_unpriced_model_is_refused_where_a_budget_is_set_and_the_line_is_told() -> None:
    with pytest.raises(BudgetExceeded) as refused:
        run(client(ScriptedModel("openai:own", price=None)).execute("hi"))
    assert "price = [0.5, 1.5]" in refused.value.message
    assert "price=(0.5, 1.5)" in refused.value.message


def test_limits_of_several_sources_all_hold() -> None:
    made = client(cloud(["a"]), micro_usd=1_000_000)
    made._hall.books.watch("agent cost", [Limit("model", "day", 10, subject="openai:gpt")])
    with pytest.raises(BudgetExceeded, match="model openai:gpt a day"):
        run(made.execute("hi"))


def test_a_stored_limit_holds_for_the_next_client(tmp_path: Path) -> None:
    async def setting() -> None:
        made = client_with(cloud(["a"]), store=tmp_path / "o.db")
        await made._hall.books.ledger.set_limit(Limit("all", "day", 10, origin="oblix budget set"))
        await made.shutdown()

    async def asking() -> None:
        made = client_with(cloud(["a"]), store=tmp_path / "o.db")
        try:
            await made.execute("hi")
        finally:
            await made.shutdown()

    run(setting())
    with pytest.raises(BudgetExceeded):
        run(asking())


def test_a_tag_has_a_budget_of_its_own() -> None:
    made = client_with(cloud(["a"]), edge(["home"]), policy="best")
    made._hall.books.watch("test", [Limit("tag", "day", 10, subject="batch")])
    assert run(made.execute(HARD)).response == "a"
    made = client_with(cloud(["a"]), edge(["home"]), policy="best")
    made._hall.books.watch("test", [Limit("tag", "day", 10, subject="batch")])
    assert run(made.execute(HARD, tags=["batch"])).response == "home"


def test_what_an_answer_saved_is_in_the_books(tmp_path: Path) -> None:
    async def main() -> tuple[Reply, list[Any]]:
        made = client_with(edge(["home", End("stop", Usage(10, 5))]), cloud(), store=tmp_path / "o.db")
        reply = await made.execute("hi")
        await made.shutdown()
        from oblix.storage.store import Store

        store = Store(tmp_path / "o.db")
        found = store.read(
            lambda db: db.execute("SELECT saved, output_tokens, place FROM entry WHERE kind = 'answer'").fetchall()
        )
        await store.shut()
        return reply, list(found)

    reply, found = run(main())
    assert found == [(round(1e6 * reply.metrics["saved_usd"]), 5, "edge")]


def test_a_decision_with_a_budget_can_be_taken_again_and_told(tmp_path: Path) -> None:
    async def main() -> str | None:
        made = client(edge(["home"]), cloud(), file=tmp_path / "o.db")
        reply = await made.execute(HARD)
        told = await made.explain(reply.request_id)
        await made.shutdown()
        return told

    told = run(main())
    assert told is not None
    assert "more in the budget 'day', it would have gone to openai:gpt" in " ".join(told.split())


def test_calls_of_two_clients_on_one_file_never_pass_a_budget(tmp_path: Path) -> None:
    import asyncio

    limit = 40_000

    async def main() -> int:
        script = [*[each for _ in range(40) for each in ("word ", Wait(0.01))], End("stop", Usage(7, 40))]
        clients = [client(cloud(script), file=tmp_path / "o.db", micro_usd=limit) for _ in range(2)]

        async def ask(made: OblixClient) -> float:
            try:
                return float((await made.execute("hi", deadline=60.0)).metrics["cost_usd"])
            except BudgetExceeded:
                return 0.0

        costs = await asyncio.gather(*(ask(clients[number % 2]) for number in range(60)))
        spent = clients[0]._hall.books.ledger.spent() or 0
        assert round(1e6 * sum(costs)) == spent <= limit
        for made in clients:
            await made.shutdown()
        return len([cost for cost in costs if cost])

    assert run(main()) >= 0.9 * (limit // (70 + 1200))
