"""Prices of the kept catalogue, held against its own calculation."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from math import inf
from pathlib import Path

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data import providers
from genai_prices.types import TieredPrices
from hypothesis import given
from hypothesis import strategies as st

from oblix.models import catalog
from oblix.models.catalog import Entry, PriceBook, look_up
from oblix.models.registry import PROVIDERS
from oblix.types.spec import Price

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
OURS = {row.prices for row in PROVIDERS.values() if row.prices}
PREFIX = {"fireworks": "accounts/fireworks/models/"}  # its names are longer than the catalogue's ids
MODELS = [
    (provider.id, PREFIX.get(provider.id, "") + model.id)
    for provider in providers
    if provider.id in OURS
    for model in provider.models
]
COUNTS = (0, 1, 999, 32_000, 32_001, 128_001, 199_999, 200_000, 200_001, 272_000, 272_001, 1_500_000)
entry_of = cache(look_up)


def theirs(model: tuple[str, str], prompt: int, answer: int, cached: int, written: int, hour: int) -> float:
    """What the catalogue itself makes of a usage."""
    told = {"cache_read_tokens": cached, "cache_write_tokens": written, "cache_write_1h_tokens": hour}
    usage = Usage(input_tokens=prompt, output_tokens=answer, **told)
    found = calc_price(usage, model_ref=model[1], provider_id=model[0], genai_request_timestamp=NOW)
    return float(found.total_price)


@pytest.mark.parametrize("provider", sorted(OURS))
def test_every_price_is_the_catalogues(provider: str) -> None:
    """All models of our providers, around all steps of their prices."""
    prices = {model: entry_of(*model, at=NOW).price for model in MODELS if model[0] == provider}
    assert any(prices.values())
    for model, price in prices.items():
        for prompt in COUNTS if price else ():
            for cached, written, hour in ((0, 0, 0), (3, 0, 0), (3, 4, 0), (0, 1, 1), (1, 0, 0), (4, 3, 6)):
                usage = prompt, 777, *(prompt // part if part else 0 for part in (cached, written, hour))
                assert price is not None
                assert price.cost(*usage) == pytest.approx(theirs(model, *usage), rel=1e-9), (model, usage)


@given(st.sampled_from(MODELS), st.data())
def test_any_usage_costs_what_the_catalogue_says(model: tuple[str, str], data: st.DataObject) -> None:
    price = entry_of(*model, at=NOW).price
    prompt, answer = data.draw(st.integers(0, 2_000_000)), data.draw(st.integers(0, 200_000))
    cached = data.draw(st.integers(0, prompt))
    written = data.draw(st.integers(0, prompt - cached))
    usage = prompt, answer, cached, written, data.draw(st.integers(0, written))
    if price is not None:
        assert price.cost(*usage) == pytest.approx(theirs(model, *usage), rel=1e-9)


def test_a_model_without_a_price_of_text_is_not_free() -> None:
    """The catalogue lists nothing where it does not know, where a model is paid by the hour, and where it is free."""
    for provider, name in (("cerebras", "qwen-3-coder-480b"), ("openai", "whisper-1"), ("openai", "tts-1")):
        assert look_up(provider, name).price is None
    free = look_up("openrouter", "deepseek/deepseek-r1:free").price
    assert free is not None
    assert (free.input_per_mtok, free.output_per_mtok) == (0.0, 0.0)


def test_what_is_not_known_is_unknown() -> None:
    assert look_up("openai", "no-such-model") == Entry(None, None, inf)


@pytest.mark.parametrize(
    ("provider", "name", "prices"),
    [
        ("openai", "gpt-3.5-turbo", (0.5, 1.5, None, None)),
        ("openai", "gpt-4o-2024-08-06", (2.5, 10.0, 1.25, None)),
        ("anthropic", "claude-sonnet-4-5-20250929", (3.0, 15.0, 0.3, 3.75)),
        ("anthropic", "claude-3-5-haiku-latest", (0.8, 4.0, 0.08, 1.0)),
        ("google", "gemini-2.5-pro", (1.25, 10.0, 0.125, None)),
    ],
)
def test_models_are_found_by_alias_and_by_dated_name(
    provider: str, name: str, prices: tuple[float | None, ...]
) -> None:
    found = look_up(provider, name).price
    assert found is not None
    rates = (found.input_per_mtok, found.output_per_mtok, found.cached_input_per_mtok, found.cache_write_per_mtok)
    assert rates == prices
    assert found.source.startswith("genai-prices ")


def test_long_prompts_are_dearer() -> None:
    price = look_up("anthropic", "claude-sonnet-4-5").price
    assert price is not None
    (tier,) = price.tiers
    assert (tier.above, tier.input_per_mtok, tier.output_per_mtok) == (200_000, 6.0, 22.5)
    assert (tier.cached_input_per_mtok, tier.cache_write_per_mtok) == (0.6, 7.5)


def test_steps_of_any_part_are_steps_of_the_whole() -> None:
    """The catalogue gives each of its prices steps of its own; none of them is lost."""
    stepped = 0
    for provider, name in MODELS:
        if (price := entry_of(provider, name, at=NOW).price) is None:
            continue
        found = calc_price(Usage(), model_ref=name, provider_id=provider, genai_request_timestamp=NOW).model_price
        keys = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok")
        listed = [part for key in keys if isinstance(part := getattr(found, key), TieredPrices)]
        assert [tier.above for tier in price.tiers] == sorted({tier.start for part in listed for tier in part.tiers})
        stepped += bool(listed)
    assert stepped > 50


@pytest.mark.parametrize(
    ("name", "at", "until", "rate"),
    [
        pytest.param(
            "deepseek-v4-flash",
            datetime(2026, 11, 23, 2, tzinfo=UTC),
            datetime(2026, 11, 23, 4, tzinfo=UTC),
            2,
            id="peak",
        ),
        pytest.param(
            "deepseek-v4-flash",
            datetime(2026, 11, 23, 4, tzinfo=UTC),
            datetime(2026, 11, 23, 6, tzinfo=UTC),
            1,
            id="between",
        ),
        pytest.param(
            "deepseek-v4-flash",
            datetime(2026, 11, 23, 23, tzinfo=UTC),
            datetime(2026, 11, 24, 1, tzinfo=UTC),
            1,
            id="night",
        ),
    ],
)
def test_a_price_that_changes_with_the_hour(name: str, at: datetime, until: datetime, rate: int) -> None:
    found, usual = (
        look_up("deepseek", name, at=at),
        look_up("deepseek", name, at=datetime(2026, 11, 23, 12, tzinfo=UTC)),
    )
    assert found.price is not None
    assert usual.price is not None
    assert found.until == until.timestamp()
    assert found.price.input_per_mtok == pytest.approx(rate * usual.price.input_per_mtok)


def test_a_price_that_changes_on_a_date() -> None:
    before = look_up("openai", "o3", at=datetime(2025, 6, 9, 23, 59, tzinfo=UTC))
    after = look_up("openai", "o3", at=datetime(2025, 6, 10, tzinfo=UTC))
    assert before.price is not None
    assert after.price is not None
    assert before.until == datetime(2025, 6, 10, tzinfo=UTC).timestamp()
    assert after.price.input_per_mtok < before.price.input_per_mtok
    assert after.until == inf


def test_a_price_that_is_over_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that runs for days must not keep the price of its first hour."""
    found = [Entry(Price(1.0, 1.0, "day"), until=0.0), Entry(Price(2.0, 2.0, "night"))]
    monkeypatch.setattr(catalog, "look_up", lambda provider, name: found.pop(0))
    book = PriceBook()
    book.want("deepseek", "chat")
    book.wait(20)
    prices = [book.entry("deepseek", "chat").price for _ in range(2)]
    assert [price and price.source for price in prices] == ["night", "night"]
    assert found == []


@pytest.mark.parametrize(("age", "is_dated", "is_told"), [(1, True, False), (181, True, True), (20_000, False, False)])
def test_its_date_is_told_and_an_old_one_is_warned_of_once(
    age: int, is_dated: bool, is_told: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from genai_prices import data

    now = Path(data.__file__).stat().st_mtime + age * 86_400
    monkeypatch.setattr("oblix.models.catalog.time.time", lambda: now)
    monkeypatch.setattr(catalog, "EARLIEST", now - 10_000 * 86_400)
    catalog._source.cache_clear()
    try:
        told = {catalog._source(), catalog._source()}
        assert len(told) == 1
        assert (", installed 20" in told.pop()) == is_dated
        assert len(caplog.records) == is_told
    finally:
        catalog._source.cache_clear()
