"""What the figures of a reply say about money: cached tokens, long prompts, where a price comes from, what was saved."""

from __future__ import annotations

from typing import Any

import pytest

from oblix import Price, Reply
from oblix.testing import Cut, ScriptedModel, run
from oblix.types.chunk import End, Usage
from oblix.types.spec import PriceTier

from .hooked import client_with, cloud, edge

TIERED = Price(
    10.0,
    30.0,
    "contract",
    cached_input_per_mtok=1.0,
    cache_write_per_mtok=12.5,
    cache_write_1h_per_mtok=20.0,
    tiers=(PriceTier(20.0, 60.0, above=200_000),),
)


def ask(*models: ScriptedModel, **wishes: Any) -> Reply:
    async def main() -> Reply:
        return await client_with(*models).execute("What is the capital of France?", **wishes)

    return run(main())


def says(*usage: int | None) -> list[Any]:
    return ["Paris", End("stop", Usage(*usage))]


@pytest.mark.parametrize(
    ("usage", "cached", "cost"),
    [
        pytest.param((1000, 100), None, 1000 * 10 + 100 * 30, id="not told"),
        pytest.param((1000, 100, 0, 0), 0, 1000 * 10 + 100 * 30, id="no use of the cache"),
        pytest.param((1000, 100, 900), 900, 100 * 10 + 900 * 1 + 100 * 30, id="read"),
        pytest.param((1000, 100, 500, 400), 500, 100 * 10 + 500 * 1 + 400 * 12.5 + 100 * 30, id="read and written"),
        pytest.param((1000, 100, None, 400, 300), None, 600 * 10 + 100 * 12.5 + 300 * 20 + 100 * 30, id="for an hour"),
        pytest.param((200_001, 100), None, 200_001 * 20 + 100 * 60, id="a long prompt"),
    ],
)
def test_an_answer_costs_what_the_provider_bills(
    usage: tuple[int | None, ...], cached: int | None, cost: float
) -> None:
    reply = ask(cloud(says(*usage), price=TIERED))
    assert reply.metrics["cached_tokens"] == cached
    assert reply.metrics["cost_usd"] == pytest.approx(cost / 1e6)
    assert reply.attempts[0].cost_usd == pytest.approx(cost / 1e6)
    assert reply.metrics["price_source"] == "contract"


def test_without_a_price_there_is_no_cost_and_no_source() -> None:
    reply = ask(cloud(says(1000, 100, 900), name="mine:own", price=None))
    assert (reply.metrics["cost_usd"], reply.metrics["price_source"]) == (None, None)
    assert reply.metrics["cached_tokens"] == 900


def test_what_was_cached_of_a_prompt_that_nobody_counted_is_part_of_the_estimate() -> None:
    """A peer that tells of its cache only; what it read cannot be more than the prompt."""
    reply = ask(cloud(says(None, 0, 1_000_000), price=TIERED))
    assert reply.metrics["estimated"] == ["input_tokens"]
    assert reply.metrics["cost_usd"] == pytest.approx(reply.metrics["input_tokens"] * 1.0 / 1e6)


def test_a_failed_attempt_is_paid_as_well() -> None:
    reply = ask(cloud(["half", Cut()], name="openai:a", price=TIERED), cloud(says(1000, 100, 900), price=TIERED))
    failed, answered = reply.attempts
    assert failed.cost_usd
    assert reply.metrics["cost_usd"] == pytest.approx(failed.cost_usd + (answered.cost_usd or 0.0))


def test_an_answer_at_home_saved_the_whole_price() -> None:
    """What the engine at home had read before is in nobody's cache but its own."""
    reply = ask(edge(says(1000, 100, 900)), cloud(price=TIERED))
    assert reply.metrics["saved_usd"] == pytest.approx((1000 * 10 + 100 * 30) / 1e6)


def test_energy_at_home_lowers_what_an_answer_saved() -> None:
    reply = ask(edge(says(1000, 100), price=Price(0.1, 2.0, "energy")), cloud(price=TIERED))
    assert (reply.model_id, reply.metrics["cost_usd"]) == ("ollama:phi", pytest.approx((1000 * 0.1 + 100 * 2) / 1e6))
    assert reply.metrics["saved_usd"] == pytest.approx((1000 * 9.9 + 100 * 28) / 1e6)


def test_the_own_cache_of_a_cloud_saved_nothing() -> None:
    """The cheapest cloud is the one that answered; that a part was cached makes it no cheaper than itself."""
    reply = ask(cloud(says(1000, 100, 900), price=TIERED))
    assert reply.metrics["saved_usd"] == 0.0


def test_a_cloud_that_was_ruled_out_could_have_cost_nothing() -> None:
    """What is saved is measured at the models that were allowed to answer."""
    cheap = cloud(name="openai:cheap", price=Price(1.0, 1.0, "test"), capabilities=frozenset())
    reply = ask(edge(says(1000, 100)), cheap, cloud(price=TIERED), tools=[{"name": "look"}])
    assert reply.metrics["saved_usd"] == pytest.approx((1000 * 10 + 100 * 30) / 1e6)


def test_counts_of_a_spliced_answer_are_nobodys() -> None:
    """Each of its attempts counted a prompt of its own."""
    broken = cloud(["Paris, ", Cut()], name="openai:a", price=TIERED)
    goes_on = cloud(
        ["the capital", End("stop", Usage(1000, 100, 900))], price=TIERED, capabilities=frozenset({"prefill"})
    )

    async def main() -> Reply:
        async with client_with(broken, goes_on).stream("What is the capital of France?", on_break="continue") as stream:
            async for _ in stream:
                pass
            return await stream.reply()

    reply = run(main())
    assert reply.response == "Paris, the capital"
    assert reply.metrics["cached_tokens"] is None
    assert reply.metrics["estimated"] == ["input_tokens", "output_tokens"]
    assert reply.attempts[1].cost_usd == pytest.approx((100 * 10 + 900 * 1 + 100 * 30) / 1e6)
