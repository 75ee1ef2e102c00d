"""What a provider bills, and what the books charge for it: over real sockets, with the fault server's own books."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from oblix import BudgetExceeded, OblixClient, OblixError, Price
from oblix.ledger import chain
from oblix.ledger.balances import unbalanced
from oblix.testing.faults import FaultServer, Manner, Upstream, Wire
from oblix.types.money import Limit, micro

PAID = Price(3.0, 15.0, "test")
WIRES: dict[Wire, str] = {"openai": "openai", "claude": "claude"}


@dataclass
class Shop:
    """An upstream, a client of it, and both their books."""

    upstream: Upstream
    client: OblixClient

    @property
    def billed(self) -> int:
        return sum(micro(row.usd) for row in self.upstream.bill)

    @property
    def charged(self) -> int:
        return self.client._hall.books.ledger.spent() or 0

    async def ask(self, number: int, **wishes: Any) -> str:
        """One call; how it ended."""
        try:
            return (await self.client.execute(f"REQ-{number:05d} tell me", **wishes)).finish_reason
        except BudgetExceeded:
            return "refused"
        except OblixError as error:
            return error.code


def visit(
    file: Path,
    what: Callable[[Shop], Awaitable[None]],
    *,
    manner: Manner,
    wire: Wire = "openai",
    name: str = "gpt-4",
    limit: int | None = None,
) -> None:
    """Open a shop, do something there, and see that its books are right."""

    async def main() -> None:
        async with FaultServer() as server:
            upstream = server.upstream("cloud", wire=wire, price=PAID)
            upstream.manner = manner
            client = OblixClient(store=file)
            rates = (PAID.input_per_mtok, PAID.output_per_mtok)
            await client.hook_model(WIRES[wire], name, endpoint=upstream.url, api_key="k" * 20, price=rates)
            if limit is not None:
                client._hall.books.watch("test", [Limit("all", "day", limit)])
            await what(Shop(upstream, client))
            store = client._hall.store
            assert store.read(unbalanced) == []
            assert store.read(chain.verify).broken_at is None
            assert client._hall.books.ledger.overrun == 0
            await client.shutdown()

    asyncio.run(main())


@pytest.mark.parametrize("wire", WIRES)
def test_without_faults_the_books_are_the_bill(tmp_path: Path, wire: Wire) -> None:
    async def what(shop: Shop) -> None:
        ends = await asyncio.gather(*(shop.ask(number) for number in range(12)))
        assert set(ends) == {"stop"}
        assert shop.charged == shop.billed > 0

    visit(tmp_path / "o.db", what, manner=Manner(lengths=(60, 400), pause=0.0), wire=wire)


@pytest.mark.parametrize("wire", WIRES)
def test_a_missing_usage_is_charged_for_at_least_the_bill(tmp_path: Path, wire: Wire) -> None:
    async def what(shop: Shop) -> None:
        assert await shop.ask(1) == "stop"
        assert shop.billed <= shop.charged

    visit(tmp_path / "o.db", what, manner=Manner(lengths=(60, 400), tells_usage=False), wire=wire)


def test_calls_at_once_never_pass_a_budget_by_the_providers_own_books(tmp_path: Path) -> None:
    limit = 60_000

    async def what(shop: Shop) -> None:
        ends = await asyncio.gather(*(shop.ask(number, deadline=30.0) for number in range(40)))
        assert set(ends) <= {"stop", "budget", "refused"}
        assert "refused" in ends
        assert shop.billed <= shop.charged <= limit

    visit(tmp_path / "o.db", what, manner=Manner(lengths=(60, 400), pause=0.0), limit=limit)


@pytest.mark.parametrize("wire", WIRES)
def test_answers_that_come_at_once_never_pass_a_budget_and_are_not_cut(tmp_path: Path, wire: Wire) -> None:
    """A proxy that buffers, or a server quicker than our loop: nothing can be topped up, so that what a model is told is reserved."""
    limit = 600_000  # thirteen answers of 45,027

    async def what(shop: Shop) -> None:
        ends = await asyncio.gather(*(shop.ask(number, deadline=30.0) for number in range(40)))
        assert Counter(ends) == {"stop": 13, "refused": 27}
        assert shop.billed == shop.charged <= limit

    visit(tmp_path / "o.db", what, manner=Manner(lengths=(3000, 3000)), wire=wire, limit=limit)


def test_a_budget_that_is_used_up_stops_the_stream_at_the_provider(tmp_path: Path) -> None:
    async def what(shop: Shop) -> None:
        reply = await shop.client.execute("REQ-00001 tell me")
        assert reply.finish_reason == "budget"
        assert len(reply.response) > 200
        (row,) = shop.upstream.bill
        assert row.output_tokens < 5000
        assert shop.billed <= shop.charged <= 6_000

    visit(tmp_path / "o.db", what, manner=Manner(lengths=(5000, 5000), pause=0.001), limit=6_000)


def test_the_provider_itself_stops_at_what_the_budget_pays(tmp_path: Path) -> None:
    """An answer that comes in one piece cannot be stopped in time: its bound was told."""

    async def what(shop: Shop) -> None:
        reply = await shop.client.execute("REQ-00001 tell me")
        assert reply.finish_reason == "budget"
        assert shop.billed == shop.charged <= 3_000

    visit(tmp_path / "o.db", what, manner=Manner(lengths=(5000, 5000)), limit=3_000)


def test_who_leaves_is_charged_at_least_what_is_billed(tmp_path: Path) -> None:
    async def what(shop: Shop) -> None:
        async with shop.client.stream("REQ-00001 tell me") as stream:
            seen = 0
            async for _ in stream:
                seen += 1
                if seen == 20:
                    break
        while shop.upstream.open_connections:  # until it has noticed
            await asyncio.sleep(0)
        assert 0 < shop.billed <= shop.charged

    visit(tmp_path / "o.db", what, manner=Manner(lengths=(400, 400), pause=0.001))


def test_hidden_thoughts_are_reserved_for_in_full(tmp_path: Path) -> None:
    async def what(shop: Shop) -> None:
        assert await shop.ask(1, max_tokens=900) == "stop"
        assert shop.billed == shop.charged
        kinds = shop.client._hall.store.read(lambda db: [row[0] for row in db.execute("SELECT kind FROM entry")])
        assert "raise" not in kinds

    visit(tmp_path / "o.db", what, manner=Manner(lengths=(60, 100), thoughts=700), name="o1", limit=100_000)
