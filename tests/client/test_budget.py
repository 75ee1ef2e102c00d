"""Budgets on the path of a prompt: who answers, what is told, what it cost; with scripted models and real books."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest

from oblix import BudgetExceeded, OblixClient, Price, Reply
from oblix.agents import CostAgent
from oblix.client.figures import footer
from oblix.client.spend import look_into_books, money
from oblix.settings import Budget
from oblix.storage.store import Store
from oblix.testing import ScriptedModel, Wait, run
from oblix.types.chunk import End, Usage
from oblix.types.money import Limit, micro
from oblix.types.secret import SecretStr

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
    assert refused.value.hint is not None
    assert "Raise it where it is set (a test)" in refused.value.hint
    assert "begins anew" in refused.value.hint
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
    assert "Raise it where it is set (a test)" in (refused.value.hint or "")
    assert refused.value.room is not None
    assert refused.value.room.name == "day"


@pytest.mark.parametrize("micro_usd", [0, 20, 200], ids=["nothing", "by the decision", "by the books"])
def test_the_hint_about_a_stored_budget_pays_the_call_when_it_is_followed(micro_usd: int) -> None:
    made = client_with(cloud(["yes"]))

    async def main() -> None:
        ledger = made._hall.books.ledger
        await ledger.set_limit(Limit("model", "day", micro_usd, subject="openai:gpt", origin="oblix budget set"))
        with pytest.raises(BudgetExceeded) as refused:
            await made.execute("hi")
        said = re.search(r"oblix budget set ([0-9.]+)/day --model openai:gpt;", refused.value.hint or "")
        assert said is not None
        raised = micro(float(said[1]))
        await ledger.set_limit(Limit("model", "day", raised, subject="openai:gpt", origin="oblix budget set"))
        assert (await made.execute("hi")).response == "yes"

    run(main())


@pytest.mark.parametrize("amount", [0.00001, 0.0002], ids=["by the decision", "by the books"])
def test_the_hint_about_the_budget_of_an_agent_names_the_agent(amount: float) -> None:
    """`oblix budget set` would change nothing: both hold."""
    made = client_with(cloud(["yes"]))
    made.hook_agent(CostAgent(daily_budget=amount))
    with pytest.raises(BudgetExceeded) as refused:
        run(made.execute("hi"))
    assert "the agent 'cost_monitor'" in (refused.value.hint or "")
    assert "oblix budget set" not in (refused.value.hint or "")


def test_of_two_limits_for_the_same_the_hint_names_the_one_that_refused() -> None:
    made = client_with(cloud(["yes"]))
    made._hall.books.watch("test", [Limit("all", "day", 10, origin="here"), Limit("all", "day", 20, origin="there")])

    async def main() -> None:
        await made._hall.books.ledger.set_limit(Limit("all", "day", 15, origin="oblix budget set"))
        with pytest.raises(BudgetExceeded) as refused:
            await made.execute("hi")
        assert "(here)" in (refused.value.hint or "")

    run(main())


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


@pytest.mark.parametrize("micro_usd", [20, 200], ids=["by the decision", "by the books"])
def test_a_handler_that_fails_has_not_said_yes(micro_usd: int, caplog: pytest.LogCaptureFixture) -> None:
    """And the model is not blamed for it."""

    def approve(error: BudgetExceeded) -> bool:
        raise ValueError("a slip of ours")

    home = edge(["home"])
    made = client(home, cloud(["cloud"]), on_limit="ask", approve=approve, micro_usd=micro_usd)
    with caplog.at_level(logging.ERROR, "oblix"), pytest.raises(BudgetExceeded) as refused:
        run(made.execute("hi there"))
    assert {each.kind for each in refused.value.attempts} <= {"budget"}
    assert home.requests == []
    assert "approve_over_budget failed" in caplog.text
    assert "a slip of ours" in caplog.text


@pytest.mark.parametrize("unpriced", [False, True])
@pytest.mark.parametrize("micro_usd", [20, 10_000_000], ids=["the budget, too", "the cost limit alone"])
def test_where_a_cost_limit_refuses_nobody_is_asked_to_pass_a_budget(micro_usd: int, unpriced: bool) -> None:
    """A yes would change nothing."""
    asked: list[BudgetExceeded] = []

    def approve(error: BudgetExceeded) -> bool:
        asked.append(error)
        return True

    priced = cloud(["cloud"])
    models = (ScriptedModel("openai:own", price=None), priced) if unpriced else (priced,)
    made = client(*models, on_limit="ask", approve=approve, micro_usd=micro_usd)
    with pytest.raises(BudgetExceeded) as refused:
        run(made.execute("hi", max_cost_usd=0.000001))
    assert asked == []
    assert refused.value.room is None
    assert "oblix budget" not in (refused.value.hint or "")


def test_ask_without_anybody_to_ask_is_stop() -> None:
    with pytest.raises(BudgetExceeded):
        run(client(edge(["home"]), cloud(), on_limit="ask").execute(HARD))


def test_an_answer_that_a_budget_cut_says_so() -> None:
    made = client(cloud([*["word ", Wait(0.1)] * 500, End("stop", Usage(7, 500))]), micro_usd=6_000)
    reply = run(made.execute("hi"))
    assert reply.finish_reason == "budget"
    assert 100 < reply.response.count("word") < 200
    assert reply.metrics["cost_usd"] <= 0.006
    assert "cut short" in reply.why()
    assert "cut short" in footer(reply)


def test_energy_at_home_is_charged_and_a_budget_holds_for_it() -> None:
    """Priced, a model at home is in the books, ends where its budget does, and is refused then; one without a price goes on."""
    answers = ["yes", End("stop", Usage(100, 40))], [*["word ", Wait(0.1)] * 2000, End("stop", Usage(7, 2000))]
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


def test_a_budget_by_key_holds_for_a_model_that_is_hooked_later() -> None:
    """Also where nothing that costs something was reserved since."""
    first, later = cloud(["a"]), ScriptedModel("openai:own", ["b"], price=None)
    first.key, later.key = SecretStr("k1" * 12), SecretStr("k2" * 12)  # type: ignore[attr-defined]
    made = client_with(first)
    made._hall.books.settle(Budget((Limit("key", "day", 1_000_000, subject="openai", origin="a test"),)))

    async def main() -> None:
        assert (await made.execute("hi")).response == "a"
        made.hook(later)
        with pytest.raises(BudgetExceeded, match="its price is unknown and the budget 'key "):
            await made.execute("hi", model_id="openai:own")

    run(main())


def test_a_status_tells_what_an_own_limit_has_to_count() -> None:
    made = client_with(cloud(["a"]))

    async def main() -> None:
        reply = await made.execute("hi")
        made._hall.books.watch("test", [Limit("all", "month", 1000, origin="a test")])
        told = money(made._hall.books, None, await look_into_books(made._hall))
        assert [each["spent_usd"] for each in told["limits"]] == [reply.metrics["cost_usd"]]

    run(main())


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


def test_an_answer_without_a_price_is_not_reported_as_free() -> None:
    made = client_with(edge(["at home", End("stop")]), ScriptedModel("openai:own", ["b"], price=None))

    async def main() -> None:
        assert (await made.execute("hi", model_id="openai:own")).metrics["cost_usd"] is None
        assert (await made.execute("hi", model_id="ollama:phi")).metrics["estimated"]
        rows = (await made.spend("model")).rows
        assert {name: (sums.answers, sums.unpriced) for name, sums in rows.items()} == {
            "openai:own": (1, 1),
            "ollama:phi": (1, 0),
        }

    run(main())


def test_what_an_answer_saved_is_in_the_books(tmp_path: Path) -> None:
    async def main() -> Reply:
        made = client_with(edge(["home", End("stop", Usage(10, 5))]), cloud(), store=tmp_path / "o.db")
        reply = await made.execute("hi")
        await made.shutdown()
        return reply

    reply, store = run(main()), Store(tmp_path / "o.db")
    found = store.read(
        lambda db: db.execute("SELECT saved, output_tokens, place FROM entry WHERE kind = 'answer'").fetchall()
    )
    store.close()
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
