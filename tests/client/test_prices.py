"""What an answer costs and saves, with the prices of the catalogue."""

from __future__ import annotations

import asyncio
import threading

import pytest

from oblix import OblixClient
from oblix.models.catalog import PriceBook
from oblix.testing import run
from oblix.types.request import Request

from .hooked import client_with, cloud, edge


async def settled(client: OblixClient) -> None:
    await asyncio.to_thread(client._hall.prices.wait, 30.0)


def test_prices_that_were_found_while_the_model_answered_count_at_once() -> None:
    """The look-up takes some 150 ms and runs beside the first prompt."""

    async def main() -> None:
        client = client_with()

        async def look_up(request: Request) -> None:
            await settled(client)

        client.hook(edge([look_up, "yes"]))
        client.hook(cloud(name="openai:gpt-4o", price=None))
        reply = await client.execute("hi")
        assert reply.model_id == "ollama:phi"
        assert reply.metrics["saved_usd"] > 0
        spec = client.get_model("openai", "gpt-4o")
        assert spec is not None
        assert spec.price is not None
        assert spec.price.source.startswith("genai-prices")
        assert spec.window is not None

    run(main())


def test_a_cost_limit_waits_for_the_prices() -> None:
    async def main() -> None:
        client = client_with(cloud("yes", name="openai:gpt-4o", price=None))
        reply = await client.execute("hi", max_cost_usd=1.0)
        assert reply.metrics["cost_usd"] > 0
        assert reply.decision.candidates[0].estimated_cost_usd is not None

    run(main())


def test_a_model_that_the_catalogue_does_not_know_has_no_cost() -> None:
    async def main() -> None:
        client = client_with(cloud("yes", name="openai:made-up-model", price=None))
        reply = await client.execute("hi")
        assert reply.metrics["cost_usd"] is None
        assert reply.metrics["saved_usd"] is None

    run(main())


def test_a_model_of_nobodys_is_free_of_the_catalogue() -> None:
    async def main() -> None:
        client = client_with(edge("yes", name="mine:own", price=None))
        reply = await client.execute("hi")
        assert (reply.model_id, reply.metrics["cost_usd"]) == ("mine:own", None)
        assert client.list_models() == {"mine": ["own"]}

    run(main())


def test_a_look_up_that_hangs_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr("oblix.models.catalog.look_up", lambda provider, name: release.wait(60))
    book = PriceBook()
    book.want("openai", "gpt")
    book.wait(0.01)
    book.wait(3600.0)  # does not
    assert not book.is_settled()
    release.set()
    book._idle.wait(60)
    assert book.is_settled()
