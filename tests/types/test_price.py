"""What tokens cost: plain, cached, written to a cache, and beyond the prompt length where a model gets dearer."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.types.spec import Price, PriceTier

PLAIN = Price(3.0, 15.0, "test")
CACHED = Price(3.0, 15.0, "test", cached_input_per_mtok=0.3, cache_write_per_mtok=3.75)
HOUR = replace(CACHED, cache_write_1h_per_mtok=6.0)
LONG = Price(
    3.0,
    15.0,
    "test",
    cached_input_per_mtok=0.3,
    tiers=(
        PriceTier(6.0, 22.5, above=200_000, cached_input_per_mtok=0.6),
        PriceTier(12.0, 45.0, above=500_000),
    ),
)

counts = st.integers(0, 3_000_000)
usd = st.floats(0, 1000)


@st.composite
def prices(draw: st.DrawFn) -> Price:
    """Prices as providers have them: what is cached is cheaper, what is written is dearer, and longer prompts are not cheaper."""
    cached = draw(st.none() | st.floats(0, 1))
    written = draw(st.none() | st.floats(1, 2))
    hour = draw(st.none() | st.floats(2, 3))

    def rates(plain: float, output: float) -> dict[str, float]:
        made = {"cached_input_per_mtok": cached, "cache_write_per_mtok": written, "cache_write_1h_per_mtok": hour}
        shares = {name: plain * share for name, share in made.items() if share is not None}
        return {"input_per_mtok": plain, "output_per_mtok": output, **shares}

    steps = sorted(draw(st.sets(st.integers(1, 2_000_000), max_size=3)))
    inputs = sorted(draw(st.lists(usd, min_size=len(steps) + 1, max_size=len(steps) + 1)))
    outputs = sorted(draw(st.lists(usd, min_size=len(steps) + 1, max_size=len(steps) + 1)))
    base, *dearer = map(rates, inputs, outputs)
    tiers = tuple(PriceTier(above=above, **tier) for above, tier in zip(steps, dearer, strict=True))
    return Price(source="drawn", tiers=tiers, **base)


@pytest.mark.parametrize(
    ("price", "tokens", "cost"),
    [
        pytest.param(PLAIN, (1000, 200), 0.006, id="plain"),
        pytest.param(PLAIN, (0, 0), 0.0, id="nothing"),
        pytest.param(PLAIN, (1000, 200, 900, 50), 0.006, id="no price of the cache is the price of other input"),
        pytest.param(CACHED, (1000, 0, 900), (100 * 3 + 900 * 0.3) / 1e6, id="read from the cache"),
        pytest.param(CACHED, (1000, 0, 0, 900), (100 * 3 + 900 * 3.75) / 1e6, id="written to the cache"),
        pytest.param(CACHED, (1000, 10, 500, 400), (100 * 3 + 500 * 0.3 + 400 * 3.75 + 150) / 1e6, id="both"),
        pytest.param(
            HOUR, (1000, 0, 100, 600, 400), (300 * 3 + 100 * 0.3 + 200 * 3.75 + 400 * 6) / 1e6, id="for an hour"
        ),
        pytest.param(
            CACHED, (1000, 0, 0, 600, 400), (400 * 3 + 600 * 3.75) / 1e6, id="for an hour, at no price of its own"
        ),
        pytest.param(HOUR, (1000, 0, 0, 600, 5000), (400 * 3 + 600 * 6) / 1e6, id="more for an hour than was written"),
        pytest.param(CACHED, (1000, 0, 5000), 1000 * 0.3 / 1e6, id="more read than there was"),
        pytest.param(CACHED, (1000, 0, 600, 5000), (600 * 0.3 + 400 * 3.75) / 1e6, id="more written than there was"),
        pytest.param(LONG, (200_000, 10), (200_000 * 3 + 150) / 1e6, id="at a step"),
        pytest.param(LONG, (200_001, 10), (200_001 * 6 + 225) / 1e6, id="beyond a step, all of it"),
        pytest.param(LONG, (200_001, 0, 200_000), (6 + 200_000 * 0.6) / 1e6, id="what was cached counts as prompt"),
        pytest.param(LONG, (500_001, 1), (500_001 * 12 + 45) / 1e6, id="the last step"),
        pytest.param(LONG, (500_001, 0, 500_000), 500_001 * 12 / 1e6, id="a step without a price of the cache"),
    ],
)
def test_cost(price: Price, tokens: tuple[int, ...], cost: float) -> None:
    assert price.cost(*tokens) == pytest.approx(cost)


@given(prices(), st.tuples(counts, counts, counts, counts, counts))
def test_a_cost_is_never_negative(price: Price, tokens: tuple[int, int, int, int, int]) -> None:
    """Whatever a peer counts."""
    assert price.cost(*tokens) >= 0.0


@given(prices(), st.tuples(counts, counts, counts, counts, counts), st.integers(1, 10_000))
def test_more_tokens_cost_no_less(price: Price, tokens: tuple[int, int, int, int, int], more: int) -> None:
    prompt, answer, cached, written, hour = tokens
    cost = price.cost(*tokens) * (1 - 1e-12)
    assert price.cost(prompt + more, answer, cached, written, hour) >= cost
    assert price.cost(prompt, answer + more, cached, written, hour) >= cost
    assert price.cost(prompt, answer, cached, written + more, hour) >= cost


@given(prices(), counts, counts, counts, st.integers(1, 10_000))
def test_a_cache_never_makes_it_dearer(price: Price, prompt: int, answer: int, cached: int, more: int) -> None:
    cost = price.cost(prompt, answer, cached)
    assert cost <= price.cost(prompt, answer) * (1 + 1e-12)
    assert price.cost(prompt, answer, cached + more) <= cost * (1 + 1e-12)


@given(prices())
def test_a_price_is_read_back_as_it_was_written(price: Price) -> None:
    """Facts are replayed from JSON."""
    assert msgspec.json.decode(msgspec.json.encode(price), type=Price) == price


def test_a_price_of_an_older_log_is_read() -> None:
    old = b'{"input_per_mtok": 3, "output_per_mtok": 15.0, "source": "test"}'
    assert msgspec.json.decode(old, type=Price) == PLAIN
